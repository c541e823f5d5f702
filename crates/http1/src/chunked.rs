//! The chunked transfer coding (RFC 9112 §7.1), decoded in place.
//!
//! A state machine over whatever bytes are there: every split of a message gives the same content. Extensions are checked
//! and dropped, as §7.1.1 asks of a recipient that knows none; trailers are kept for sending on.

use std::ops::Range;

use tollgate_core::buffer::Buffer;
use tollgate_core::head::Fields;

use crate::fields::{self, Progress, Refused};

/// Most bytes of extensions in one chunk's line.
const LONGEST_EXTENSION: u16 = 1024;

/// Most digits of a chunk's size, leading zeros included.
const LONGEST_SIZE: u16 = 32;

/// Decodes one body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// Bytes of the present chunk still to come, or its size so far.
    size: u64,
    /// Digits or extension bytes read in the present line.
    count: u16,
    /// The trailer section as it came; nothing for the usual empty one.
    trailer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Blanks between the size and `;`, which the grammar calls bad but allows.
    Blank,
    Extension,
    /// Between quotes in an extension, where a line cannot end.
    Quoted,
    /// Behind a backslash between quotes.
    QuotedPair,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line of the trailer section.
    Trailer,
    TrailerText,
    TrailerLf,
    LastLf,
    Done,
}

/// The state within an extension behind this byte (quoted-string, RFC 9110 §5.6.4).
fn quoting(state: State, byte: u8) -> State {
    match (state, byte) {
        (State::Extension, b'"') => State::Quoted,
        (State::Quoted, b'"') => State::Extension,
        (State::Quoted, b'\\') => State::QuotedPair,
        (State::QuotedPair, _) => State::Quoted,
        (state, _) => state,
    }
}

/// What one step gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Content stands in this range; go on behind it.
    Data(Range<usize>),
    /// All bytes were used up.
    More,
    /// The body is over; this many bytes were used up in all.
    Done(usize),
}

impl Decoder {
    /// Whether the last chunk and the trailer section were read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on in `bytes` from `at`.
    ///
    /// # Errors
    /// Says what breaks the grammar. `most_trailer` bounds the trailer section in bytes.
    pub fn step(&mut self, bytes: &[u8], mut at: usize, most_trailer: usize) -> Result<Step, &'static str> {
        while let Some(byte) = bytes.get(at) {
            match self.state {
                State::Done => break,
                State::Data => {
                    let there = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX).min(self.size);
                    self.size -= there;
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                    let end = at + usize::try_from(there).unwrap_or(usize::MAX);
                    return Ok(Step::Data(at..end));
                }
                _ => self.byte(*byte, most_trailer)?,
            }
            at += 1;
        }
        Ok(if self.state == State::Done { Step::Done(at) } else { Step::More })
    }

    fn byte(&mut self, byte: u8, most_trailer: usize) -> Result<(), &'static str> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return self.digit(byte),
            (State::Size, _) if self.count == 0 => return Err("a chunk without a size"),
            (State::Size | State::Blank, b';') => self.start(State::Extension),
            (State::Size | State::Blank, b' ' | b'\t') if self.count < 64 => {
                self.count += 1;
                State::Blank
            }
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::Blank, _) => return Err("a chunk size that is not a plain hexadecimal number"),
            (State::Extension | State::Quoted | State::QuotedPair, b'\t' | b' '..=b'~' | 0x80..)
                if self.count < LONGEST_EXTENSION =>
            {
                self.count += 1;
                quoting(self.state, byte)
            }
            (State::Extension | State::Quoted | State::QuotedPair, _) => {
                return Err("a chunk extension that is too long, has control bytes, or an open quote");
            }
            (State::SizeLf, b'\n') if self.size == 0 => State::Trailer,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.start(State::Size),
            (State::DataCr | State::DataLf, _) => return Err("a chunk that is longer than its size"),
            (State::Trailer, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::Trailer | State::TrailerText | State::TrailerLf, _) => return self.trailer_byte(byte, most_trailer),
            _ => return Err("a CR without LF"),
        };
        Ok(())
    }

    fn start(&mut self, state: State) -> State {
        self.count = 0;
        state
    }

    fn digit(&mut self, digit: u8) -> Result<(), &'static str> {
        let value = char::from(digit).to_digit(16).unwrap_or_default();
        let before = if self.count == 0 { 0 } else { self.size };
        // RFC 9112 §7.1: overflow must be prevented. 60 bits keep sums of sizes far from it, too.
        if before >> 56 != 0 || self.count >= LONGEST_SIZE {
            return Err("a chunk size that is too large");
        }
        self.size = (before << 4) | u64::from(value);
        self.count += 1;
        Ok(())
    }

    fn trailer_byte(&mut self, byte: u8, most: usize) -> Result<(), &'static str> {
        if self.trailer.len() >= most {
            return Err("a trailer section that is too large");
        }
        self.trailer.push(byte);
        self.state = match (self.state, byte) {
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::TrailerLf, _) => return Err("a CR without LF"),
            (_, b'\r') => State::TrailerLf,
            (_, b'\n') => return Err("a line that ends in LF alone"),
            _ => State::TrailerText,
        };
        Ok(())
    }

    /// The trailer fields, once the body is done; `None` if there were none.
    ///
    /// # Errors
    /// Says what breaks the grammar of field lines (RFC 9112 §7.1.2), or names a field that frames or routes.
    pub fn trailers(&self, most_fields: usize) -> Result<Option<Fields>, &'static str> {
        if self.trailer.is_empty() {
            return Ok(None);
        }
        let mut buffer = Buffer::holding(&self.trailer);
        let end = b"\r\n";
        buffer.spare()[..2].copy_from_slice(end);
        buffer.advance(2);
        let mut fields = Fields::default();
        fields.buffer = buffer;
        match fields::lines(&mut fields, 0, most_fields) {
            Ok(Progress::Complete(_)) => {}
            Ok(Progress::Partial(_)) => return Err("a trailer section that is not complete"),
            Err(Refused::TooMany) => return Err("too many trailer fields"),
            Err(Refused::Malformed(what)) => return Err(what),
        }
        // RFC 9110 §6.5.1: must not be there, and whoever merged them would be misled.
        fields.drop_received(|field, _| field.known.is_forbidden_in_trailer());
        Ok(Some(fields))
    }
}
