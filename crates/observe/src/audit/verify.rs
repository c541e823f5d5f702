//! Whether an audit log is as it was written.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use tollgate_core::serde_json::{Value, from_slice};

use super::{GENESIS, KEPT, LONGEST_LINE, SEAL, older, sha256};

/// A log in which nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many lines it has, over all files.
    pub lines: u64,
    /// The number of the first one; above 1 if older files are gone.
    pub first: u64,
    /// The digest of the last one: whoever keeps it elsewhere sees whether lines are cut off later.
    pub last: String,
}

/// Where a log is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// The line in that file, from 1.
    pub line: u64,
    /// In which way.
    pub why: Why,
}

/// In which way a log is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The line does not have the digest that it names, or is no line of an audit log.
    Changed,
    /// Lines in front of it are gone: the numbers after the first and up to before the second.
    Removed(u64, u64),
    /// It does not belong behind the line before it.
    OutOfPlace,
    /// The file ends within the line.
    Torn,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        match &self.why {
            Why::Changed => f.write_str("this line was changed"),
            Why::Removed(before, next) if before + 2 == *next => {
                write!(f, "the line in front of it was removed: number {}", before + 1)
            }
            Why::Removed(before, next) => {
                write!(f, "lines in front of it were removed: numbers {} to {}", before + 1, next - 1)
            }
            Why::OutOfPlace => f.write_str("this line does not belong behind the one before it"),
            Why::Torn => f.write_str("this line is not whole: the disk was full, or the machine lost its power"),
        }
    }
}

/// A line, as far as the chain goes.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) before: String,
    /// The digest that it names.
    pub(super) digest: String,
    /// Whether that is its own.
    pub(super) is_sealed: bool,
}

impl Line {
    /// `None`: this is no line of an audit log.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let value: Value = from_slice(bytes).ok()?;
        let (number, text) = (value.get("number")?.as_u64()?, |name: &str| Some(value.get(name)?.as_str()?.to_owned()));
        let (before, digest) = (text("before")?, text("sha256")?);
        let seal = format!("{SEAL}{digest}\"}}");
        let is_sealed = bytes.strip_suffix(seal.as_bytes()).is_some_and(|sealed| sha256(sealed) == digest);
        Some(Self { number, before, digest, is_sealed })
    }
}

/// Walks the chain of a log from its oldest file on, and stops at the first line that is not as it was written.
///
/// # Errors
/// A file cannot be read.
pub fn verify(path: &Path) -> io::Result<Result<Verified, Broken>> {
    let mut walk = Walk::default();
    let olds = (1..=KEPT).rev().map(|number| older(path, number)).filter(|file| file.exists());
    for file in olds.chain([path.to_owned()]) {
        if let Err((line, why)) = walk.file(&file)? {
            return Ok(Err(Broken { file, line, why }));
        }
    }
    let last = walk.last.map_or_else(|| GENESIS.to_owned(), |(_, digest)| digest);
    Ok(Ok(Verified { lines: walk.lines, first: walk.first.unwrap_or_default(), last }))
}

#[derive(Default)]
struct Walk {
    lines: u64,
    first: Option<u64>,
    last: Option<(u64, String)>,
}

impl Walk {
    fn file(&mut self, path: &Path) -> io::Result<Result<(), (u64, Why)>> {
        let mut reader = BufReader::new(File::open(path)?);
        for number in 1_u64.. {
            let mut line = Vec::new();
            if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let found = match line.strip_suffix(b"\n") {
                Some(line) => self.line(line),
                None => Err(Why::Torn),
            };
            if let Err(why) = found {
                return Ok(Err((number, why)));
            }
        }
        Ok(Ok(()))
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), Why> {
        let line = Line::read(bytes).filter(|line| line.is_sealed).ok_or(Why::Changed)?;
        match &self.last {
            Some((number, digest)) if *digest == line.before && number + 1 == line.number => {}
            Some((number, _)) if line.number > number + 1 => return Err(Why::Removed(*number, line.number)),
            None if line.number > 1 || line.before == GENESIS => self.first = Some(line.number),
            Some(_) | None => return Err(Why::OutOfPlace),
        }
        self.lines += 1;
        self.last = Some((line.number, line.digest));
        Ok(())
    }
}
