//! Paths and targets with placeholders, resolved to the captures of the route's own pattern when the plan is compiled.

use tollgate_config::model::{PathChange, Piece};
use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::head::RequestHead;
use tollgate_core::node::Span;
use tollgate_core::path::{self, Normal};

use crate::matcher::{Captures, Pattern};

/// How a path changes on its way to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPlan {
    /// So many bytes at its start are dropped.
    Strip(usize),
    /// It is replaced.
    Rewrite(Box<[Part]>),
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan(Box<[Part]>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is written.
    Literal(Box<str>),
    /// The capture with this number.
    Capture(usize),
    /// What `**` stands for, without the slash before it.
    Rest,
    /// The host asked for, without its port.
    Host,
    /// The query with its `?`, if there is one.
    Query,
}

impl PathPlan {
    /// For a route with this pattern.
    ///
    /// # Errors
    /// A placeholder that the pattern does not have.
    pub(crate) fn compile(change: &PathChange, pattern: &Pattern) -> Result<Self, Diagnostic> {
        match change {
            // That it is a prefix of the pattern was checked with the config.
            PathChange::Strip(prefix) => Ok(Self::Strip(prefix.value.trim_end_matches('/').len())),
            PathChange::Rewrite(template) => parts(&template.value.pieces, pattern, &template.span).map(Self::Rewrite),
        }
    }

    /// Appends the changed form of `path`: normal again, and beginning with a slash.
    pub fn write(&self, path: &str, captures: &Captures, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Strip(prefix) => {
                let rest = path.get(*prefix..).unwrap_or_default();
                if !rest.starts_with('/') {
                    out.push(b'/');
                }
                out.extend_from_slice(rest.as_bytes());
            }
            Self::Rewrite(parts) => {
                write_parts(parts, path, None, captures, out);
                settle(out, start);
            }
        }
    }
}

/// Captures between literals may meet in new ways: what comes out is brought into the normal form again, and what has
/// none becomes the root rather than something that another reader takes for another path.
fn settle(out: &mut Vec<u8>, start: usize) {
    let mut normal = Vec::new();
    match path::normalise(&out[start..], &mut normal) {
        Ok(Normal::AsIs) => return,
        Ok(Normal::Rewritten) => {}
        Err(_) => normal = b"/".to_vec(),
    }
    out.truncate(start);
    out.extend_from_slice(&normal);
}

impl TargetPlan {
    /// For a route with this pattern.
    ///
    /// # Errors
    /// A placeholder that the pattern does not have.
    pub(crate) fn compile(pieces: &[Piece], pattern: &Pattern, span: &Span) -> Result<Self, Diagnostic> {
        parts(pieces, pattern, span).map(Self)
    }

    /// Appends the target for this request. Everything filled in is visible ASCII: no line can be broken.
    pub fn write(&self, head: &RequestHead, captures: &Captures, out: &mut Vec<u8>) {
        write_parts(&self.0, head.path(), Some(head), captures, out);
    }
}

fn write_parts(parts: &[Part], path: &str, head: Option<&RequestHead>, captures: &Captures, out: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Part::Capture(number) => {
                let text = captures.get(*number).and_then(|range| path.get(range)).unwrap_or_default();
                out.extend_from_slice(text.as_bytes());
            }
            Part::Rest => {
                let text = captures.tail_start().and_then(|start| path.get(start..)).unwrap_or_default();
                out.extend_from_slice(text.strip_prefix('/').unwrap_or(text).as_bytes());
            }
            Part::Host => out.extend_from_slice(head.map_or("", |head| without_port(head.host())).as_bytes()),
            Part::Query => {
                if let Some(query) = head.and_then(RequestHead::query) {
                    out.push(b'?');
                    out.extend_from_slice(query.as_bytes());
                }
            }
        }
    }
}

/// A host without its port; IPv6 keeps its brackets.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

fn parts(pieces: &[Piece], pattern: &Pattern, span: &Span) -> Result<Box<[Part]>, Diagnostic> {
    let names: Vec<&str> = pattern.names().iter().map(String::as_str).collect();
    let part = |piece: &Piece| match piece {
        Piece::Literal(text) => Ok(Part::Literal(text.as_str().into())),
        Piece::Host => Ok(Part::Host),
        Piece::Query => Ok(Part::Query),
        Piece::Rest if pattern.has_tail() => Ok(Part::Rest),
        Piece::Rest => {
            let mistake = Diagnostic::error("`{**}` has nothing to stand for");
            Err(mistake.at(span).hint("the route's path would have to end in `/**`"))
        }
        Piece::Param(name) => match names.iter().position(|have| *have == name.as_str()) {
            Some(number) => Ok(Part::Capture(number)),
            None => Err(unknown(name, &names, span)),
        },
    };
    pieces.iter().map(part).collect()
}

fn unknown(name: &str, names: &[&str], span: &Span) -> Diagnostic {
    let mistake = Diagnostic::error(format!("the route's path has no `{{{name}}}`")).at(span);
    match nearest(name, names.iter().copied()) {
        Some(known) => mistake.hint(format!("did you mean `{{{known}}}`?")),
        None if names.is_empty() => mistake.hint("it has no parameters at all"),
        None => mistake.hint(format!("it has {}", names.join(", "))),
    }
}
