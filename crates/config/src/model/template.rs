//! Texts with placeholders: where a redirect leads, and what a path is rewritten to.

use tollgate_core::diagnostic::{Diagnostic, nearest};

use tollgate_core::text::{FromText, decode_from_text, text_schema};

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is written.
    Literal(String),
    /// `{name}`: the segment that the path's `{name}` matched.
    Param(String),
    /// `{**}`: what the path's `**` matched, without a slash at its start.
    Rest,
    /// `{host}`: the host that the client asked for, without port. Only in redirects.
    Host,
    /// `{query}`: the query with its `?`, or nothing. Only in redirects.
    Query,
}

/// Where a redirect leads: a path, or an `http://` or `https://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As it is written.
    pub text: String,
    /// Its parts, in order; no two literals follow each other.
    pub pieces: Vec<Piece>,
}

impl FromText for Template {
    const WHAT: &'static str = "a path or URL";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if !["/", "http://", "https://"].iter().any(|start| text.starts_with(start)) || text.starts_with("//") {
            return Err(Diagnostic::error(format!("`{text}` is neither a path nor a URL"))
                .hint("`/new/{id}`, or `https://example.com/{**}`"));
        }
        check_characters(text)?;
        Ok(Self { text: text.to_owned(), pieces: parse_pieces(text)? })
    }
}

decode_from_text!(Template);
text_schema!(Template, "RedirectTarget", "description": "A path or URL; `{param}`, `{**}`, `{host}` and `{query}` are filled in.", "pattern": "^(/|https?://).*$", "examples": ["/new/{id}", "https://example.com/{**}{query}"]);

/// What a path is rewritten to: a path with placeholders of the route's own path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// As it is written.
    pub text: String,
    /// Its parts, in order: literals, params and the rest only.
    pub pieces: Vec<Piece>,
}

impl FromText for PathTemplate {
    const WHAT: &'static str = "a path";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if !text.starts_with('/') || text.contains(['?', '#']) {
            return Err(Diagnostic::error(format!("`{text}` is no path")).hint("`/v2/orders/{id}`, without a query"));
        }
        check_characters(text)?;
        let pieces = parse_pieces(text)?;
        match pieces.iter().find(|piece| matches!(piece, Piece::Host | Piece::Query)) {
            Some(_) => Err(Diagnostic::error("`{host}` and `{query}` cannot stand in a path")
                .hint("the query is sent on as it is; the host is set by `host`")),
            None => Ok(Self { text: text.to_owned(), pieces }),
        }
    }
}

decode_from_text!(PathTemplate);
text_schema!(PathTemplate, "PathTemplate", "description": "A path; `{param}` and `{**}` are filled in.", "pattern": "^/[^?#]*$", "examples": ["/v2/orders/{id}", "/internal/{**}"]);

/// Whether a text can stand in a start line and a `Location`: visible ASCII only.
pub(crate) fn check_characters(text: &str) -> Result<(), Diagnostic> {
    if text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>')) {
        return Ok(());
    }
    Err(Diagnostic::error(format!("`{text}` has characters that a path cannot hold"))
        .hint("no spaces; everything else beyond ASCII percent-encoded (`%C3%A9`)"))
}

fn parse_pieces(text: &str) -> Result<Vec<Piece>, Diagnostic> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let (literal, from_brace) = rest.split_at(open);
        let inner = from_brace.strip_prefix('{').and_then(|t| t.split_once('}'));
        let Some((name, after)) = inner else {
            return Err(Diagnostic::error(format!("a brace in `{text}` has no partner"))
                .hint("placeholders are `{name}`, `{**}`; a brace itself is `%7B` or `%7D`"));
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        pieces.push(piece(name)?);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

fn piece(name: &str) -> Result<Piece, Diagnostic> {
    match name {
        "**" => Ok(Piece::Rest),
        "host" => Ok(Piece::Host),
        "query" => Ok(Piece::Query),
        _ if is_param(name) => Ok(Piece::Param(name.to_owned())),
        _ => {
            let mistake = Diagnostic::error(format!("`{{{name}}}` is no placeholder"));
            Err(match nearest(name, ["**", "host", "query"]) {
                Some(word) => mistake.hint(format!("did you mean `{{{word}}}`?")),
                None => mistake.hint("`{name}` of the route's path, `{**}`, `{host}` or `{query}`"),
            })
        }
    }
}

/// Whether this may name a parameter of a path.
pub(crate) fn is_param(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_literals_and_placeholders_in_turn() {
        let read = Template::from_text("https://{host}/v2/{id}/{**}{query}").unwrap();
        let literal = |text: &str| Piece::Literal(text.into());
        let param = Piece::Param("id".into());
        let expected =
            [literal("https://"), Piece::Host, literal("/v2/"), param, literal("/"), Piece::Rest, Piece::Query];
        assert_eq!(read.pieces, expected);
    }

    #[test]
    fn what_could_lead_elsewhere_or_split_the_head_is_refused() {
        for wrong in ["//evil", "new", "/a b", "/a{", "/a}b", "/{a{b}}", "/{}", "/{*}", "/a\r\nX: y", "ftp://x", "/é"]
        {
            assert!(Template::from_text(wrong).is_err(), "{wrong}");
        }
        for wrong in ["/a?b", "/{query}", "/{host}/x", "a"] {
            assert!(PathTemplate::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
