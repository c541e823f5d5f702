//! What texts look like, as it is written: whole, with `*` and `?`, or a regular expression behind `~`.

use tollgate_core::diagnostic::Diagnostic;

use super::rules::Part;

/// Longest pattern, in bytes.
const LONGEST: usize = 1000;

/// That of an empty text.
pub(super) const EMPTY: &str = "(?s-u)^$";

/// The regular expression that means the same.
pub(super) fn regex_of(text: &str, part: &Part) -> Result<String, Diagnostic> {
    if text.len() > LONGEST {
        return Err(Diagnostic::error(format!("a pattern is longer than {LONGEST} bytes")));
    }
    if let Some(regex) = text.strip_prefix('~') {
        let wrong = |error: regex::Error| {
            Diagnostic::error(format!("`{regex}` is no regular expression: {error}"))
                .hint("in the syntax of the crate `regex`")
        };
        return regex::bytes::Regex::new(regex).map(|_| regex.to_owned()).map_err(wrong);
    }
    if *part == Part::Path && !text.starts_with(['/', '*']) {
        let mistake = Diagnostic::error(format!("`{text}` fits no path"));
        return Err(mistake.hint(format!("paths begin with `/`: `/{text}`, or `*{text}` for wherever it ends so")));
    }
    let mut regex = String::from("(?s-u)^");
    let (text, below) = match text.strip_suffix("/**").filter(|_| *part == Part::Path) {
        // A path, and all below it.
        Some(above) => (above, "(/.*)?"),
        None => (text, ""),
    };
    for c in text.chars() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(below);
    regex.push('$');
    Ok(regex)
}
