//! Mistakes in the config, told so that a person can mend them: what, where, what was expected.
//!
//! Rendering them with the line and a marker is `config::diagnose`'s.

use crate::node::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, but probably not as meant.
    Warning,
    /// The config is refused.
    Error,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line without a full stop.
    pub message: String,
    /// Where; absent only when no file is at fault.
    pub span: Option<Span>,
    /// What to do: shown as `hint: …`.
    pub hint: Option<String>,
    /// Other places that belong to it, each with a word why.
    pub related: Vec<(Span, String)>,
}

impl Diagnostic {
    /// An error with no place yet; [`Diagnostic::at`] gives it one.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), span: None, hint: None, related: Vec::new() }
    }

    /// A warning with no place yet.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Says where, unless that is known already: the innermost place wins.
    #[must_use]
    pub fn at(mut self, span: &Span) -> Self {
        if self.span.is_none() && span.is_some() {
            self.span = Some(span.clone());
        }
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn related(mut self, span: &Span, why: impl Into<String>) -> Self {
        if span.is_some() {
            self.related.push((span.clone(), why.into()));
        }
        self
    }
}

/// The known word nearest to what was written, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(written, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(written.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
