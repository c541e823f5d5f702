//! Content out of a coding.

use std::fmt;

use tollgate_core::body::{Finish, RecodeError, Recoder};

use super::drive::{Core, Drive, Halt, drive};
use super::{Coding, brotli, flate, zstd};

/// How large content may become. A few bytes can stand for gigabytes, so it is counted as it comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes in all.
    pub most: u64,
    /// Most bytes for one byte of what came, once there are [`Bounds::FREE`] of them.
    pub ratio: u64,
}

impl Bounds {
    /// What may come out before its ratio is looked at: short and empty content may well be very regular.
    pub const FREE: u64 = 1024 * 1024;

    fn allow(self, taken: u64, given: u64) -> bool {
        given <= self.most && (given <= Self::FREE || given <= taken.saturating_mul(self.ratio))
    }
}

/// Brings content out of a coding while it passes. Nothing may be missing at its end, and nothing may follow it but what
/// the coding allows: further members of gzip (RFC 1952 §2.2), further frames of zstd (RFC 8878 §3).
pub struct Decompressor {
    coding: Coding,
    core: Box<dyn Core>,
    bounds: Bounds,
    taken: u64,
    given: u64,
    place: Place,
    /// The first byte of the next input was taken already, and told as not: output still waited for room then, and with
    /// nothing left to give, nobody would have asked for it.
    owes_byte: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing came yet.
    Start,
    /// Within the content.
    Inside,
    /// At an end of it.
    End,
}

impl Decompressor {
    /// For content to come. `None`: there is no memory for it.
    #[must_use]
    pub fn new(coding: Coding, bounds: Bounds) -> Option<Self> {
        let core: Box<dyn Core> = match coding {
            Coding::Br => Box::new(brotli::Decoder::new()),
            Coding::Zstd => Box::new(zstd::Decoder::new().ok()?),
            Coding::Gzip => Box::new(flate::Decoder::new(flate::Frame::Gzip)),
            Coding::Deflate => Box::new(flate::Decoder::new(flate::Frame::Zlib)),
        };
        Some(Self { coding, core, bounds, taken: 0, given: 0, place: Place::Start, owes_byte: false })
    }

    /// Whether more of the same may follow its end.
    fn may_go_on(&self) -> bool {
        matches!(self.coding, Coding::Gzip | Coding::Zstd)
    }

    /// One piece: what was taken of `input`, and whether output still waits for room.
    fn piece(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(usize, bool), RecodeError> {
        let (start, mut taken) = (output.len(), 0);
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            match (self.place, rest.is_empty()) {
                (Place::End, true) => return Ok((taken, false)),
                (Place::End, false) if !self.may_go_on() => {
                    output.truncate(start);
                    return Err(RecodeError::Malformed("something follows its end"));
                }
                _ => {}
            }
            let before = output.len();
            let (more, halt) = drive(&mut *self.core, rest, output, start, Drive::Go)?;
            taken += more;
            self.taken += more as u64;
            self.given += (output.len() - before) as u64;
            if !self.bounds.allow(self.taken, self.given) {
                output.truncate(start);
                return Err(RecodeError::TooLarge);
            }
            self.place = if halt == Halt::Done { Place::End } else { Place::Inside };
            match halt {
                Halt::Done => {}
                Halt::Starved => return Ok((taken, false)),
                Halt::Full => return Ok((taken, true)),
            }
        }
    }
}

impl Recoder for Decompressor {
    fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
        if input.is_empty() {
            return Ok(0);
        }
        let owed = usize::from(self.owes_byte);
        let (taken, waits) = self.piece(&input[owed..], output)?;
        self.owes_byte = waits && owed + taken == input.len();
        Ok(owed + taken - usize::from(self.owes_byte))
    }

    fn finish(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        if self.owes_byte {
            let (_, waits) = self.piece(&[], output)?;
            self.owes_byte = waits;
            return Ok(if waits { Finish::More } else { self.end()? });
        }
        self.end()
    }
}

impl Decompressor {
    fn end(&self) -> Result<Finish, RecodeError> {
        match self.place {
            Place::End => Ok(Finish::Done),
            Place::Start | Place::Inside => Err(RecodeError::Malformed("it ends too early")),
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { coding, taken, given, place, .. } = self;
        write!(f, "Decompressor({coding:?}, {taken} -> {given} bytes, {place:?})")
    }
}
