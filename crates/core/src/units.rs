//! Typed quantities as a user writes them: `250ms`, `64KiB`, `10.0.0.0/8`, `orders.read`.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Decode, DecodeCx, whole_number};
use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};
use crate::text::{FromText, decode_from_text, text_schema};

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
        json_schema!({
            "type": "string",
            "description": "A span of time: numbers with units, more than zero.",
            "pattern": r"^([0-9.]+ ?(ns|us|µs|ms|s|m|h|d) ?)+$",
            "examples": ["250ms", "5s", "1m30s", "1h"]
        })
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
            "description": "A number of bytes: `KiB`, `MiB` count by 1024, `kB`, `MB` by 1000.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": r"^[0-9.]+ ?[KMGT]?i?B?$" }],
            "examples": [512, "64KiB", "1MB"]
        })
    }
}

/// So many bytes in a second: `500B/s`, `64KiB/s`. At least one, at most 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(NonZeroU64);

const FASTEST: u64 = 1 << 30;

impl ByteRate {
    /// Bytes in a second.
    #[must_use]
    pub fn per_second(self) -> NonZeroU64 {
        self.0
    }
}

impl FromText for ByteRate {
    const WHAT: &'static str = "bytes in a second";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let size = text.strip_suffix("/s").and_then(|size| size.trim_end().parse::<bytesize::ByteSize>().ok());
        let Some(size) = size else {
            let mistake = Diagnostic::error(format!("`{text}` is no number of bytes in a second"));
            return Err(mistake.hint("a size and `/s`: `500B/s`, `64KiB/s`, `1MB/s`"));
        };
        let rate = NonZeroU64::new(size.as_u64()).filter(|rate| rate.get() <= FASTEST);
        let mistake = || Diagnostic::error(format!("`{text}` is out of range")).hint("1B/s to 1GiB/s");
        rate.map(Self).ok_or_else(mistake)
    }
}

decode_from_text!(ByteRate);
text_schema!(ByteRate, "ByteRate", "description": "Bytes in a second: `KiB`, `MiB` count by 1024, `kB`, `MB` by 1000.", "pattern": r"^[0-9.]+ ?[KMG]?i?B? ?/s$", "examples": ["500B/s", "64KiB/s"]);

/// A whole number that lies in `MIN..=MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// The number, if it lies within the bounds.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        (MIN..=MAX).contains(&value).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Decode for Bounded<MIN, MAX> {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Some(number) = whole_number(node) else { return cx.expected(node, "a whole number") };
        let read = u64::try_from(number).ok().and_then(Self::new);
        if read.is_none() {
            let mistake = Diagnostic::error(format!("`{number}` is out of range"));
            cx.report(mistake.at(&node.span).hint(format!("a whole number in {MIN}..={MAX}")));
        }
        read
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Bounded<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Whole{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A number of bytes that lies in `MIN..=MAX`; written like [`ByteSize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundedSize<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> BoundedSize<MIN, MAX> {
    /// The number of bytes.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Decode for BoundedSize<MIN, MAX> {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let ByteSize(size) = ByteSize::decode(node, cx)?;
        if (MIN..=MAX).contains(&size) {
            return Some(Self(size));
        }
        let mistake = Diagnostic::error(format!("`{}` is out of range", node.written())).at(&node.span);
        cx.report(mistake.hint(format!("{} to {}", in_binary(MIN), in_binary(MAX))));
        None
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for BoundedSize<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Size{MIN}To{MAX}").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = ByteSize::json_schema(generator);
        schema.remove("description");
        schema.insert("title".into(), format!("size, {} to {}", in_binary(MIN), in_binary(MAX)).into());
        schema
    }
}

/// A number of bytes in the largest binary unit that loses nothing.
fn in_binary(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        b if b.is_multiple_of(1 << 30) => format!("{}GiB", b >> 30),
        b if b.is_multiple_of(1 << 20) => format!("{}MiB", b >> 20),
        b if b.is_multiple_of(1 << 10) => format!("{}KiB", b >> 10),
        b => b.to_string(),
    }
}

/// A share: `20%`, `0.5%`. At most 100 %, exact to a hundredth of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

impl Percent {
    /// The share in hundredths of a percent: 0..=10000.
    #[must_use]
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// The share as a fraction: 0.0..=1.0.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |t: &str| !t.is_empty() && t.len() <= 3 && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
            return None;
        }
        let hundredths = format!("{fraction:0<2}").parse::<u16>().ok()?;
        let total = u32::from(whole.parse::<u16>().ok()?) * 100 + u32::from(hundredths);
        u16::try_from(total).ok().filter(|t| *t <= 10_000).map(Self)
    }
}

impl Decode for Percent {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        if let Value::Int(n) = node.value {
            let mistake = Diagnostic::error(format!("`{n}` is no percentage")).at(&node.span);
            cx.report(mistake.hint(format!("write `{n}%`")));
            return None;
        }
        let Some(text) = node.text() else { return cx.expected(node, "a percentage") };
        let read = Self::parse(text);
        if read.is_none() {
            let mistake = Diagnostic::error(format!("`{text}` is no percentage")).at(&node.span);
            cx.report(mistake.hint("`0%` to `100%`, at most two decimals: `20%`, `0.5%`"));
        }
        read
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A share.", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})? ?%$", "examples": ["20%", "0.5%"] })
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

    #[test]
    fn rates_are_sizes_in_a_second() {
        let rate = |text: &str| read::<ByteRate>(text).map(|rate| rate.per_second().get());
        assert_eq!((rate("500B/s"), rate("2KiB/s"), rate("1 MB/s")), (Ok(500), Ok(2048), Ok(1_000_000)));
        assert_eq!(rate("500"), Err("`500` is no number of bytes in a second".into()));
        assert_eq!(rate("1kB/min"), Err("`1kB/min` is no number of bytes in a second".into()));
        assert_eq!(
            (rate("0B/s"), rate("2GiB/s")),
            (Err("`0B/s` is out of range".into()), Err("`2GiB/s` is out of range".into()))
        );
    }

    #[test]
    fn bounds_are_part_of_the_type() {
        assert_eq!(read::<Bounded<1, 1024>>(1024).map(Bounded::get), Ok(1024));
        assert_eq!(read::<Bounded<1, 1024>>(0), Err("`0` is out of range".into()));
        assert_eq!(read::<Bounded<1, 1024>>(-1), Err("`-1` is out of range".into()));
        assert_eq!(read::<BoundedSize<1024, 4096>>("2KiB").map(BoundedSize::get), Ok(2048));
        assert_eq!(read::<BoundedSize<1024, 4096>>("1kB"), Err("`1kB` is out of range".into()));
    }

    #[test]
    fn percentages_are_exact_to_a_hundredth() {
        assert_eq!(read::<Percent>("20%").map(Percent::hundredths), Ok(2000));
        assert_eq!(read::<Percent>("0.5%").map(Percent::hundredths), Ok(50));
        assert_eq!(read::<Percent>("99.95 %").map(Percent::hundredths), Ok(9995));
        for wrong in ["100.01%", "20", "%", "1.234%", "-1%", "1e2%"] {
            assert_eq!(read::<Percent>(wrong), Err(format!("`{wrong}` is no percentage")));
        }
        assert_eq!(read::<Percent>(20), Err("`20` is no percentage".into()));
    }
}
