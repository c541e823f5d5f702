//! Two patterns of the Core Rule Set that look around themselves or refer to their groups, which patterns in linear time cannot: done
//! by hand, and known by their text.

use std::ops::Range;

/// Rule 920120: a quote or `=` in the name of an uploaded file, or a `;` that ends none of these entities.
const FILE_NAMES: &str = "(?<!&(?:[aAoOuUyY]uml)|&(?:[aAeEiIoOuU]circ)|&(?:[eEiIoOuUyY]acute)|&(?:[aAeEiIoOuU]grave)|&(?:[cC]cedil)|&(?:[aAnNoO]tilde)|&(?:amp)|&(?:apos));|['\"=]";

/// Rule 942130: `1=1`, `a like a`, `1 <> 2`, and the like.
const TAUTOLOGIES: &str = r#"(?i:[\s'\"`()]*?\b([\d\w]+)\b[\s'\"`()]*?(?:<(?:=(?:[\s'\"`()]*?(?!\b\1\b)[\d\w]+|>[\s'\"`()]*?(?:\b\1\b))|>?[\s'\"`()]*?(?!\b\1\b)[\d\w]+)|(?:not\s+(?:regexp|like)|is\s+not|>=?|!=|\^)[\s'\"`()]*?(?!\b\1\b)[\d\w]+|(?:(?:sounds\s+)?like|r(?:egexp|like)|=)[\s'\"`()]*?(?:\b\1\b)))"#;

/// A pattern that is done by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByHand {
    FileNames,
    Tautologies,
}

impl ByHand {
    /// The one with this text. A `"` may be written as `\"` or as it is.
    pub(crate) fn of(pattern: &str) -> Option<Self> {
        let plain = |text: &str| text.replace("\\\"", "\"");
        let pattern = plain(pattern);
        if pattern == plain(FILE_NAMES) {
            return Some(Self::FileNames);
        }
        (pattern == plain(TAUTOLOGIES)).then_some(Self::Tautologies)
    }

    /// Where it first fits.
    pub(crate) fn find(self, text: &[u8]) -> Option<Range<usize>> {
        match self {
            Self::FileNames => file_names(text),
            Self::Tautologies => tautologies(text),
        }
    }
}

/// Entities in the names of files, by their letters and how they go on.
const ENTITIES: [(&[u8], &[u8]); 8] = [
    (b"aAoOuUyY", b"uml"),
    (b"aAeEiIoOuU", b"circ"),
    (b"eEiIoOuUyY", b"acute"),
    (b"aAeEiIoOuU", b"grave"),
    (b"cC", b"cedil"),
    (b"aAnNoO", b"tilde"),
    (b"a", b"mp"),
    (b"a", b"pos"),
];

fn file_names(text: &[u8]) -> Option<Range<usize>> {
    let ends_entity = |before: &[u8]| {
        ENTITIES.iter().any(|(letters, rest)| {
            let start = before.strip_suffix(*rest);
            start.is_some_and(|start| matches!(start, [.., b'&', letter] if letters.contains(letter)))
        })
    };
    let fits = |at: &usize| match text[*at] {
        b'\'' | b'"' | b'=' => true,
        b';' => !ends_entity(&text[..*at]),
        _ => false,
    };
    (0..text.len()).find(fits).map(|at| at..at + 1)
}

/// Whether what is on both sides has to be the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sides {
    Same,
    Other,
}

fn tautologies(text: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    while let Some(skipped) = text[at..].iter().position(|byte| is_word(*byte)) {
        let start = at + skipped;
        let end = start + word(&text[start..]);
        let word = &text[start..end];
        let operator = end + separators(&text[end..]);
        for (length, sides) in operators(&text[operator..]) {
            let behind = operator + length;
            let other = behind + separators(&text[behind..]);
            if let Some(end) = fits(text, other, word, sides) {
                return Some(start..end);
            }
        }
        at = end;
    }
    None
}

/// Whether the word of the left side stands at `at`, whole, or another one.
fn fits(text: &[u8], at: usize, word: &[u8], sides: Sides) -> Option<usize> {
    let begins = at == 0 || !is_word(text[at - 1]);
    let end = at + self::word(&text[at..]);
    let is_same = begins && text[at..end].eq_ignore_ascii_case(word);
    match sides {
        Sides::Same => (is_same && !word.is_empty()).then_some(end),
        Sides::Other => (end > at && !is_same).then_some(end),
    }
}

/// The operators that a text begins with: how long each is, and what it asks for.
fn operators(text: &[u8]) -> Vec<(usize, Sides)> {
    let mut found = Vec::new();
    let mut begin = |with: &[u8], sides| {
        if text.starts_with(with) {
            found.push((with.len(), sides));
        }
    };
    begin(b"<=", Sides::Other);
    begin(b"<=>", Sides::Same);
    begin(b"<>", Sides::Other);
    begin(b"<", Sides::Other);
    begin(b">=", Sides::Other);
    begin(b">", Sides::Other);
    begin(b"!=", Sides::Other);
    begin(b"^", Sides::Other);
    begin(b"=", Sides::Same);
    let phrases: [(&[&[u8]], Sides); 7] = [
        (&[b"not", b"regexp"], Sides::Other),
        (&[b"not", b"like"], Sides::Other),
        (&[b"is", b"not"], Sides::Other),
        (&[b"sounds", b"like"], Sides::Same),
        (&[b"like"], Sides::Same),
        (&[b"regexp"], Sides::Same),
        (&[b"rlike"], Sides::Same),
    ];
    found.extend(phrases.iter().filter_map(|(words, sides)| Some((phrase(text, words)?, *sides))));
    found
}

/// How long a phrase is, if the text begins with it.
fn phrase(text: &[u8], words: &[&[u8]]) -> Option<usize> {
    let mut at = 0;
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            let blanks = text[at..].iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
            at += Some(blanks).filter(|blanks| *blanks > 0)?;
        }
        let has = text.get(at..at + word.len())?;
        at += has.eq_ignore_ascii_case(word).then_some(word.len())?;
    }
    Some(at)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_word(**byte)).count()
}

fn separators(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_whitespace() || b"\x0b'\"`()".contains(byte)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_files_have_no_quotes_and_no_semicolon_but_of_an_entity() {
        for (text, is) in [
            ("photo.jpg", false),
            ("a;b", true),
            ("M&uuml;ller.jpg", false),
            ("&auml", false),
            ("&amp;&apos;&Ccedil;&ntilde;&eacute;&icirc;&Agrave;", false),
            ("&xuml;", true),
            ("uml;", true),
            ("a=b", true),
            ("a'b", true),
            ("a\"b", true),
            (";", true),
        ] {
            assert_eq!(ByHand::FileNames.find(text.as_bytes()).is_some(), is, "{text}");
        }
    }

    /// What the pattern itself says of these texts, by an engine that goes back.
    #[test]
    fn tautologies_are_found() {
        for (text, is) in [
            ("1=1", true),
            ("1=2", false),
            ("1 = '1'", true),
            ("' or 'a' = 'A", true),
            ("a like a", true),
            ("a likea", false),
            ("a sounds  like a", true),
            ("a rlike ab", false),
            ("1<2", true),
            ("1<1", false),
            ("1<=>1", true),
            ("1<>2", true),
            ("1 != 2", true),
            ("1 is not 2", true),
            ("a is nothing", true),
            ("a not like a", false),
            ("a not like b", true),
            ("1 ^ 1", false),
            ("11=1", false),
            ("1=11", false),
            ("hello world", false),
            ("a->b", false),
            ("a>=b", true),
            ("=", false),
            ("", false),
        ] {
            assert_eq!(ByHand::Tautologies.find(text.as_bytes()).is_some(), is, "{text}");
        }
    }

    #[test]
    fn they_are_known_by_their_text() {
        assert_eq!(ByHand::of(FILE_NAMES), Some(ByHand::FileNames));
        assert_eq!(ByHand::of(&TAUTOLOGIES.replace("\\\"", "\"")), Some(ByHand::Tautologies));
        assert_eq!(ByHand::of("(?!a)"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..60), like in "[a1 <>=!^'(]{0,30}") {
            for text in [&text[..], like.as_bytes()] {
                for pattern in [ByHand::FileNames, ByHand::Tautologies] {
                    let found = pattern.find(text);
                    prop_assert!(found.is_none_or(|range| range.end <= text.len() && !range.is_empty()));
                }
            }
        }
    }
}
