//! The comments of a file, in order, handed out as the printer comes by.

use crate::syntax::{Syntax, scalars};

/// One comment.
#[derive(Clone, Debug)]
pub(crate) struct Comment {
    /// With its `#`.
    pub(crate) text: String,
    /// Its first byte.
    pub(crate) start: usize,
    /// Its column, from 0, in characters.
    pub(crate) column: usize,
    /// Nothing else stands on its line before it.
    pub(crate) own_line: bool,
}

/// All comments, and how many are handed out.
pub(crate) struct Comments {
    all: Vec<Comment>,
    next: usize,
}

impl Comments {
    /// Finds every comment: each `#` outside of scalars.
    pub(crate) fn collect(text: &str, root: Option<&Syntax>) -> Self {
        let mut texts = Vec::new();
        if let Some(root) = root {
            scalars(root, &mut texts);
        }
        let mut all = Vec::new();
        let mut from = 0;
        for scalar in texts.into_iter().chain(std::iter::once(text.len()..text.len())) {
            while let Some(start) = text.get(from..scalar.start).and_then(|gap| gap.find('#')).map(|at| from + at) {
                let comment = Comment::at(text, start);
                from = start + text[start..].find(['\n', '\r']).unwrap_or(text.len() - start);
                all.push(comment);
            }
            from = from.max(scalar.end);
        }
        Self { all, next: 0 }
    }

    pub(crate) fn none() -> Self {
        Self { all: Vec::new(), next: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a comment that was not handed out yet stands before `end`.
    pub(crate) fn any_before(&self, end: usize) -> bool {
        self.all.get(self.next).is_some_and(|comment| comment.start < end)
    }

    /// Hands out the next comment, if it is a wanted one.
    pub(crate) fn take_if(&mut self, wanted: impl FnOnce(&Comment) -> bool) -> Option<Comment> {
        let comment = self.all.get(self.next).filter(|comment| wanted(comment))?.clone();
        self.next += 1;
        Some(comment)
    }
}

impl Comment {
    fn at(text: &str, start: usize) -> Self {
        let line_start = text[..start].rfind(['\n', '\r']).map_or(0, |newline| newline + 1);
        let before = text[line_start..start].trim_start_matches('\u{feff}');
        let rest = &text[start..];
        let line = rest.split(['\n', '\r']).next().unwrap_or(rest);
        Self {
            text: line.trim_end().to_owned(),
            start,
            column: before.chars().count(),
            own_line: before.trim().is_empty(),
        }
    }
}
