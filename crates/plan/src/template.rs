//! Paths and targets with placeholders, resolved to the captures of the route's own pattern when the plan is compiled.

mod read;
#[cfg(test)]
mod tests;

use tollgate_config::model::{PathChange, Template};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::head::RequestHead;
use tollgate_core::host;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::path::{self, Normal, PathError};

use crate::matcher::{Captures, Pattern};

/// How a path changes on its way to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPlan(Change);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// So many bytes at its start are dropped: whole segments.
    Strip(usize),
    /// Replaced; placeholders are whole segments, so that what comes out is normal.
    Segments(Box<[Part]>),
    /// Replaced; what meets in a segment may spell something new, so that what comes out must be looked at again.
    Mixed(Box<[Part]>),
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    /// Scheme and authority; empty: a path of the same host.
    origin: Box<[Part]>,
    /// The rest.
    path: Box<[Part]>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// As it is written.
    Literal(Box<str>),
    /// The capture with this number.
    Capture(usize),
    /// What `**` stands for, without the slash before it.
    Rest,
    /// What `**` stands for with the slash before it, so that `/a` and `/a/` stay different.
    Tail,
    /// The host asked for, without its port.
    Host,
    /// The query with its `?`, if there is one.
    Query,
}

impl PathPlan {
    /// For a route with this pattern, which stands at `route_path`.
    ///
    /// # Errors
    /// A prefix or a placeholder that the pattern does not have, or a template that is no path.
    pub(crate) fn compile(change: &PathChange, pattern: &Pattern, route_path: &Span) -> Result<Self, Diagnostic> {
        let change = match change {
            PathChange::Strip(prefix) => Change::Strip(read::prefix(prefix, pattern, route_path)?),
            PathChange::Rewrite(template) => read::rewrite(template, pattern)?,
        };
        Ok(Self(change))
    }

    /// Whether the changed form of `path` has a normal form. Costs nothing, unless a segment mixes placeholders.
    ///
    /// # Errors
    /// Why it has none; [`PathPlan::write`] must not be asked then.
    pub fn check(&self, path: &str, captures: &Captures) -> Result<(), PathError> {
        match &self.0 {
            Change::Strip(_) | Change::Segments(_) => Ok(()),
            Change::Mixed(parts) => {
                let mut mixed = Vec::new();
                write_parts(parts, path, None, captures, &mut mixed);
                path::normalised(&mixed).map(|_| ())
            }
        }
    }

    /// Appends the changed form of `path`: normal again, and beginning with a slash.
    pub fn write(&self, path: &str, captures: &Captures, out: &mut Vec<u8>) {
        let start = out.len();
        match &self.0 {
            Change::Strip(prefix) => out.extend_from_slice(path.get(*prefix..).unwrap_or_default().as_bytes()),
            Change::Segments(parts) => write_parts(parts, path, None, captures, out),
            Change::Mixed(parts) => {
                write_parts(parts, path, None, captures, out);
                settle(out, start);
            }
        }
        if out.len() == start {
            out.push(b'/');
        }
    }
}

/// Brings what stands from `start` on into the normal form. What has none was refused before; should it come this far,
/// nothing is left of it rather than something that another reader takes for another path.
fn settle(out: &mut Vec<u8>, start: usize) {
    let mut normal = Vec::new();
    match path::normalise(&out[start..], &mut normal) {
        Ok(Normal::AsIs) => return,
        Ok(Normal::Rewritten) => {}
        Err(_) => normal.clear(),
    }
    out.truncate(start);
    out.extend_from_slice(&normal);
}

impl TargetPlan {
    /// For a route with this pattern.
    ///
    /// # Errors
    /// A placeholder that the pattern does not have, or one by which the request's path would choose the host.
    pub(crate) fn compile(template: &Spanned<Template>, pattern: &Pattern) -> Result<Self, Diagnostic> {
        read::target(template, pattern)
    }

    /// Appends the target for this request. Everything filled in is visible ASCII: no line can be broken; and a path
    /// never begins with `//`, which would name another host (RFC 3986 §4.2).
    pub fn write(&self, head: &RequestHead, captures: &Captures, out: &mut Vec<u8>) {
        // A client that names no host (HTTP/1.0) stays on the one it found; a target may be relative (RFC 9110 §10.2.2).
        let knows_host = !(self.origin.contains(&Part::Host) && head.host().is_empty());
        let names_host = knows_host && !self.origin.is_empty();
        if names_host {
            write_parts(&self.origin, head.path(), Some(head), captures, out);
        }
        let start = out.len();
        write_parts(&self.path, head.path(), Some(head), captures, out);
        if !names_host {
            let slashes = out[start..].iter().take_while(|b| **b == b'/').count();
            out.splice(start..start + slashes, [b'/']);
        }
    }
}

fn write_parts(parts: &[Part], path: &str, head: Option<&RequestHead>, captures: &Captures, out: &mut Vec<u8>) {
    let tail = || captures.tail_start().and_then(|start| path.get(start..)).unwrap_or_default();
    for part in parts {
        match part {
            Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Part::Capture(number) => {
                let text = captures.get(*number).and_then(|range| path.get(range)).unwrap_or_default();
                out.extend_from_slice(text.as_bytes());
            }
            Part::Rest => out.extend_from_slice(tail().trim_start_matches('/').as_bytes()),
            Part::Tail => out.extend_from_slice(tail().as_bytes()),
            Part::Host => out.extend_from_slice(head.map_or("", |head| host::name(head.host())).as_bytes()),
            Part::Query => {
                if let Some(query) = head.and_then(RequestHead::query) {
                    out.push(b'?');
                    out.extend_from_slice(query.as_bytes());
                }
            }
        }
    }
}
