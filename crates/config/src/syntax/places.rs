//! From the parser's places (in characters) to ours (in bytes), and past its habit of counting what follows.

use std::sync::Arc;

use saphyr_parser::{Marker, ScalarStyle};
use tollgate_core::node::{Source, Span};

/// Characters between two checkpoints of [`Places`].
const STRIDE: usize = 64;

/// From the parser's places (in characters) to ours (in bytes).
pub(super) struct Places<'s> {
    source: &'s Arc<Source>,
    /// The byte of every [`STRIDE`]th character; empty if all is ASCII.
    checkpoints: Vec<usize>,
}

impl<'s> Places<'s> {
    pub(super) fn new(source: &'s Arc<Source>) -> Self {
        let checkpoints = match source.text.is_ascii() {
            true => Vec::new(),
            false => source.text.char_indices().step_by(STRIDE).map(|(byte, _)| byte).collect(),
        };
        Self { source, checkpoints }
    }

    pub(super) fn text(&self) -> &'s str {
        &self.source.text
    }

    /// The byte at which this character starts.
    pub(super) fn byte(&self, character: usize) -> usize {
        let text = self.text();
        if self.checkpoints.is_empty() {
            return character.min(text.len());
        }
        let Some(&from) = self.checkpoints.get(character / STRIDE) else { return text.len() };
        text[from..].char_indices().nth(character % STRIDE).map_or(text.len(), |(offset, _)| from + offset)
    }

    /// An empty span at this byte.
    pub(super) fn line_of(&self, byte: usize) -> Span {
        let before = &self.text()[..byte];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Span { source: Arc::clone(self.source), start: byte, end: byte, line, column }
    }

    pub(super) fn span(&self, start: Marker, end: Marker) -> Span {
        let first = self.byte(start.index());
        let last = self.byte(end.index()).max(first);
        Span { source: Arc::clone(self.source), start: first, end: last, line: start.line(), column: start.col() + 1 }
    }

    /// The place of a scalar. The parser counts the blanks and comment after a quoted one, and the blanks after an
    /// empty one, as a part of it.
    pub(super) fn scalar(&self, start: Marker, end: Marker, style: ScalarStyle, empty: bool) -> Span {
        let mut span = self.span(start, end);
        let written = &self.text()[span.start..span.end];
        let length = match style {
            ScalarStyle::Plain if empty => 0,
            ScalarStyle::SingleQuoted => end_of_single_quoted(written),
            ScalarStyle::DoubleQuoted => end_of_double_quoted(written),
            _ => written.len(),
        };
        span.end = span.start + length;
        span
    }
}

fn end_of_single_quoted(written: &str) -> usize {
    let mut from = 1;
    while let Some(quote) = written.get(from..).and_then(|rest| rest.find('\'')) {
        from += quote + 1;
        if !written[from..].starts_with('\'') {
            return from;
        }
        from += 1;
    }
    written.len()
}

fn end_of_double_quoted(written: &str) -> usize {
    let mut bytes = written.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return at + 1,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    written.len()
}
