//! Mistakes as a person reads them: message, place, the line with a marker, other places, a hint.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DEFAULT_TERM_WIDTH;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use tollgate_core::diagnostic::{Diagnostic, Severity};
use tollgate_core::node::{Source, Span};

use crate::partial::Partial;

/// Whether the terminal shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Text only.
    Plain,
    /// With ANSI colours.
    Coloured,
}

/// What is wrong with a config as a whole: at least one error among it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The file or directory, as the user gave it.
    pub name: String,
    /// All mistakes and warnings, in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
    /// What can be compiled nevertheless, to tell the compiler's mistakes along with these; `None`: nothing.
    pub partial: Option<Box<Partial>>,
}

impl Report {
    /// These mistakes, each once, put in the order of their places; what has none comes first.
    #[must_use]
    pub fn new(name: &str, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_cached_key(place);
        let mut told = HashSet::new();
        diagnostics.retain(|found| told.insert((place(found), found.message.clone())));
        Self { name: name.to_owned(), diagnostics, partial: None }
    }

    /// All of it, ready to be shown, with the summary as its last line.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        let mut shown = render_all(&self.diagnostics, look);
        shown.push_str(&self.summary());
        shown.push('\n');
        shown
    }

    /// One line: `tollgate.yaml: 3 errors, 1 warning`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |severity| self.diagnostics.iter().filter(|d| d.severity == severity).count();
        let counted = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        match warnings {
            0 => format!("{}: {}", self.name, counted(errors, "error")),
            _ => format!("{}: {}, {}", self.name, counted(errors, "error"), counted(warnings, "warning")),
        }
    }
}

/// The file and the byte at which a mistake stands.
pub(crate) fn place(diagnostic: &Diagnostic) -> Option<(String, usize)> {
    diagnostic.span.as_ref().map(|span| (span.source.name.clone(), span.start))
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(Look::Plain))
    }
}

impl std::error::Error for Report {}

/// Several mistakes, each followed by an empty line.
#[must_use]
pub fn render_all(diagnostics: &[Diagnostic], look: Look) -> String {
    diagnostics.iter().fold(String::new(), |mut shown, diagnostic| {
        let _ = writeln!(shown, "{}\n", render(diagnostic, look));
        shown
    })
}

/// One mistake, without a line break at its end.
#[must_use]
pub fn render(diagnostic: &Diagnostic, look: Look) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(normalize_untrusted_str(&diagnostic.message)));
    for excerpt in excerpts(diagnostic) {
        group = group.element(excerpt.snippet());
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.with_name("hint").message(normalize_untrusted_str(hint)));
    }
    let renderer = match look {
        Look::Plain => Renderer::plain(),
        Look::Coloured => Renderer::styled(),
    };
    renderer.term_width(DEFAULT_TERM_WIDTH).render(&[group])
}

/// Lines between two places that are still shown as one excerpt (folded), not as two.
const NEAR: usize = 200;

/// A part of a file, with the places in it.
struct Excerpt<'d> {
    source: &'d Arc<Source>,
    first_line: usize,
    last_line: usize,
    places: Vec<(AnnotationKind, &'d Span, &'d str)>,
}

fn excerpts(diagnostic: &Diagnostic) -> Vec<Excerpt<'_>> {
    let primary = diagnostic.span.iter().map(|span| (AnnotationKind::Primary, span, ""));
    let related = diagnostic.related.iter().map(|(span, why)| (AnnotationKind::Context, span, why.as_str()));
    let mut excerpts: Vec<Excerpt<'_>> = Vec::new();
    for place in primary.chain(related) {
        let span = place.1;
        match excerpts.iter_mut().find(|e| e.takes(span)) {
            Some(excerpt) => {
                excerpt.first_line = excerpt.first_line.min(span.line);
                excerpt.last_line = excerpt.last_line.max(span.line);
                excerpt.places.push(place);
            }
            None => excerpts.push(Excerpt {
                source: &span.source,
                first_line: span.line,
                last_line: span.line,
                places: vec![place],
            }),
        }
    }
    excerpts
}

impl<'d> Excerpt<'d> {
    fn takes(&self, span: &Span) -> bool {
        let near = span.line + NEAR > self.first_line && span.line < self.last_line + NEAR;
        Arc::ptr_eq(self.source, &span.source) && near
    }

    /// The bytes of the lines from the first place's to the last one's.
    fn range(&self) -> Range<usize> {
        let text = &self.source.text;
        let starts = self.places.iter().map(|(_, span, _)| span.start).min().unwrap_or_default().min(text.len());
        let ends = self.places.iter().map(|(_, span, _)| span.start).max().unwrap_or_default().min(text.len());
        let first = text[..starts].rfind('\n').map_or(0, |newline| newline + 1);
        let last = text[ends..].find('\n').map_or(text.len(), |newline| ends + newline);
        first..last
    }

    fn snippet(&self) -> Snippet<'d, annotate_snippets::Annotation<'d>> {
        let range = self.range();
        let text = &self.source.text[range.clone()];
        let snippet = Snippet::source(text).path(self.source.name.as_str()).line_start(self.first_line).fold(true);
        self.places.iter().fold(snippet, |snippet, (kind, span, why)| {
            // What goes over several lines is marked at its first one.
            let line_end =
                text[span.start - range.start..].find('\n').map_or(text.len(), |n| span.start - range.start + n);
            let marked = span.start - range.start..(span.end - range.start).min(line_end);
            let annotation = kind.span(marked);
            snippet.annotation(if why.is_empty() { annotation } else { annotation.label(*why) })
        })
    }
}
