//! Of whom nothing is required: `/health/**`, `GET /public/{name}`, or a condition.

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::field::is_token;
use tollgate_core::node::Spanned;
use tollgate_expr::{Condition, Scope};

use crate::kit::forms::joined;

/// How many there may be.
const MOST: usize = 100;
/// Longest path, in bytes.
const LONGEST: usize = 1000;

/// Those who are excepted.
#[derive(Debug)]
pub(super) struct Exceptions(Vec<Exception>);

#[derive(Debug)]
enum Exception {
    Path(Path),
    Condition(Condition),
}

/// A path, as routes are written.
#[derive(Debug, PartialEq)]
struct Path {
    /// `None`: any.
    method: Option<String>,
    /// The text of each segment; `None`: any that is not empty.
    segments: Vec<Option<String>>,
    /// What is below it, too (`/**`).
    below: bool,
    /// As it is written.
    text: String,
}

impl Exceptions {
    /// # Errors
    /// What is neither a path nor a condition.
    pub(super) fn compile(texts: &[Spanned<String>]) -> Result<Self, Diagnostic> {
        if let Some(first) = texts.get(MOST) {
            let mistake = Diagnostic::error(format!("more than {MOST} exceptions")).at(&first.span);
            return Err(mistake.hint("a condition may have several paths: `request.path in [\"/a\", \"/b\"]`"));
        }
        texts.iter().map(exception).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this request is one of them. A condition that cannot be told does not hold.
    pub(super) fn have(&self, x: &Exchange) -> bool {
        self.0.iter().any(|exception| match exception {
            Exception::Path(path) => path.has(x.head.method_text(), x.head.path()),
            Exception::Condition(condition) => condition.matches(x),
        })
    }

    /// ` except …`, or nothing.
    pub(super) fn describe(&self) -> String {
        let texts = self.0.iter().map(|exception| match exception {
            Exception::Path(path) => path.text.as_str(),
            Exception::Condition(condition) => condition.text(),
        });
        if self.0.is_empty() { String::new() } else { format!("; except {}", joined(texts)) }
    }
}

fn exception(text: &Spanned<String>) -> Result<Exception, Diagnostic> {
    let (before, path) = match text.value.trim().split_once(char::is_whitespace) {
        Some((method, path)) if path.trim_start().starts_with('/') => (Some(method), path.trim()),
        _ => (None, text.value.trim()),
    };
    if path.starts_with('/') {
        return Path::read(before, path).map(Exception::Path).map_err(|mistake| mistake.at(&text.span));
    }
    Condition::compile_in(&text.value, Scope::Request).map(Exception::Condition).map_err(|error| {
        let hint =
            error.hint.unwrap_or_else(|| "a path (`/health/**`, `GET /public/**`), or a condition (CEL)".to_owned());
        Diagnostic::error(error.message).at(&text.span.within(&text.value, error.offset)).hint(hint)
    })
}

impl Path {
    fn read(method: Option<&str>, path: &str) -> Result<Self, Diagnostic> {
        let wrong = |why: &str| {
            Err(Diagnostic::error(format!("`{path}` {why}"))
                .hint("as routes are written: `/orders/{id}`, `/health/**`"))
        };
        if path.len() > LONGEST {
            return Err(Diagnostic::error(format!("a path is longer than {LONGEST} bytes")));
        }
        if let Some(method) =
            method.filter(|method| !is_token(method.as_bytes()) || method.contains(|c: char| c.is_ascii_lowercase()))
        {
            return Err(Diagnostic::error(format!("`{method}` is no method")).hint("in upper case: `GET /public/**`"));
        }
        if path.contains(['?', '#', ' ', '%']) {
            return wrong("is no path in its normal form");
        }
        let (above, below) = path.strip_suffix("/**").map_or((path, false), |above| (above, true));
        let mut segments = Vec::new();
        // `/**` is all there is.
        for segment in above.strip_prefix('/').into_iter().flat_map(|rest| rest.split('/')) {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name {
                Some(name) if !name.is_empty() && !name.contains(['{', '}', '*']) => segments.push(None),
                None if !segment.contains(['{', '}', '*']) => segments.push(Some(segment.to_owned())),
                _ => return wrong("has a `*` or a `{` where none may stand"),
            }
        }
        let text = method.map_or_else(|| path.to_owned(), |method| format!("{method} {path}"));
        Ok(Self { method: method.map(str::to_owned), segments, below, text })
    }

    fn has(&self, method: &str, path: &str) -> bool {
        if self.method.as_deref().is_some_and(|own| own != method) {
            return false;
        }
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut there = path.split('/');
        let fits = |own: &Option<String>, segment: &str| match own {
            Some(own) => own == segment,
            None => !segment.is_empty(),
        };
        let all = self.segments.iter().all(|own| there.next().is_some_and(|segment| fits(own, segment)));
        all && (self.below || there.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_as_those_of_routes_do() {
        for (text, path, is) in [
            ("/health/**", "/health", true),
            ("/health/**", "/health/", true),
            ("/health/**", "/health/live/x", true),
            ("/health/**", "/healthy", false),
            ("/health", "/health", true),
            ("/health", "/health/", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/orders/{id}", "/orders/7", true),
            ("/orders/{id}", "/orders/", false),
            ("/orders/{id}", "/orders/7/lines", false),
            ("/orders/{id}/lines/**", "/orders/7/lines", true),
            ("/orders/{id}/lines/**", "/orders/7/line", false),
            ("/**", "*", false),
        ] {
            assert_eq!(Path::read(None, text).unwrap().has("GET", path), is, "{text} {path}");
        }
        let get = Path::read(Some("GET"), "/a/**").unwrap();
        assert!(get.has("GET", "/a") && !get.has("POST", "/a"));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let told = |text: &str| {
            let text = Spanned::new(text.to_owned(), &tollgate_core::node::Span::none());
            let mistake = exception(&text).unwrap_err();
            format!("{} ({})", mistake.message, mistake.hint.unwrap_or_default())
        };
        assert!(told("get /a").contains("in upper case"));
        for text in ["/a*", "/a/**/b", "/a/{}", "/a/{b}c", "/a%20", "/a?b=c"] {
            assert!(told(text).contains("as routes are written"), "{text}: {}", told(text));
        }
        assert!(told("health").contains("a path (`/health/**`") || told("health").contains("unknown variable"));
        assert!(told("\"admin\" in scopes").contains("not known yet"));
    }
}
