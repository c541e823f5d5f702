//! Patterns as rules have them (PCRE), written for an engine that takes linear time whatever it is given (the crate `regex`).
//!
//! As with `ModSecurity` 2, `.` is any byte, and `$` is the end alone. What has no equal there is refused, but for the two patterns of the Core
//! Rule Set that are done by hand ([`by_hand`](super::by_hand)). Possessive repetitions and atomic groups become plain ones, which match what they
//! match and more.

use std::fmt::Write as _;

use regex::bytes::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
pub(crate) const LONGEST: usize = 32 << 10;
/// Most memory of a pattern once compiled. The largest one of the Core Rule Set takes a fifth of it.
const LARGEST: usize = 4 << 20;
/// Most memory for what a pattern keeps of texts that it has seen, on each thread: there are hundreds of patterns.
const KEPT: usize = 256 << 10;
/// How deep groups stand in one another.
const DEEPEST: u32 = 100;

/// The pattern, compiled; why not, in words for a person.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > LONGEST {
        return Err(format!("the pattern is longer than {LONGEST} bytes"));
    }
    let written = translate(pattern)?;
    let mut builder = RegexBuilder::new(&written);
    builder.unicode(false).dot_matches_new_line(true).size_limit(LARGEST).dfa_size_limit(KEPT).nest_limit(DEEPEST);
    builder.build().map_err(|error| {
        let why = error.to_string();
        let last = why.lines().last().unwrap_or_default();
        format!("the pattern cannot be compiled: {}", last.trim_start_matches("error: "))
    })
}

/// The pattern in the syntax of the crate.
fn translate(pattern: &str) -> Result<String, String> {
    let mut from = From { rest: pattern, to: String::with_capacity(pattern.len() + 16), is_class: false };
    while let Some(c) = from.next() {
        if from.is_class { from.in_class(c) } else { from.outside(c)? }
    }
    Ok(from.to)
}

struct From<'p> {
    rest: &'p str,
    to: String,
    is_class: bool,
}

impl From<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn takes(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A character that means itself, as its bytes.
    fn literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || c == '_' {
            return self.to.push(c);
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to memory does not fail.
            let _ = write!(self.to, "\\x{byte:02X}");
        }
    }

    fn outside(&mut self, c: char) -> Result<(), String> {
        match c {
            '\\' => self.escaped()?,
            '[' => {
                self.is_class = true;
                self.to.push('[');
                if self.takes("^") {
                    self.to.push('^');
                }
                // Right behind the start it is one of the class.
                if self.takes("]") {
                    self.literal(']');
                }
            }
            '(' => self.group()?,
            '{' => self.repetition(),
            '*' | '+' | '?' => {
                self.to.push(c);
                // Possessive.
                if !self.takes("+") && self.takes("?") {
                    self.to.push('?');
                }
            }
            '}' | ']' => self.literal(c),
            '.' | '^' | '$' | '|' | ')' => self.to.push(c),
            c => self.literal(c),
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        for (start, name) in [("?=", "(?="), ("?!", "(?!"), ("?<=", "(?<="), ("?<!", "(?<!")] {
            if self.rest.starts_with(start) {
                return Err(format!("the pattern looks around itself by `{name}`, which is not run here"));
            }
        }
        // Atomic.
        let start = if self.takes("?>") { "(?:" } else { "(" };
        self.to.push_str(start);
        if self.takes("?") {
            self.to.push('?');
            // Flags, or a name: up to where the group begins.
            while let Some(c) = self.next() {
                self.to.push(c);
                if matches!(c, ':' | ')' | '>') {
                    break;
                }
            }
        }
        Ok(())
    }

    /// `{` that counts, or that is one.
    fn repetition(&mut self) {
        let counts = self.rest.split_once('}').filter(|(inside, _)| {
            let (least, most) = inside.split_once(',').unwrap_or((inside, "0"));
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            is_number(least) && (most.is_empty() || is_number(most))
        });
        let Some((inside, rest)) = counts else { return self.literal('{') };
        self.rest = rest;
        let _ = write!(self.to, "{{{inside}}}");
        if !self.takes("+") && self.takes("?") {
            self.to.push('?');
        }
    }

    fn escaped(&mut self) -> Result<(), String> {
        let Some(c) = self.next() else { return Err("the pattern ends in `\\`".to_owned()) };
        match c {
            '1'..='9' => Err(format!("the pattern refers to its group by `\\{c}`, which is not run here")),
            'K' | 'G' | 'R' | 'X' | 'C' | 'g' | 'k' | 'p' | 'P' | 'c' | 'E' => {
                Err(format!("the pattern has `\\{c}`, which is not run here"))
            }
            'Z' => {
                self.to.push_str("(?:\\x0A?\\z)");
                Ok(())
            }
            'Q' => {
                let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                quoted.chars().for_each(|c| self.literal(c));
                self.rest = rest;
                Ok(())
            }
            'N' => {
                self.to.push_str("[^\\x0A]");
                Ok(())
            }
            c => {
                self.class_escape(c);
                Ok(())
            }
        }
    }

    /// An escape that means the same in a class and outside.
    fn class_escape(&mut self, c: char) {
        match c {
            'e' => self.to.push_str("\\x1B"),
            'h' if self.is_class => self.to.push_str("\\x09\\x20\\xA0"),
            'h' => self.to.push_str("[\\x09\\x20\\xA0]"),
            'b' if self.is_class => self.to.push_str("\\x08"),
            '0' => self.octal(),
            'x' => self.hexadecimal(),
            'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'b' | 'B' | 'A' | 'z' => {
                self.to.push('\\');
                self.to.push(c);
            }
            c => self.literal(c),
        }
    }

    fn octal(&mut self) {
        let digits = self.rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
        let value = u8::from_str_radix(&self.rest[..digits], 8).unwrap_or(0);
        self.rest = &self.rest[digits..];
        let _ = write!(self.to, "\\x{value:02X}");
    }

    /// `\xHH` of none to two digits, or `\x{H…}`.
    fn hexadecimal(&mut self) {
        let braced = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        if let Some((digits, rest)) = braced {
            let value = u8::from_str_radix(digits, 16);
            if let Ok(value) = value {
                self.rest = rest;
                let _ = write!(self.to, "\\x{value:02X}");
                return;
            }
        }
        let digits = self.rest.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
        let value = u8::from_str_radix(&self.rest[..digits], 16).unwrap_or(0);
        self.rest = &self.rest[digits..];
        let _ = write!(self.to, "\\x{value:02X}");
    }

    fn in_class(&mut self, c: char) {
        match c {
            ']' => {
                self.is_class = false;
                self.to.push(']');
            }
            '\\' => match self.next() {
                Some(c) => self.class_escape(c),
                None => self.literal('\\'),
            },
            '[' if self.rest.starts_with(':') && self.rest.contains(":]") => {
                let end = self.rest.find(":]").map_or(0, |at| at + 2);
                self.to.push('[');
                self.to.push_str(&self.rest[..end]);
                self.rest = &self.rest[end..];
            }
            // Behind a class of its own (`\w-.`) it is no range.
            '-' if self.ends_in_class() || self.rest.starts_with(']') || self.ends_open() => self.literal('-'),
            // In front of one, neither.
            '-' if self.begins_class() => self.literal('-'),
            '-' => self.to.push('-'),
            c => self.literal(c),
        }
    }

    fn ends_open(&self) -> bool {
        self.to.ends_with('[') || self.to.ends_with("[^")
    }

    fn ends_in_class(&self) -> bool {
        ["\\d", "\\D", "\\s", "\\S", "\\w", "\\W"].iter().any(|class| self.to.ends_with(class))
    }

    fn begins_class(&self) -> bool {
        ["\\d", "\\D", "\\s", "\\S", "\\w", "\\W"].iter().any(|class| self.rest.starts_with(class))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_match(pattern: &str, text: &[u8]) -> bool {
        compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}")).is_match(text)
    }

    #[test]
    fn what_pcre_writes_otherwise_means_the_same() {
        for (pattern, fits, fits_not) in [
            ("a{", "a{", "a"),
            ("^a{2}$", "aa", "a{2}"),
            ("^a{,2}$", "a{,2}", "aa"),
            ("^[[a]$", "[", "b"),
            ("^[]a]$", "]", "b"),
            ("^[^]a]$", "b", "]"),
            ("^[a&&b]$", "&", "c"),
            ("^[a~~b]$", "~", "c"),
            ("^[\\<\\>\\~]$", "<", "\\"),
            ("^\\s*+a$", "  a", "b"),
            ("^(?>a|b)++$", "ab", "c"),
            ("^a{1,2}+b$", "aab", "b"),
            ("^[[:alpha:]]$", "x", ":"),
            ("^[\\w-.]$", "-", "+"),
            ("^[a-]$", "-", "b"),
            ("^[\\s\\x0b-\\\"]$", " ", "#"),
            ("^[´]{2}$", "´", "'"),
            ("^´$", "´", "'"),
            ("^a.b$", "a\nb", "ab"),
            ("^a$", "a", "a\n"),
            ("a\\Z", "a\n", "a\nb"),
            ("^\\Qa.b\\E$", "a.b", "axb"),
            ("^\\x25\\045\\e$", "%%\u{1b}", "%"),
            ("^\\/\\%\\\"\\'\\-\\ $", "/%\"'- ", "/"),
            ("^x}]$", "x}]", "x"),
            ("^(?i)ab(?-i:c)$", "ABc", "ABC"),
            ("^(?i:a)$", "A", "b"),
        ] {
            assert!(is_match(pattern, fits.as_bytes()), "{pattern} {fits}");
            assert!(!is_match(pattern, fits_not.as_bytes()), "{pattern} {fits_not}");
        }
    }

    #[test]
    fn what_is_not_run_is_named() {
        for (pattern, why) in [
            ("a(?!b)", "looks around itself by `(?!`"),
            ("(?<=a)b", "looks around itself by `(?<=`"),
            ("(a)\\1", "refers to its group by `\\1`"),
            ("a\\K", "has `\\K`"),
            ("a\\", "ends in `\\`"),
            ("(a", "unclosed group"),
            ("(?:a{1000}){1000}", "size limit"),
        ] {
            let told = compile(pattern).unwrap_err();
            assert!(told.contains(why), "{pattern}: {told}");
        }
        assert!(compile(&"(".repeat(5000)).is_err() && compile(&"a".repeat(LONGEST + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "\\PC{0,40}|[\\[\\]()\\\\^$*+?{}a-c0-9,|:<>!=xQEk-]{0,40}") {
            let _ = compile(&pattern);
        }
    }
}
