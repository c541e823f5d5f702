//! The chunked transfer coding (RFC 9112 §7.1), decoded in place.
//!
//! A state machine over whatever bytes are there: every split of a message gives the same content. Extensions are checked
//! and dropped, as §7.1.1 asks of a recipient that knows none; trailers are kept for sending on.
//!
//! Lines end in CRLF and nothing else, and the blanks that the grammar calls bad are taken only where it has them:
//! before the `;` of an extension and around its `=`, not before the line's end.

use std::ops::Range;

use tollgate_core::buffer::Buffer;
use tollgate_core::head::Fields;

use crate::extension::Extension;
use crate::fields::{self, Progress, Refused};

/// Most digits of a chunk's size, leading zeros included.
const MOST_DIGITS: u8 = 32;
/// Most blanks before an extension.
const MOST_BLANKS: u8 = 64;
/// How many bytes of extensions may come beyond the bytes of content (RFC 9112 §7.1.1: their total ought to be limited).
const MOST_EXTENSION: u64 = 16 * 1024;

/// Decodes one body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// Bytes of the present chunk still to come, or its size so far.
    size: u64,
    /// Digits or blanks read in the present line.
    count: u8,
    /// Bytes of extensions so far, less the bytes of content.
    excess: u64,
    /// The trailer section as it came; nothing for the usual empty one.
    trailer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Blanks between the size and `;`, which the grammar calls bad but allows.
    Blank,
    Extension(Extension),
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
            (State::Size | State::Blank, b';') => State::Extension(Extension::Start),
            (State::Size, b' ' | b'\t') => self.start(State::Blank),
            (State::Blank, b' ' | b'\t') if self.count < MOST_BLANKS => {
                self.count += 1;
                State::Blank
            }
            (State::Size, b'\r') => State::SizeLf,
            (State::Size | State::Blank, _) => return Err("a chunk size that is not a plain hexadecimal number"),
            (State::Extension(at), b'\r') if at.may_end() => State::SizeLf,
            (State::Extension(at), _) => self.extension(at, byte)?,
            (State::SizeLf, b'\n') if self.size == 0 => State::Trailer,
            (State::SizeLf, b'\n') => {
                self.excess = self.excess.saturating_sub(self.size);
                State::Data
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.start(State::Size),
            (State::DataCr | State::DataLf, _) => return Err("a chunk that is longer than its size"),
            (State::Trailer, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::Trailer | State::TrailerText | State::TrailerLf, _) => {
                return self.trailer_byte(byte, most_trailer);
            }
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
        if before >> 56 != 0 || self.count >= MOST_DIGITS {
            return Err("a chunk size that is too large");
        }
        self.size = (before << 4) | u64::from(value);
        self.count += 1;
        Ok(())
    }

    fn extension(&mut self, at: Extension, byte: u8) -> Result<State, &'static str> {
        self.excess += 1;
        if self.excess > MOST_EXTENSION {
            return Err("chunk extensions that are too long");
        }
        at.next(byte).map(State::Extension).ok_or("a chunk extension that breaks the grammar")
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
        if !buffer.append(b"\r\n") {
            return Err("a trailer section that is too large");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Content, bytes used up and trailers of `text`; `None`: there should be more.
    #[expect(clippy::type_complexity, reason = "named nowhere else")]
    fn decoded(text: &str) -> Result<Option<(String, usize, Vec<String>)>, &'static str> {
        let (mut decoder, mut content, mut at) = (Decoder::default(), Vec::new(), 0);
        loop {
            match decoder.step(text.as_bytes(), at, 64)? {
                Step::Data(range) => {
                    content.extend_from_slice(&text.as_bytes()[range.clone()]);
                    at = range.end;
                }
                Step::More => return Ok(None),
                Step::Done(end) => {
                    assert!(decoder.is_done());
                    let fields = decoder.trailers(4)?.unwrap_or_default();
                    let line = |(name, value): (&[u8], &[u8])| {
                        format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
                    };
                    return Ok(Some((
                        String::from_utf8_lossy(&content).into(),
                        end,
                        fields.iter().map(line).collect(),
                    )));
                }
            }
        }
    }

    fn content(text: &str) -> Option<String> {
        decoded(text).unwrap_or_else(|e| panic!("{text:?}: {e}")).map(|(content, ..)| content)
    }

    #[test]
    fn chunks_come_out_as_what_they_hold() {
        let table = [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("2\r\nhi\r\nA\r\n0123456789\r\n00000\r\n\r\n", "hi0123456789"),
            ("0000000000000002\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
            ("2 \t ;a=\"b;\\\"\" ; c\r\nhi\r\n0;d=e\r\n\r\n", "hi"),
        ];
        for (text, expected) in table {
            assert_eq!(content(text).as_deref(), Some(expected), "{text:?}");
            assert_eq!(decoded(&format!("{text}GET")).unwrap().unwrap().1, text.len(), "nothing behind it is used up");
            for len in 0..text.len() {
                assert_eq!(decoded(&text[..len]), Ok(None), "{:?}", &text[..len]);
            }
        }
    }

    /// RFC 9112 §7.1.
    #[test]
    fn sizes_and_line_ends_have_one_form() {
        let texts = [
            "\r\n",
            " 1\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1_0\r\n",
            "1.\r\n",
            "1,\r\n",
            ";a\r\n",
            "1 \r\n",
            "1\t\r\n",
            "1 1\r\n",
            "1\n",
            "1\r\r\n",
            "1\r ",
            "1\0\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\ra",
            "1\r\na0\r\n\r\n",
            "0\n\n",
            "0\r\n\n",
            "0\r\n\rX",
            "1;\r\n",
            "1;a=\"\r\n",
            "1;a\n",
            "1;a\rb",
            "1;a=\u{1}\r\n",
            "10000000000000002\r\n",
            "1000000000000000\r\n",
            "000000000000000000000000000000001\r\n",
        ];
        for text in texts {
            assert!(decoded(text).is_err(), "{text:?}");
        }
        // The largest size that is believed: nothing of it has come.
        assert_eq!(decoded("fffffffffffffff\r\n"), Ok(None));
    }

    /// RFC 9112 §7.1.1.
    #[test]
    fn extensions_may_not_outweigh_the_content_for_long() {
        let long = "b".repeat(16 * 1024 - 2);
        assert_eq!(content(&format!("1;a={long}\r\nx\r\n0\r\n\r\n")).as_deref(), Some("x"));
        assert!(decoded(&format!("1;a={long}b\r\nx\r\n0\r\n\r\n")).is_err());
        let small = format!("1;a={}\r\nx\r\n", "b".repeat(100));
        assert!(decoded(&format!("{}0\r\n\r\n", small.repeat(200))).is_err());
        let fair = format!("80;a={}\r\n{}\r\n", "b".repeat(100), "x".repeat(128));
        assert!(decoded(&format!("{}0\r\n\r\n", fair.repeat(200))).is_ok());
        assert!(decoded(&format!("1{};a\r\nx\r\n", " ".repeat(70))).is_err());
    }

    /// RFC 9112 §7.1.2, RFC 9110 §6.5.1.
    #[test]
    fn trailers_are_fields_like_others_but_none_that_frames_or_routes() {
        let trailers =
            |lines: &str| decoded(&format!("0\r\n{lines}\r\n")).map(|read| read.map(|(_, _, fields)| fields));
        assert_eq!(trailers("A: b\r\na:c \r\n"), Ok(Some(vec!["A=b".to_owned(), "a=c".to_owned()])));
        assert_eq!(trailers("Host: x\r\nContent-Length: 1\r\nA: b\r\n"), Ok(Some(vec!["A=b".to_owned()])));
        for lines in [
            "A : b\r\n",
            "A: b\r\n c\r\n",
            " A: b\r\n",
            "GET / HTTP/1.1\r\n",
            ": b\r\n",
            "A: \0\r\n",
            "A: b\n",
            "A: b\rc\r\n",
            "A: b\r\nx\r\n",
            "A:b\r\nA:b\r\nA:b\r\nA:b\r\nA:b\r\n",
        ] {
            assert!(trailers(lines).is_err(), "{lines:?}");
        }
        assert!(trailers(&format!("A: {}\r\n", "b".repeat(59))).is_ok());
        assert_eq!(trailers(&format!("A: {}\r\n", "b".repeat(60))), Err("a trailer section that is too large"));
    }
}
