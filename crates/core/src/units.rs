//! Typed quantities as a user writes them: `250ms`, `64KiB`, `10.0.0.0/8`, `orders.read`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Decode, DecodeCx};
use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};

/// A span of time: `250ms`, `5s`, `1m30s`, `1h`. More than zero, at most a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Decode for Period {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::String(text) = &node.value else {
            let mistake = match node.value {
                Value::Int(n) => {
                    Diagnostic::error(format!("`{n}` has no unit")).hint(format!("write `{n}s` or `{n}ms`"))
                }
                _ => Diagnostic::error(format!("expected a duration, found {}", node.value.kind())),
            };
            cx.report(mistake.at(&node.span));
            return None;
        };
        let read = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
        match read {
            Some(duration) if !duration.is_zero() && duration <= LONGEST => Some(Self(duration)),
            Some(_) => {
                cx.report(
                    Diagnostic::error(format!("`{text}` is out of range"))
                        .at(&node.span)
                        .hint("more than zero, at most 366 days"),
                );
                None
            }
            None => {
                let mistake = Diagnostic::error(format!("`{text}` is no duration"));
                cx.report(mistake.at(&node.span).hint("a number and a unit: `250ms`, `5s`, `1m30s`, `1h`"));
                None
            }
        }
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([0-9.]+ ?(ns|us|µs|ms|s|m|h|d) ?)+$", "examples": ["250ms", "5s", "1h"] })
    }
}

/// A number of bytes: `512`, `64KiB` (1024), `1MB` (1000 × 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl Decode for ByteSize {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let text = match &node.value {
            Value::Int(n) => n.to_string(),
            Value::String(text) => text.clone(),
            _ => return cx.expected(node, "a size in bytes"),
        };
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) => Some(Self(size.as_u64())),
            Err(_) => {
                let mistake = Diagnostic::error(format!("`{text}` is no size"));
                cx.report(mistake.at(&node.span).hint("bytes, or a number and a unit: `512`, `64KiB`, `1MB`"));
                None
            }
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": r"^[0-9.]+ ?[KMGT]?i?B?$" }],
            "examples": [512, "64KiB", "1MB"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Decode>(value: impl Into<Value>) -> Result<T, String> {
        let mut cx = DecodeCx::default();
        T::decode(&Node::synthetic(value.into()), &mut cx).ok_or_else(|| cx.diagnostics[0].message.clone())
    }

    #[test]
    fn durations_need_a_unit_and_a_sane_size() {
        assert_eq!(read::<Period>("250ms"), Ok(Period(Duration::from_millis(250))));
        assert_eq!(read::<Period>("1m30s"), Ok(Period(Duration::from_secs(90))));
        assert_eq!(read::<Period>(5), Err("`5` has no unit".into()));
        assert_eq!(read::<Period>("0s"), Err("`0s` is out of range".into()));
        assert_eq!(read::<Period>("-1s"), Err("`-1s` is no duration".into()));
        assert_eq!(read::<Period>("soon"), Err("`soon` is no duration".into()));
    }

    #[test]
    fn sizes_know_both_families_of_units() {
        assert_eq!(read::<ByteSize>("64KiB"), Ok(ByteSize(65_536)));
        assert_eq!(read::<ByteSize>("1MB"), Ok(ByteSize(1_000_000)));
        assert_eq!(read::<ByteSize>(512), Ok(ByteSize(512)));
        assert_eq!(read::<ByteSize>("a lot"), Err("`a lot` is no size".into()));
    }
}
