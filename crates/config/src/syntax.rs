//! YAML 1.2 as it is written: the one module (with its `places`) that knows the parser. From here on there are
//! [`Syntax`] trees, which keep style and place of everything, so that `read` can make nodes of them and `fmt` can
//! write them again.
//!
//! What a config file does not need is refused: anchors, aliases, merge keys, tags, directives, several documents,
//! keys that are no scalars, tabs in the indentation, nesting beyond [`DEEPEST`].

mod places;

use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Source, Span};

use self::places::Places;

/// How deep lists and mappings may nest.
pub(crate) const DEEPEST: usize = 64;

/// A node as it is written.
#[derive(Debug)]
pub(crate) struct Syntax {
    /// Its place; for a block scalar that of its content, without the header.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A scalar, unescaped.
    Scalar(String, Style),
    /// A sequence.
    List(Vec<Syntax>, Flow),
    /// A mapping; keys are scalars.
    Map(Vec<(Syntax, Syntax)>, Flow),
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// As a block, `|`.
    Literal,
    /// As a block, `>`.
    Folded,
}

/// How a list or mapping is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// By indentation.
    Block,
    /// In brackets or braces.
    Flow,
}

/// A file that could be read to its end.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// What stands in it; `None`: nothing.
    pub(crate) root: Option<Syntax>,
    /// What may not stand in it, but leaves sense in the rest.
    pub(crate) mistakes: Vec<Diagnostic>,
}

/// Parses a whole file; an error is all mistakes up to the first that leaves no sense in the rest.
pub(crate) fn parse(source: &Arc<Source>) -> Result<Parsed, Vec<Diagnostic>> {
    let mut builder =
        Builder { places: Places::new(source), open: Vec::new(), root: None, mistakes: Vec::new(), documents: 0 };
    if let Some(at) = lone_return(&source.text) {
        let place = Span { start: at, end: at + 1, ..builder.places.line_of(at) };
        let mistake = Diagnostic::error("a carriage return without a line feed").at(&place);
        return Err(vec![mistake.hint("lines end with a line feed, or with both")]);
    }
    let mut parser = Parser::new_from_str(&source.text);
    while let Some(next) = parser.next_event() {
        let go_on = match next {
            Ok((event, span)) => builder.event(event, span.start, span.end),
            Err(error) => {
                builder.mistakes.push(explain(&error, &builder.places));
                false
            }
        };
        if !go_on {
            return Err(builder.mistakes);
        }
    }
    let Builder { root, mut mistakes, .. } = builder;
    if let Some(root) = &root {
        mistakes.extend(tabs(root, source));
    }
    Ok(Parsed { root, mistakes })
}

/// A list or mapping that is being read.
struct Open {
    span: Span,
    flow: Flow,
    content: Content,
}

enum Content {
    List(Vec<Syntax>),
    Map(Vec<(Syntax, Syntax)>, Option<Syntax>),
}

struct Builder<'s> {
    places: Places<'s>,
    open: Vec<Open>,
    root: Option<Syntax>,
    mistakes: Vec<Diagnostic>,
    documents: usize,
}

impl Builder<'_> {
    /// Takes one event; whether to go on.
    fn event(&mut self, event: Event<'_>, start: Marker, end: Marker) -> bool {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_) => self.document(start, end),
            Event::Alias(_) => self.refuse(alias_refused(), start, end),
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.places.scalar(start, end, style, text.is_empty());
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                };
                self.properties(anchor, tag.is_some(), &span);
                self.put(Syntax { span, kind: Kind::Scalar(text.into_owned(), style) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(Content::List(Vec::new()), anchor, tag.is_some(), start, end)
            }
            Event::MappingStart(anchor, tag) => {
                self.start(Content::Map(Vec::new(), None), anchor, tag.is_some(), start, end)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(start, end),
        }
    }

    fn document(&mut self, start: Marker, end: Marker) -> bool {
        self.documents += 1;
        let text = self.places.text();
        if self.documents > 1 {
            let several = Diagnostic::error("a second document starts here")
                .hint("one document per file; a directory of files is merged");
            return self.refuse(several, start, end);
        }
        let before = text.get(..self.places.byte(start.index())).unwrap_or_default();
        if before.lines().any(|line| line.starts_with('%')) {
            let directive =
                Diagnostic::error("directives cannot be used").hint("leave out the lines that start with `%`");
            return self.refuse(directive, Marker::new(0, 1, 0), Marker::new(1, 1, 1));
        }
        true
    }

    fn refuse(&mut self, mistake: Diagnostic, start: Marker, end: Marker) -> bool {
        let span = self.places.span(start, end);
        self.mistakes.push(mistake.at(&span));
        false
    }

    fn properties(&mut self, anchor: usize, tag: bool, span: &Span) {
        if anchor > 0 {
            let mistake = Diagnostic::error("anchors cannot be used").at(span);
            self.mistakes.push(mistake.hint("write it out, or put what is shared under `defaults` or `services`"));
        }
        if tag {
            let mistake = Diagnostic::error("tags cannot be used").at(span);
            self.mistakes.push(mistake.hint("a text that starts with `!` stands in quotes"));
        }
    }

    fn start(&mut self, content: Content, anchor: usize, tag: bool, start: Marker, end: Marker) -> bool {
        let span = self.places.span(start, end);
        self.properties(anchor, tag, &span);
        if self.open.len() >= DEEPEST {
            self.mistakes.push(too_deep().at(&span));
            return false;
        }
        if self.key_is_due() {
            let mistake = Diagnostic::error("a key must be a text").at(&span);
            self.mistakes.push(mistake.hint("a key that starts with `[` or `{` stands in quotes"));
            return false;
        }
        let in_flow = self.open.last().is_some_and(|open| open.flow == Flow::Flow);
        let flow = if in_flow || span.end > span.start { Flow::Flow } else { Flow::Block };
        self.open.push(Open { span, flow, content });
        true
    }

    fn key_is_due(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map(_, None), .. }))
    }

    fn end(&mut self, start: Marker, end: Marker) -> bool {
        let Some(Open { mut span, flow, content }) = self.open.pop() else { return false };
        let kind = match content {
            Content::List(items) => Kind::List(items, flow),
            Content::Map(entries, _) => Kind::Map(entries, flow),
        };
        let last = match &kind {
            Kind::List(items, _) => items.last().map(|item| item.span.end),
            Kind::Map(entries, _) => entries.last().map(|(key, value)| value.span.end.max(key.span.end)),
            Kind::Scalar(..) => None,
        };
        // The parser counts the blanks and comment after a closing bracket as a part of it.
        let bracket = self.places.byte(start.index());
        let closes = end.index() > start.index() && self.places.text()[bracket..].starts_with([']', '}']);
        let closed = if closes { Some(bracket + 1) } else { last };
        span.end = closed.unwrap_or(span.end).max(span.start);
        self.put(Syntax { span, kind })
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Syntax) -> bool {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(entries, key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let mistake = key_mistake(&node);
                    *key = Some(node);
                    self.mistakes.extend(mistake);
                }
            },
        }
        true
    }
}

/// The first carriage return that ends a line by itself: to YAML a line break, to hardly anybody else.
fn lone_return(text: &str) -> Option<usize> {
    text.match_indices('\r').map(|(at, _)| at).find(|at| !text[at + 1..].starts_with('\n'))
}

/// What is wrong with a key, if anything.
fn key_mistake(key: &Syntax) -> Option<Diagnostic> {
    let Kind::Scalar(text, style) = &key.kind else { return None };
    let mistake = match (text.as_str(), style) {
        ("", Style::Plain) => Diagnostic::error("a key is missing before `:`"),
        ("<<", Style::Plain) => Diagnostic::error("merge keys cannot be used")
            .hint("write it out, or put what is shared under `defaults` or `services`"),
        (_, Style::Literal | Style::Folded) => Diagnostic::error("a key must be one line"),
        (text, _) if text.contains('\n') => Diagnostic::error("a key must be one line"),
        _ => return None,
    };
    Some(mistake.at(&key.span))
}

fn alias_refused() -> Diagnostic {
    Diagnostic::error("aliases cannot be used").hint("a text that starts with `*` stands in quotes: \"*.example.com\"")
}

/// The parser's error in words that help.
fn explain(error: &ScanError, places: &Places<'_>) -> Diagnostic {
    let info = error.info();
    let at = *error.marker();
    let span = places.span(at, Marker::new(at.index() + 1, at.line(), at.col() + 1));
    let mistake = match info {
        _ if info.contains("unknown anchor") => alias_refused(),
        _ if info.split(' ').any(|word| matches!(word, "tab" | "tabs")) => tab_refused(),
        _ if info.contains("recursion limit") => too_deep(),
        _ if info.contains("mapping values are not allowed") => Diagnostic::error("a `:` is not expected here")
            .hint("a text with `: ` in it stands in quotes; or is the line above indented differently?"),
        _ if info.contains("flow mapping") || info.contains("flow sequence") => in_brackets(places, span.start),
        _ if info.contains("cannot start any token") || info.contains("unexpected character") => {
            Diagnostic::error("a text cannot start with this character").hint("put it in quotes")
        }
        _ => Diagnostic::error(format!("this is not YAML: {info}")),
    };
    mistake.at(&span)
}

/// What does not fit within braces or brackets: most often a text that should stand in quotes.
fn in_brackets(places: &Places<'_>, at: usize) -> Diagnostic {
    if places.text()[at..].trim().is_empty() {
        return Diagnostic::error("a `{` or `[` is not closed").hint("is there a `}` or `]` for each?");
    }
    Diagnostic::error("expected `,` or the closing `}` or `]` here")
        .hint("within `{ }` and `[ ]`, a text with braces, brackets or commas stands in quotes")
}

fn too_deep() -> Diagnostic {
    Diagnostic::error(format!("nested deeper than {DEEPEST} levels"))
}

fn tab_refused() -> Diagnostic {
    Diagnostic::error("a tab in the indentation").hint("indent with spaces")
}

/// Tabs before the first character of a line, outside of texts.
fn tabs(root: &Syntax, source: &Arc<Source>) -> Vec<Diagnostic> {
    if !source.text.contains('\t') {
        return Vec::new();
    }
    let mut texts = Vec::new();
    scalars(root, &mut texts);
    let mut mistakes = Vec::new();
    let mut start = 0;
    for (number, line) in source.text.split_inclusive('\n').enumerate() {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        // Tabs in a text are content.
        let in_text = |place: usize| {
            let next = texts.partition_point(|text| text.end <= place);
            texts.get(next).is_some_and(|text| text.start <= place)
        };
        if let Some(tab) = line[..indent].find('\t').filter(|tab| !in_text(start + tab) && !line.trim().is_empty()) {
            let place = start + tab;
            let span =
                Span { source: Arc::clone(source), start: place, end: place + 1, line: number + 1, column: tab + 1 };
            mistakes.push(tab_refused().at(&span));
        }
        start += line.len();
    }
    mistakes
}

/// The places of all scalars, in order.
pub(crate) fn scalars(node: &Syntax, into: &mut Vec<std::ops::Range<usize>>) {
    match &node.kind {
        Kind::Scalar(..) => into.push(node.span.start..node.span.end),
        Kind::List(items, _) => items.iter().for_each(|item| scalars(item, into)),
        Kind::Map(entries, _) => entries.iter().for_each(|(key, value)| {
            scalars(key, into);
            scalars(value, into);
        }),
    }
}
