//! Whether a document is well formed and within limits, found out while it passes: fed in pieces of any size, in memory that the
//! limits bound. However a document is cut into pieces, the verdict is the same.

mod json;
mod xml;

use std::fmt;

pub use json::{JsonLimits, Values};
pub use xml::XmlLimits;

/// Looks at a JSON document (RFC 8259).
pub type JsonChecker = Checker<json::Machine>;

/// Looks at an XML document (XML 1.0, fifth edition).
pub type XmlChecker = Checker<xml::Machine>;

/// What is wrong with a document, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub what: Wrong,
    /// How many bytes stand before the place where that shows.
    pub at: u64,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is none of its kind: what is amiss.
    Malformed(&'static str),
    /// It is written in another encoding than UTF-8: which.
    Encoding(&'static str),
    /// It has something that is never taken: what.
    Refused(&'static str),
    /// It has more of something than is allowed.
    Exceeded(Limit, u64),
}

/// Something of which a document may have so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What the limit is called.
    pub name: &'static str,
    /// What it counts.
    pub counts: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            Wrong::Malformed(what) | Wrong::Encoding(what) | Wrong::Refused(what) => f.write_str(what)?,
            Wrong::Exceeded(limit, most) => write!(f, "more than {most} {}", limit.counts)?,
        }
        write!(f, ", at byte {}", self.at)
    }
}

/// Counts one more, or finds that it is one too many.
fn count(counted: &mut u64, most: u64, limit: Limit) -> Result<(), Wrong> {
    if *counted >= most {
        return Err(Wrong::Exceeded(limit, most));
    }
    *counted += 1;
    Ok(())
}

/// A grammar, as a machine that takes characters.
pub trait Machine: fmt::Debug + Send {
    /// Takes text: whole characters.
    ///
    /// # Errors
    /// Says what is wrong. Nothing more is to be taken then.
    fn take(&mut self, text: &str) -> Result<(), Violation>;

    /// There is no more.
    ///
    /// # Errors
    /// It ended too early.
    fn end(&mut self) -> Result<(), Violation>;

    /// How many bytes were taken.
    fn taken(&self) -> u64;
}

/// Looks at one document: bytes are made whole characters of, which a grammar judges.
#[derive(Debug)]
pub struct Checker<M> {
    machine: M,
    /// The start of a character whose rest has not come yet.
    held: [u8; 4],
    held_len: usize,
}

impl<M: Machine> Checker<M> {
    fn of(machine: M) -> Self {
        Self { machine, held: [0; 4], held_len: 0 }
    }

    /// Takes the next piece of the document.
    ///
    /// # Errors
    /// Says what is wrong with it. Nothing more is to be fed then.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Violation> {
        let rest = self.complete(piece)?;
        if rest.is_empty() {
            return Ok(());
        }
        match std::str::from_utf8(rest) {
            Ok(text) => self.machine.take(text),
            Err(error) => {
                let (whole, tail) = rest.split_at(error.valid_up_to());
                // What stands before is judged first, so that it does not matter how the document was cut.
                self.machine.take(std::str::from_utf8(whole).unwrap_or_default())?;
                if error.error_len().is_some() {
                    return Err(self.not_utf8(tail));
                }
                self.held_len = tail.len().min(self.held.len());
                self.held[..self.held_len].copy_from_slice(&tail[..self.held_len]);
                Ok(())
            }
        }
    }

    /// There is no more.
    ///
    /// # Errors
    /// The document ended too early.
    pub fn end(&mut self) -> Result<(), Violation> {
        if self.held_len > 0 {
            return Err(self.not_utf8(&self.held));
        }
        self.machine.end()
    }

    /// Completes a character that was begun in the piece before; what is left of this one.
    fn complete<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8], Violation> {
        let mut rest = piece;
        while let (1.., Some((byte, behind))) = (self.held_len, rest.split_first()) {
            rest = behind;
            self.held[self.held_len.min(3)] = *byte;
            self.held_len += 1;
            let held = self.held;
            match std::str::from_utf8(&held[..self.held_len.min(4)]) {
                Ok(character) => {
                    self.held_len = 0;
                    self.machine.take(character)?;
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.not_utf8(&held)),
            }
        }
        Ok(rest)
    }

    fn not_utf8(&self, bytes: &[u8]) -> Violation {
        let at = self.machine.taken();
        let what = match bytes.first() {
            // No other character begins so, and no document in UTF-8 does.
            Some(0xFE | 0xFF) if at == 0 => Wrong::Encoding("the byte order mark of another encoding than UTF-8"),
            _ => Wrong::Malformed("bytes that are no UTF-8"),
        };
        Violation { what, at }
    }
}

#[cfg(test)]
mod tests;
