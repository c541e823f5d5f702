//! Types that are written as one text, and types that are one of a few words.

use crate::decode::DecodeCx;
use crate::diagnostic::{Diagnostic, nearest};
use crate::node::{Node, Value};

/// A type written as one text (a number will do, where its digits are the text).
pub trait FromText: Sized {
    /// What is expected, for messages: `a host and port`.
    const WHAT: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong; it has no place yet.
    fn from_text(text: &str) -> Result<Self, Diagnostic>;
}

/// Reads a text type from its node.
pub fn decode_text<T: FromText>(node: &Node, cx: &mut DecodeCx) -> Option<T> {
    let read = match &node.value {
        Value::String(text) => T::from_text(text),
        Value::Int(number) => T::from_text(&number.to_string()),
        _ => return cx.expected(node, T::WHAT),
    };
    read.map_err(|mistake| cx.report(mistake.at(&node.span))).ok()
}

/// The mistake for a word that is none of those known here.
#[must_use]
pub fn unknown_word(text: &str, known: &[&str]) -> Diagnostic {
    let mistake = Diagnostic::error(format!("`{text}` is not known here"));
    match nearest(text, known.iter().copied()) {
        Some(word) => mistake.hint(format!("did you mean `{word}`?")),
        None => mistake.hint(format!("one of: {}", known.join(", "))),
    }
}

/// Implements `Decode` for a type that is [`FromText`].
#[macro_export]
macro_rules! decode_from_text {
    ($($kind:ty),* $(,)?) => {$(
        impl $crate::decode::Decode for $kind {
            fn decode(
                node: &$crate::node::Node,
                cx: &mut $crate::decode::DecodeCx,
            ) -> Option<Self> {
                $crate::text::decode_text(node, cx)
            }
        }
    )*};
}

/// The JSON Schema of a type written as one text.
#[macro_export]
macro_rules! text_schema {
    ($kind:ty, $name:expr, $($schema:tt)*) => {
        impl $crate::schemars::JsonSchema for $kind {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut $crate::schemars::SchemaGenerator) -> $crate::schemars::Schema {
                $crate::schemars::json_schema!({ "type": "string", $($schema)* })
            }
        }
    };
}

/// Declares an enum whose variants are words.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident { $( $(#[doc = $word_doc:literal])* $variant:ident = $word:literal ),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $( $(#[doc = $word_doc])* $variant, )* }

        impl $name {
            /// The word as it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::text::FromText for $name {
            const WHAT: &'static str = concat!("one of", $( " `", $word, "`" ),*);

            fn from_text(text: &str) -> Result<Self, $crate::diagnostic::Diagnostic> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err($crate::text::unknown_word(text, &[$($word),*])),
                }
            }
        }

        $crate::decode_from_text!($name);
        $crate::text_schema!($name, stringify!($name), "enum": [$($word),*]);
    };
}

pub use crate::{decode_from_text, text_schema, words};
