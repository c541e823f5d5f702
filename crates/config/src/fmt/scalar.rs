//! Scalars with as few quotes as possible.

use std::fmt::Write as _;

use tollgate_core::node::Value;

use crate::read::plain;
use crate::syntax::{Flow, Style};

/// How a key is written.
pub(crate) fn key(text: &str, flow: Flow) -> String {
    if text != "<<" && can_be_plain(text, flow) { text.to_owned() } else { quoted(text) }
}

/// How a value is written on one line; `None` if it is empty and means nothing.
pub(crate) fn value(text: &str, style: Style, flow: Flow) -> Option<String> {
    let means_a_text = matches!(plain(text), Ok(Value::String(_)));
    match style {
        Style::Plain if !means_a_text => (!text.is_empty()).then(|| text.to_owned()),
        _ if means_a_text && can_be_plain(text, flow) => Some(text.to_owned()),
        _ => Some(quoted(text)),
    }
}

/// Whether the text can stand without quotes and read as this text, leaving numbers and the like aside.
fn can_be_plain(text: &str, flow: Flow) -> bool {
    let starts_well = !text.starts_with(|c: char| c.is_whitespace() || "-?:,[]{}#&*!|>'\"%@`".contains(c));
    let is_printable = !text.chars().any(|c| c.is_control() || is_special(c));
    let has_no_mark = !text.contains(": ") && !text.contains(" #") && !text.ends_with([':', ' ']);
    let fits_flow = flow == Flow::Block || !(text.contains([',', '[', ']', '{', '}']) || text.ends_with(" -"));
    !text.is_empty() && starts_well && is_printable && has_no_mark && fits_flow && !text.starts_with("...")
}

/// Characters that are no control characters but would be lost or misread.
fn is_special(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{a0}' | '\u{fffe}' | '\u{ffff}')
}

/// In quotes: single ones if that saves escapes.
pub(crate) fn quoted(text: &str) -> String {
    let needs_escape = text.chars().any(|c| c.is_control() || is_special(c));
    if !needs_escape && text.contains(['"', '\\']) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if c.is_control() || is_special(c) => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A literal block: its header and its lines without indentation; `None` if it cannot be one.
pub(crate) fn literal(text: &str) -> Option<(String, Vec<&str>)> {
    let body = text.trim_end_matches('\n');
    if body.trim().is_empty() || text.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || is_special(c)) {
        return None;
    }
    let indent = if body.starts_with([' ', '\n', '\t']) { "2" } else { "" };
    let newlines = text.len() - body.len();
    let chomp = match newlines {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let mut lines: Vec<&str> = body.split('\n').collect();
    lines.extend(std::iter::repeat_n("", newlines.saturating_sub(1)));
    Some((format!("|{indent}{chomp}"), lines))
}

/// A folded block as it is written, indented by `indent`: its header and its lines without indentation; `None` if it cannot be kept.
pub(crate) fn folded<'t>(header: &str, content: &'t str, indent: usize, text: &str) -> Option<(String, Vec<&'t str>)> {
    let chomp = header.strip_prefix('>')?;
    // Blank lines at the end, and an indentation that is stated, would have to be worked out again.
    let body = text.strip_suffix('\n').unwrap_or(text);
    let ends_in_blanks = body.trim_end() != body;
    if !matches!(chomp, "" | "-") || body.is_empty() || ends_in_blanks || text.starts_with([' ', '\n', '\t']) {
        return None;
    }
    let mut content = content;
    while let Some((above, last)) = content.rsplit_once('\n')
        && last.trim_matches([' ', '\t', '\r']).is_empty()
    {
        content = above;
    }
    let lines: Vec<&str> = content.lines().collect();
    if lines.iter().any(|line| line.ends_with([' ', '\t', '\r'])) {
        return None;
    }
    let strip = |(at, line): (usize, &'t str)| match at {
        0 => line,
        _ => line.get(indent..).unwrap_or_default(),
    };
    Some((header.to_owned(), lines.into_iter().enumerate().map(strip).collect()))
}
