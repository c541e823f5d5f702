//! Chunk extensions (RFC 9112 §7.1.1), read only to know for certain where their line ends.
//!
//! Nobody here understands any, so all are dropped; but a reader that minds quotes and one that does not find different
//! ends of `;a="\r\n`. Whatever does not follow the grammar is therefore refused.

use tollgate_core::field::TOKEN;

/// Where in an extension the reading stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Extension {
    /// Behind `;`: a name must follow.
    #[default]
    Start,
    Name,
    /// In blanks behind a name.
    AfterName,
    /// Behind `=`: a value must follow.
    ValueStart,
    Token,
    Quoted,
    /// Behind a backslash inside quotes.
    Escape,
    /// Behind the closing quote.
    QuotedEnd,
    /// In blanks behind a value.
    AfterValue,
}

impl Extension {
    /// The state behind `byte`; `None` if the grammar does not allow it here.
    pub(crate) fn next(self, byte: u8) -> Option<Self> {
        let is_token = TOKEN[usize::from(byte)];
        let is_text = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        Some(match (self, byte) {
            (Self::Escape, _) if is_text => Self::Quoted,
            (Self::Quoted, b'"') => Self::QuotedEnd,
            (Self::Quoted, b'\\') => Self::Escape,
            (Self::Quoted, _) if is_text => Self::Quoted,
            (Self::Quoted | Self::Escape, _) => return None,
            (Self::Start | Self::Name, _) if is_token => Self::Name,
            (Self::ValueStart | Self::Token, _) if is_token => Self::Token,
            (Self::ValueStart, b'"') => Self::Quoted,
            (Self::Start, b' ' | b'\t') => Self::Start,
            (Self::ValueStart, b' ' | b'\t') => Self::ValueStart,
            (Self::Name | Self::AfterName, b' ' | b'\t') => Self::AfterName,
            (Self::Token | Self::QuotedEnd | Self::AfterValue, b' ' | b'\t') => Self::AfterValue,
            (Self::Name | Self::AfterName, b'=') => Self::ValueStart,
            (Self::Name | Self::AfterName | Self::Token | Self::QuotedEnd | Self::AfterValue, b';') => Self::Start,
            _ => return None,
        })
    }

    /// Whether the line may end here.
    pub(crate) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::QuotedEnd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `text`, as it stands behind the first `;`, is one or more extensions.
    fn is_extension(text: &str) -> bool {
        text.bytes().try_fold(Extension::Start, Extension::next).is_some_and(Extension::may_end)
    }

    #[test]
    fn what_the_grammar_allows_is_read() {
        for text in
            ["a", "a=b", " a = b", "a\t;b", "a=\"\"", "a=\"b;c\";d=e", r#"a="\"\\""#, "a=\"\u{e9}\" ;b", "a ; b"]
        {
            assert!(is_extension(text), "{text}");
        }
    }

    #[test]
    fn what_it_does_not_allow_is_refused() {
        for text in
            ["", " ", ";", "a;", "a ", "a=", "a= ", "a=b ", "=b", "a=b=c", "a b", "a=\"", "a=\"b", "a=\"\\", "a=\"b\"c"]
        {
            assert!(!is_extension(text), "{text}");
        }
        for text in ["a=\"\u{7f}\"", "a=\"\\\u{1}\"", "a=\"\r\"", "a=\n", "\u{e9}", "a=\u{e9}"] {
            assert!(!is_extension(text), "{text:?}");
        }
    }
}
