//! Reads templates against the pattern of their route, once.

use tollgate_config::model::{PathTemplate, Piece, Template};
use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::node::{Span, Spanned};
use tollgate_core::path::{self, PathError};

use super::{Change, Part, TargetPlan};
use crate::matcher::Pattern;

/// The length of a prefix that is dropped: it must be literal segments of the route's path.
pub(super) fn prefix(prefix: &Spanned<String>, pattern: &Pattern, route_path: &Span) -> Result<usize, Diagnostic> {
    let normal = path::normalised(prefix.value.as_bytes()).map_err(|e| no_path(e, &prefix.span))?;
    let normal = normal.strip_suffix(b"/").unwrap_or(&normal);
    if !normal.is_empty() && pattern.begins_with(normal) {
        return Ok(normal.len());
    }
    let mistake = match pattern.is_regex() {
        true => Diagnostic::error("a path that is a regular expression has no prefix that is always there")
            .hint("use `rewrite` with a named group: `~/v[12]/(?<rest>.*)` and `rewrite: /{rest}`"),
        false => Diagnostic::error(format!("`{}` is not how the route's path starts", prefix.value))
            .hint("whole segments without placeholders, as they are in the route's path"),
    };
    Err(mistake.at(&prefix.span).related(route_path, "the path"))
}

/// What the path is replaced by.
pub(super) fn rewrite(template: &Spanned<PathTemplate>, pattern: &Pattern) -> Result<Change, Diagnostic> {
    let span = &template.span;
    let parts = parts(&template.value.pieces, pattern, span)?;
    if pattern.is_regex() || !parts_are_segments(&parts) {
        // With something harmless in the gaps it must be a path: what is wrong for every request is told now.
        let sample: String =
            template.value.pieces.iter().map(|p| if let Piece::Literal(t) = p { t } else { "x" }).collect();
        path::normalised(sample.as_bytes()).map_err(|e| no_path(e, span))?;
        return Ok(Change::Mixed(with_tail(parts)));
    }
    let normal = |part: Part| match part {
        Part::Literal(text) => {
            let normal = path::normalised(text.as_bytes()).map_err(|e| no_path(e, &span.narrow(&text)))?;
            Ok(Part::Literal(String::from_utf8_lossy(&normal).into()))
        }
        other => Ok(other),
    };
    parts.into_iter().map(normal).collect::<Result<_, _>>().map(|parts| Change::Segments(with_tail(parts)))
}

/// Where a redirect leads: scheme and authority, and the rest.
pub(super) fn target(template: &Spanned<Template>, pattern: &Pattern) -> Result<TargetPlan, Diagnostic> {
    let mut parts = parts(&template.value.pieces, pattern, &template.span)?.into_iter();
    let mut origin: Vec<Part> = Vec::new();
    let mut path = Vec::new();
    if !template.value.text.starts_with('/') {
        for part in parts.by_ref() {
            match part {
                Part::Literal(text) => {
                    let skipped = if origin.is_empty() { text.find("://").map_or(0, |colon| colon + 3) } else { 0 };
                    let end = text[skipped..].find(['/', '?', '#']).map_or(text.len(), |end| skipped + end);
                    let (authority, rest) = text.split_at(end);
                    origin.extend((!authority.is_empty()).then(|| Part::Literal(authority.into())));
                    if !rest.is_empty() {
                        path.push(Part::Literal(rest.into()));
                        break;
                    }
                }
                Part::Host => origin.push(Part::Host),
                Part::Query => {
                    path.push(Part::Query);
                    break;
                }
                Part::Capture(_) | Part::Rest | Part::Tail => return Err(chooses_host(&template.span)),
            }
        }
    }
    path.extend(parts);
    Ok(TargetPlan { origin: origin.into(), path: with_tail(path) })
}

/// Whoever writes the link would choose where its reader ends up.
fn chooses_host(span: &Span) -> Diagnostic {
    Diagnostic::error("a part of the request's path cannot choose the host that a redirect leads to")
        .at(span)
        .hint("placeholders other than `{host}` stand behind a `/`: `https://example.com/{**}`")
}

/// Whether every placeholder is a whole segment, and `**` the last.
fn parts_are_segments(parts: &[Part]) -> bool {
    parts.iter().enumerate().all(|(at, part)| {
        let before = at.checked_sub(1).and_then(|before| parts.get(before));
        let opens = matches!(before, Some(Part::Literal(text)) if text.ends_with('/'));
        match (part, parts.get(at + 1)) {
            (Part::Literal(_), _) | (_, None) => opens || matches!(part, Part::Literal(_)),
            (Part::Rest, Some(_)) => false,
            (_, Some(after)) => opens && matches!(after, Part::Literal(text) if text.starts_with('/')),
        }
    })
}

/// A `/{**}` at the end takes its slash from the request: `/new/{**}` makes `/new` of `/old`, `/new/` of `/old/`.
fn with_tail(mut parts: Vec<Part>) -> Box<[Part]> {
    let ends = parts.len() - usize::from(parts.last() == Some(&Part::Query));
    if let [.., Part::Literal(text), rest @ Part::Rest] = &mut parts[..ends]
        && let Some(shorter) = text.strip_suffix('/')
    {
        *text = shorter.into();
        *rest = Part::Tail;
    }
    parts.into()
}

fn parts(pieces: &[Piece], pattern: &Pattern, span: &Span) -> Result<Vec<Part>, Diagnostic> {
    let part = |piece: &Piece| match piece {
        Piece::Literal(text) => Ok(Part::Literal(text.as_str().into())),
        Piece::Host => Ok(Part::Host),
        Piece::Query => Ok(Part::Query),
        Piece::Rest if pattern.has_tail() => Ok(Part::Rest),
        Piece::Rest => {
            let mistake = Diagnostic::error("`{**}` has nothing to stand for").at(&span.narrow("{**}"));
            Err(mistake.hint("the route's path would have to end in `/**`"))
        }
        Piece::Param(name) => match pattern.names().iter().position(|have| have == name) {
            Some(number) => Ok(Part::Capture(number)),
            None => Err(unknown(name, pattern, span)),
        },
    };
    pieces.iter().map(part).collect()
}

fn unknown(name: &str, pattern: &Pattern, span: &Span) -> Diagnostic {
    let written = format!("{{{name}}}");
    let mistake = Diagnostic::error(format!("the route's path has no `{written}`")).at(&span.narrow(&written));
    let names = || pattern.names().iter().map(String::as_str);
    match nearest(name, names()) {
        Some(known) => mistake.hint(format!("did you mean `{{{known}}}`?")),
        None if pattern.names().is_empty() => mistake.hint("it has no parameters at all"),
        None => mistake.hint(format!("it has `{{{}}}`", names().collect::<Vec<_>>().join("}`, `{"))),
    }
}

fn no_path(error: PathError, span: &Span) -> Diagnostic {
    Diagnostic::error(format!("no request can be sent to this path: {error}")).at(span)
}
