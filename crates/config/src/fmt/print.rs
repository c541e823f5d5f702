//! Writes a tree line by line.

use crate::fmt::comments::Comments;
use crate::fmt::scalar;
use crate::syntax::{Flow, Kind, Style, Syntax};

/// How wide a line with braces or brackets may be.
const WIDTH: usize = 120;

/// One line of the result.
struct Line {
    text: String,
    /// A comment behind the text, and the column it had.
    comment: Option<(String, usize)>,
}

/// Writes a tree, with the comments put where they belong.
pub(crate) struct Printer<'t> {
    source: &'t str,
    comments: Comments,
    lines: Vec<Line>,
    /// The next line follows its key directly: no blank line in between.
    opening: bool,
}

impl<'t> Printer<'t> {
    pub(crate) fn new(source: &'t str, comments: Comments) -> Self {
        Self { source, comments, lines: Vec::new(), opening: true }
    }

    /// The whole text.
    pub(crate) fn print(mut self, root: Option<&Syntax>) -> String {
        if let Some(root) = root {
            self.leading(root.span.start, 0);
            if !matches!(&root.kind, Kind::Scalar(text, Style::Plain) if text.is_empty()) {
                self.node(String::new(), root, 0, self.source.len());
            }
        }
        self.leading(usize::MAX, 0);
        finish(self.lines)
    }

    /// Writes a node whose line so far is `start` (a key with its colon, a dash, or nothing); what does not fit on
    /// that line is indented by `indent`. The node's room ends at `until`.
    fn node(&mut self, start: String, node: &Syntax, indent: usize, until: usize) {
        let column = start.chars().count() + usize::from(!start.is_empty() && !start.ends_with(' '));
        match &node.kind {
            Kind::Scalar(text, style) => self.scalar(start, node, text, *style, indent),
            _ => match self.one_line(node, column) {
                Some(flow) => self.line(joined(start, &flow), Some(node.span.end)),
                None => self.block(start, node, indent, until),
            },
        }
    }

    fn scalar(&mut self, start: String, node: &Syntax, text: &str, style: Style, indent: usize) {
        let block = match style {
            // A whole file that is one text has nothing to be indented from.
            _ if indent == 0 => None,
            Style::Literal => scalar::literal(text),
            Style::Folded => {
                let (header, content) = self.folded_source(node);
                scalar::folded(header, content, node.span.column - 1, text)
            }
            Style::Plain | Style::Quoted => None,
        };
        let Some((header, lines)) = block else {
            let value = scalar::value(text, style, Flow::Block);
            return self.line(value.map_or(start.clone(), |value| joined(start, &value)), Some(node.span.end));
        };
        let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        self.line(joined(start, &header), None);
        // The comment behind the header stands before the content.
        self.trailing(|comment_start, _| comment_start < node.span.start);
        for line in lines {
            let padding = if line.is_empty() { 0 } else { indent };
            self.lines.push(Line { text: format!("{:padding$}{line}", ""), comment: None });
        }
        // The blank lines at the end of `|+` are content: one more would change it.
        self.opening = header.ends_with('+');
    }

    /// The header and the lines of a folded block as they are written.
    fn folded_source(&self, node: &Syntax) -> (&'t str, &'t str) {
        let source = self.source;
        let before = source[..node.span.start].trim_end();
        let header_line = before.rsplit('\n').next().unwrap_or_default();
        let before_comment = header_line.split(" #").next().unwrap_or_default();
        let header = before_comment.trim_end().rsplit(' ').next().unwrap_or_default();
        (header, &source[node.span.start..node.span.end])
    }

    /// A list or mapping by indentation.
    fn block(&mut self, start: String, node: &Syntax, indent: usize, until: usize) {
        let mut first = None;
        if start.ends_with("- ") {
            // The first entry stands on the line of the dash.
            first = Some(start);
        } else if !start.is_empty() {
            self.line(start, None);
            let child = first_of(node).map_or(node.span.end, |child| child.span.start);
            self.trailing(|comment, own_line| comment < child && !own_line);
            self.opening = true;
        }
        let end = if is_bracketed(node, self.source) { node.span.end } else { until };
        let column = column_of(self.source, node.span.start);
        match &node.kind {
            Kind::List(items, _) => {
                for (at, item) in items.iter().enumerate() {
                    let next = items.get(at + 1).map_or(end, |next| next.span.start);
                    let start = self.begin(first.take(), item.span.start, indent);
                    self.node(format!("{start}- "), item, indent + 2, next);
                }
            }
            Kind::Map(entries, _) => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    let next = entries.get(at + 1).map_or(end, |(next, _)| next.span.start);
                    self.entry(first.take(), key, value, indent, next);
                }
            }
            Kind::Scalar(..) => {}
        }
        // What stands behind the last entry, as far in as the entries.
        let bracketed = is_bracketed(node, self.source);
        self.leading_if(end, indent, |comment_column| bracketed || comment_column >= column);
    }

    fn entry(&mut self, first: Option<String>, key: &Syntax, value: &Syntax, indent: usize, until: usize) {
        let Kind::Scalar(text, _) = &key.kind else { return };
        let single_line = matches!(&value.kind, Kind::Scalar(_, Style::Plain | Style::Quoted));
        // A comment between a key and its scalar goes before both.
        let before = if single_line { value.span.start.max(key.span.start) } else { key.span.start };
        let start = self.begin_before(first, key.span.start, before, indent);
        let start = format!("{start}{}:", scalar::key(text, Flow::Block));
        self.node(start, value, indent + 2, until);
    }

    /// Writes the comments before an entry; what its line starts with.
    fn begin(&mut self, first: Option<String>, at: usize, indent: usize) -> String {
        self.begin_before(first, at, at, indent)
    }

    fn begin_before(&mut self, first: Option<String>, at: usize, comments: usize, indent: usize) -> String {
        if let Some(first) = first {
            // The comments before it were written before the dash; later ones find a place behind.
            return first;
        }
        self.leading(comments, indent);
        self.blank_line_before(at);
        format!("{:indent$}", "")
    }

    /// Writes the comments before `until` on lines of their own.
    fn leading(&mut self, until: usize, indent: usize) {
        self.leading_if(until, indent, |_| true);
    }

    fn leading_if(&mut self, until: usize, indent: usize, wanted: impl Fn(usize) -> bool) {
        while let Some(comment) = self.comments.take_if(|c| c.start < until && (!c.own_line || wanted(c.column))) {
            if comment.own_line {
                self.blank_line_before(comment.start);
            }
            self.lines.push(Line { text: format!("{:indent$}{}", "", comment.text), comment: None });
            self.opening = false;
        }
    }

    /// One blank line, if there is at least one in the source before this place, and something above it.
    fn blank_line_before(&mut self, at: usize) {
        let above = self.source.get(..at).unwrap_or_default();
        let indent_stripped = above.trim_end_matches([' ', '-']);
        let blank = indent_stripped.strip_suffix('\n').is_some_and(|above| {
            let line = above.rsplit('\n').next().unwrap_or_default();
            line.trim().is_empty()
        });
        if blank && !self.opening {
            self.lines.push(Line { text: String::new(), comment: None });
        }
        self.opening = false;
    }

    /// Writes a line, with the comment that stands behind `end` on the same line of the source.
    fn line(&mut self, text: String, end: Option<usize>) {
        let text = text.trim_end_matches(' ').to_owned();
        self.lines.push(Line { text, comment: None });
        self.opening = false;
        if let Some(end) = end {
            let source = self.source;
            self.trailing(|comment, own_line| {
                !own_line && source.get(end..comment).is_some_and(|between| !between.contains('\n'))
            });
        }
    }

    /// Puts the next comment behind the last line, if it is a wanted one; and those that follow below.
    fn trailing(&mut self, wanted: impl Fn(usize, bool) -> bool) {
        let Some(comment) = self.comments.take_if(|c| wanted(c.start, c.own_line)) else { return };
        if let Some(line) = self.lines.last_mut() {
            line.comment = Some((comment.text, comment.column));
        }
    }

    /// A list or mapping on one line, if it was written so, fits, and no comment stands in it.
    fn one_line(&self, node: &Syntax, column: usize) -> Option<String> {
        if is_empty(node) {
            return Some(flow(node));
        }
        let is_flow = matches!(&node.kind, Kind::List(_, Flow::Flow) | Kind::Map(_, Flow::Flow));
        if !is_flow || self.comments.any_before(node.span.end) {
            return None;
        }
        Some(flow(node)).filter(|text| column + text.chars().count() <= WIDTH)
    }
}

/// A node on one line.
fn flow(node: &Syntax) -> String {
    match &node.kind {
        Kind::Scalar(text, style) => scalar::value(text, *style, Flow::Flow).unwrap_or_else(|| "null".to_owned()),
        Kind::List(items, _) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Kind::Map(entries, _) if entries.is_empty() => "{}".to_owned(),
        Kind::Map(entries, _) => {
            let pair = |(key, value): &(Syntax, Syntax)| match &key.kind {
                Kind::Scalar(text, _) => format!("{}: {}", scalar::key(text, Flow::Flow), flow(value)),
                Kind::List(..) | Kind::Map(..) => String::new(),
            };
            format!("{{ {} }}", entries.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

fn is_empty(node: &Syntax) -> bool {
    match &node.kind {
        Kind::List(items, _) => items.is_empty(),
        Kind::Map(entries, _) => entries.is_empty(),
        Kind::Scalar(..) => false,
    }
}

/// Whether the node ends with a bracket or brace of its own.
fn is_bracketed(node: &Syntax, source: &str) -> bool {
    matches!(&node.kind, Kind::List(_, Flow::Flow) | Kind::Map(_, Flow::Flow))
        && source.get(node.span.start..).is_some_and(|text| text.starts_with(['[', '{']))
}

fn first_of(node: &Syntax) -> Option<&Syntax> {
    match &node.kind {
        Kind::List(items, _) => items.first(),
        Kind::Map(entries, _) => entries.first().map(|(key, _)| key),
        Kind::Scalar(..) => None,
    }
}

fn column_of(source: &str, at: usize) -> usize {
    let before = source.get(..at).unwrap_or_default();
    before.rsplit('\n').next().unwrap_or_default().chars().count()
}

fn joined(start: String, value: &str) -> String {
    match start.as_str() {
        "" => value.to_owned(),
        _ if start.ends_with(' ') => start + value,
        _ => format!("{start} {value}"),
    }
}

/// All lines as one text; comments that stood below each other do so again.
fn finish(lines: Vec<Line>) -> String {
    let mut text = String::new();
    let mut from = 0;
    while from < lines.len() {
        let column = |line: &Line| line.comment.as_ref().map(|(_, column)| *column);
        let run = match column(&lines[from]) {
            Some(first) => lines[from..].iter().take_while(|line| column(line) == Some(first)).count(),
            None => 1,
        };
        let group = &lines[from..from + run];
        let width = group.iter().map(|line| line.text.chars().count()).max().unwrap_or_default();
        for line in group {
            let content = line.text.as_str();
            match &line.comment {
                Some((comment, _)) => {
                    let padding = width - content.chars().count() + 2;
                    text.push_str(&format!("{content}{:padding$}{comment}\n", ""));
                }
                None => {
                    text.push_str(content);
                    text.push('\n');
                }
            }
        }
        from += run;
    }
    text
}
