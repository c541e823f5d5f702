//! Field lines (RFC 9112 §5), for heads and trailers alike.

use tollgate_core::field::{Known, TOKEN};
use tollgate_core::head::{Field, Fields, Part};

use crate::scan;

/// What one look at the bytes from the start of a line gives.
pub(crate) enum Line {
    /// A field line; the next one starts at `next`.
    Field { field: Field, next: usize },
    /// The empty line; the content starts here.
    End(usize),
    /// The bytes end before the line does.
    Partial,
}

/// Reads the line that starts at `at`.
///
/// # Errors
/// Says what breaks the grammar: a fold, white space before the colon, a bare CR or LF, a control byte, an empty name.
pub(crate) fn line(bytes: &[u8], at: usize) -> Result<Line, &'static str> {
    match bytes.get(at) {
        None => return Ok(Line::Partial),
        Some(b'\r') => {
            return match bytes.get(at + 1) {
                Some(b'\n') => Ok(Line::End(at + 2)),
                Some(_) => Err("a CR without LF"),
                None => Ok(Line::Partial),
            };
        }
        Some(b'\n') => return Err("a line that ends in LF alone"),
        // RFC 9112 §5.2: a server must refuse obs-fold or replace it; two readers disagree, so it is refused.
        Some(b' ' | b'\t') => return Err("a folded or indented header line"),
        Some(_) => {}
    }
    let Some(name_len) = bytes[at..].iter().position(|b| !TOKEN[usize::from(*b)]) else { return Ok(Line::Partial) };
    let colon = at + name_len;
    match bytes[colon] {
        b':' if name_len > 0 => {}
        b':' => return Err("an empty header name"),
        // RFC 9112 §5.1: must be refused with 400.
        b' ' | b'\t' => return Err("white space before the colon of a header line"),
        b'\r' | b'\n' => return Err("a header line without a colon"),
        _ => return Err("a byte that may not stand in a header name"),
    }
    value(bytes, at, colon)
}

/// The part behind the colon.
fn value(bytes: &[u8], at: usize, colon: usize) -> Result<Line, &'static str> {
    let end = scan::control(bytes, colon + 1);
    match (bytes.get(end), bytes.get(end + 1)) {
        (None, _) | (Some(b'\r'), None) => return Ok(Line::Partial),
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), _) => return Err("a CR without LF"),
        (Some(b'\n'), _) => return Err("a line that ends in LF alone"),
        _ => return Err("a control byte in a header value"),
    }
    let is_space = |b: &u8| matches!(b, b' ' | b'\t');
    let text = &bytes[colon + 1..end];
    let lead = text.iter().take_while(|b| is_space(b)).count();
    let trail = text[lead..].iter().rev().take_while(|b| is_space(b)).count();
    let part =
        |start: usize, end: usize| Some(Part { start: u16::try_from(start).ok()?, end: u16::try_from(end).ok()? });
    let (Some(name), Some(value)) = (part(at, colon), part(colon + 1 + lead, end - trail)) else {
        return Err("a head of 64 KiB or more");
    };
    let known = Known::of(&bytes[at..colon]);
    Ok(Line::Field { field: Field { name, value, known, dropped: false }, next: end + 2 })
}

/// Reads field lines into `fields` from `at` on. Gives where the head ends (past the empty line), or where to go on once
/// there is more.
pub(crate) fn lines(fields: &mut Fields, mut at: usize, most: usize) -> Result<Progress, Refused> {
    loop {
        match line(fields.buffer.filled(), at).map_err(Refused::Malformed)? {
            Line::Field { field, next } => {
                if fields.received().len() >= most {
                    return Err(Refused::TooMany);
                }
                fields.push(field);
                at = next;
            }
            Line::End(end) => return Ok(Progress::Complete(end)),
            Line::Partial => return Ok(Progress::Partial(at)),
        }
    }
}

/// How far the reading came.
pub(crate) enum Progress {
    /// The empty line was read; the content starts here.
    Complete(usize),
    /// More is needed; the next look starts here.
    Partial(usize),
}

/// Why field lines are refused.
pub(crate) enum Refused {
    /// More than allowed.
    TooMany,
    /// What breaks the grammar.
    Malformed(&'static str),
}

/// The elements of a comma-separated list value (RFC 9110 §5.6.1), empty ones left out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Most fields that `Connection` may name: each costs a look at every field, and nobody needs as many.
const MOST_NAMED: usize = 100;

/// The fields that `Connection` names (RFC 9110 §7.6.1).
#[derive(Default)]
pub(crate) struct Named(Vec<Part>);

impl Named {
    /// Notes `option`, which stands in `bytes`.
    ///
    /// # Errors
    /// When there are more than anybody needs.
    pub(crate) fn push(&mut self, bytes: &[u8], option: &[u8]) -> Result<(), &'static str> {
        let start = option.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        let part = (u16::try_from(start), u16::try_from(start.wrapping_add(option.len())));
        let (Ok(start), Ok(end)) = part else { return Err("a head that is too large") };
        if self.0.len() == MOST_NAMED {
            return Err("more than 100 fields named in `Connection`");
        }
        self.0.push(Part { start, end });
        Ok(())
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, value and start of the next line; the names of the other outcomes.
    fn read(text: &str) -> Result<(&str, &str, usize), &'static str> {
        match line(text.as_bytes(), 0)? {
            Line::Field { field, next } => {
                let of = |part: Part| &text[usize::from(part.start)..usize::from(part.end)];
                Ok((of(field.name), of(field.value), next))
            }
            Line::End(next) => Ok(("end", "", next)),
            Line::Partial => Ok(("partial", "", 0)),
        }
    }

    #[test]
    fn a_value_is_what_stands_between_the_blanks() {
        assert_eq!(read("A: b\r\n"), Ok(("A", "b", 6)));
        assert_eq!(read("A:b\r\nX"), Ok(("A", "b", 5)));
        assert_eq!(read("A: \t b c \t\r\n"), Ok(("A", "b c", 12)));
        assert_eq!(read("A:\r\n"), Ok(("A", "", 4)));
        assert_eq!(read("A: \t \r\n"), Ok(("A", "", 7)));
        assert_eq!(read("A: :b:\r\n"), Ok(("A", ":b:", 8)));
        assert_eq!(read("\r\nX"), Ok(("end", "", 2)));
    }

    #[test]
    fn a_line_that_may_still_become_one_is_waited_for() {
        for text in ["", "A", "A:", "A: b", "A: b\r", "\r"] {
            assert_eq!(read(text), Ok(("partial", "", 0)), "{text:?}");
        }
    }

    /// RFC 9110 §5.6.1.
    #[test]
    fn lists_are_split_at_commas() {
        let elements =
            |text: &'static str| list(text.as_bytes()).map(|e| str::from_utf8(e).unwrap()).collect::<Vec<_>>();
        assert_eq!(elements(" a ,b\t, ,,c d,"), ["a", "b", "c d"]);
        assert!(elements(" , ,").is_empty());
    }
}
