//! What a route's key may say: path patterns and host patterns, parsed once.

use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use tollgate_core::path::{self, PathError};

/// Most parameters one pattern may have; captures are kept inline.
pub const MAX_CAPTURES: usize = 16;
/// Most segments one pattern may have.
const MAX_SEGMENTS: usize = 128;
/// Bytes a compiled regex may take.
const REGEX_SIZE: usize = 1 << 20;

/// Why a pattern is refused, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to write instead, if that is known.
    pub hint: Option<String>,
    /// Byte in the pattern's text at which it goes wrong.
    pub offset: usize,
}

impl PatternError {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, offset }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PatternError {}

/// A path pattern: `/orders`, `/orders/{id}`, `/orders/**` or `~/orders/[0-9]+`.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    names: Vec<String>,
    pub(super) shape: Shape,
}

/// The two kinds of pattern.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Plain {
        segments: Vec<Segment>,
        tail: Tail,
    },
    Regex {
        regex: Regex,
        /// Numbers of the named groups.
        groups: Vec<usize>,
        /// Each match begins with one of these; `None` if they are too many to tell.
        prefixes: Option<Vec<Vec<u8>>>,
    },
}

/// One segment of a plain pattern, literals in their normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<[u8]>),
    Parameter(String),
}

/// Whether a plain pattern goes on below its last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tail {
    Ends,
    AnythingBelow,
}

impl Pattern {
    /// Reads a pattern. Literal segments are brought into the normal form of [`path`]; letters beyond ASCII
    /// may be written as they are.
    ///
    /// # Errors
    /// [`PatternError`] with the place in `text`.
    pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, PatternError> {
        let text = text.into();
        match text.strip_prefix('~') {
            Some(regex) => Self::parse_regex(&text, regex),
            None if text.starts_with('/') => Self::parse_plain(&text),
            None => Err(PatternError::new(0, format!("the path `{text}` does not begin with `/`"))
                .hint(format!("write `/{text}`, or `~` and a regular expression"))),
        }
    }

    /// The text as it was written.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The names of what is captured: parameters from left to right, or the named groups of the regex.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the pattern ends in `**`.
    #[must_use]
    pub fn has_tail(&self) -> bool {
        matches!(self.shape, Shape::Plain { tail: Tail::AnythingBelow, .. })
    }

    /// Whether this is a regular expression.
    pub(crate) fn is_regex(&self) -> bool {
        matches!(self.shape, Shape::Regex { .. })
    }

    /// Whether every path that matches begins with these segments: `prefix` is normal and does not end in a slash.
    pub(crate) fn begins_with(&self, prefix: &[u8]) -> bool {
        let Shape::Plain { segments, .. } = &self.shape else { return false };
        let mut segments = segments.iter();
        let is_next = |part: &[u8]| matches!(segments.next(), Some(Segment::Literal(text)) if **text == *part);
        prefix.split(|b| *b == b'/').skip(1).all(is_next)
    }

    /// Whether one path might match both of two regexes. Says no only where the texts that their matches begin
    /// with rule it out.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let (Shape::Regex { prefixes: Some(ours), .. }, Shape::Regex { prefixes: Some(theirs), .. }) =
            (&self.shape, &other.shape)
        else {
            return true;
        };
        ours.iter().any(|a| theirs.iter().any(|b| a.starts_with(b) || b.starts_with(a)))
    }

    fn parse_plain(text: &Arc<str>) -> Result<Self, PatternError> {
        let mut segments = Vec::new();
        let mut tail = Tail::Ends;
        let mut at = 1;
        let mut parts = text[1..].split('/').peekable();
        while let Some(part) = parts.next() {
            match part {
                "**" if parts.peek().is_none() => tail = Tail::AnythingBelow,
                "**" => {
                    return Err(PatternError::new(at, "`**` may stand at the end only")
                        .hint("use `{name}` for one segment, or a regular expression after `~`"));
                }
                "" if parts.peek().is_some() => {
                    return Err(PatternError::new(at, "an empty segment never matches: runs of `/` count as one"));
                }
                _ => segments.push(parse_segment(part, at)?),
            }
            at += part.len() + 1;
        }
        let names = names_of(&segments, text)?;
        if segments.len() > MAX_SEGMENTS {
            return Err(PatternError::new(0, format!("the path has more than {MAX_SEGMENTS} segments")));
        }
        Ok(Self { text: Arc::clone(text), names, shape: Shape::Plain { segments, tail } })
    }

    fn parse_regex(text: &Arc<str>, source: &str) -> Result<Self, PatternError> {
        let refused = |error: &regex::Error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::new(1, "the regular expression is too big"),
            // The parser draws a picture over several lines; its last line says what is wrong.
            error => {
                let picture = error.to_string();
                let reason = picture.lines().last().unwrap_or_default().trim_start_matches("error: ");
                PatternError::new(1, format!("not a regular expression: {reason}"))
            }
        };
        // First alone: `a)|(b` must not become valid through the parentheses put around it.
        compile(source).map_err(|error| refused(&error))?;
        let regex = compile(&anchored(source)).map_err(|error| refused(&error))?;
        let (groups, names): (Vec<usize>, Vec<String>) =
            regex.capture_names().enumerate().filter_map(|(group, name)| Some((group, name?.to_owned()))).unzip();
        if names.len() > MAX_CAPTURES {
            return Err(too_many_captures());
        }
        Ok(Self { text: Arc::clone(text), names, shape: Shape::Regex { regex, groups, prefixes: prefixes(source) } })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The expression that matches the whole path and nothing less.
fn anchored(source: &str) -> String {
    format!(r"\A(?:{source})\z")
}

/// Paths are ASCII once normalised, hence bytes and no Unicode tables.
fn compile(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).unicode(false).size_limit(REGEX_SIZE).build()
}

fn prefixes(source: &str) -> Option<Vec<Vec<u8>>> {
    let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(source).ok()?;
    let begins = regex_syntax::hir::literal::Extractor::new().extract(&parsed);
    Some(begins.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect())
}

fn parse_segment(part: &str, at: usize) -> Result<Segment, PatternError> {
    if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return parameter_name(name, at + 1).map(Segment::Parameter);
    }
    if let Some(brace) = part.find(['{', '}']) {
        return Err(PatternError::new(at + brace, "a parameter takes a whole segment")
            .hint("write `/{name}/`, or a regular expression after `~`; a literal brace is `%7B`"));
    }
    if let Some(star) = part.find('*') {
        return Err(PatternError::new(at + star, "`*` is no wildcard in a path")
            .hint("`{name}` stands for one segment, `**` at the end for all below; a literal star is `%2A`"));
    }
    literal(part, at).map(|bytes| Segment::Literal(bytes.into()))
}

fn parameter_name(name: &str, at: usize) -> Result<String, PatternError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(name.to_owned());
    }
    Err(PatternError::new(at, format!("`{name}` is no name for a parameter"))
        .hint("letters, digits and `_`, not beginning with a digit"))
}

fn literal(part: &str, at: usize) -> Result<Vec<u8>, PatternError> {
    if part.is_empty() {
        return Ok(Vec::new());
    }
    let mut raw = vec![b'/'];
    for byte in part.bytes() {
        if byte.is_ascii() {
            raw.push(byte);
        } else {
            raw.extend(format!("%{byte:02X}").bytes());
        }
    }
    let dots = || PatternError::new(at, "a `.` or `..` segment never matches: requests have none once normalised");
    match path::normalised(&raw) {
        // A dot segment leaves nothing but the slash.
        Ok(normal) if normal.len() == 1 => Err(dots()),
        Ok(normal) => Ok(normal[1..].to_vec()),
        Err(PathError::AboveRoot) => Err(dots()),
        Err(PathError::RawByte) if part.contains('?') => {
            Err(PatternError::new(at, "a path pattern has no query").hint("use `when: 'query(\"name\") == …'`"))
        }
        Err(error) => Err(PatternError::new(at, error.message())),
    }
}

fn names_of(segments: &[Segment], text: &str) -> Result<Vec<String>, PatternError> {
    let mut names: Vec<String> = Vec::new();
    for segment in segments {
        let Segment::Parameter(name) = segment else { continue };
        if names.contains(name) {
            let offset = text.rfind(&format!("{{{name}}}")).unwrap_or_default();
            return Err(PatternError::new(offset, format!("the parameter `{name}` is there twice")));
        }
        names.push(name.clone());
    }
    if names.len() > MAX_CAPTURES { Err(too_many_captures()) } else { Ok(names) }
}

fn too_many_captures() -> PatternError {
    PatternError::new(0, format!("more than {MAX_CAPTURES} parameters in one path"))
}
