//! `outlier` of a service: when one of its instances is left out because of how it serves.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned, Value};
use tollgate_core::section;
use tollgate_core::units::{Bounded, Percent, Period};

use crate::model::defaults::v1;
use crate::model::health::FailureStatus;

section! {
    /// When an instance is left out for a while because requests sent to it failed, or it is slower than the others.
    pub struct Outlier: ejects = "on" {
        /// Failures in a row. 0: however many.
        consecutive: Spanned<Bounded<0, 1000>> = v1::OUTLIER_CONSECUTIVE,
        /// A share of the requests that fails; without it, failures in a row alone count.
        errors: Option<ErrorShare>,
        /// An instance of which fewer requests succeed than of the others; without it, instances are not compared.
        success_rate: Option<SuccessRate>,
        /// An instance whose answers take much longer than those of the others; without it, time does not count.
        latency: Option<SlowOnes>,
        /// Answers that count as failures, beside connections that fail, break or bring no answer in time. `[]`: none.
        status: Vec<FailureStatus> = v1::OUTLIER_STATUS,
        /// For how long an instance is left out at first; twice as long each further time.
        eject_for: Spanned<Period> = v1::OUTLIER_EJECT_FOR,
        /// For how long at most.
        longest: Period = v1::OUTLIER_LONGEST,
        /// Each time is longer by up to this share, by chance: instances that failed together do not come back together.
        jitter: Percent = v1::OUTLIER_JITTER,
        /// The share of the instances that may be left out at a time, rounded down, whatever the reason.
        ceiling: Spanned<Percent> = v1::OUTLIER_CEILING,
    }
}

/// Whether an instance is ever left out, and for as long as the file says.
fn ejects(outlier: &Outlier, cx: &mut DecodeCx) -> bool {
    let (first, longest) = (&outlier.eject_for, outlier.longest.0);
    let compares = outlier.success_rate.is_some() || outlier.latency.is_some();
    let mistake = if outlier.consecutive.value.get() == 0 && outlier.errors.is_none() && !compares {
        Diagnostic::error("nothing would ever leave an instance out")
            .at(&outlier.consecutive.span)
            .hint("failures in a row (`consecutive`), or a share of them (`errors: 50% of 20 within 10s`)")
    } else if outlier.ceiling.value.hundredths() == 0 {
        Diagnostic::error("no instance may ever be left out")
            .at(&outlier.ceiling.span)
            .hint("a share of the instances, such as `50%`; or no `outlier`")
    } else if first.value.0 > longest {
        Diagnostic::error(format!("this is longer than `longest`, which is {longest:?}"))
            .at(&first.span)
            .hint("write a longer `longest`")
    } else {
        return true;
    };
    cx.report(mistake);
    false
}

section! {
    /// A share of the requests that fails.
    pub struct ErrorShare = "50% of 20 in 10s" {
        /// The share, or more.
        share: Percent,
        /// Of at least so many requests.
        of: Bounded<1, 1_000_000>,
        /// Within this time.
        within: Period,
    }
}

section! {
    /// An instance is left out if its success rate is below the mean of all by so many standard deviations.
    pub struct SuccessRate = "on" {
        /// How many standard deviations.
        deviations: Factor = v1::SUCCESS_RATE_DEVIATIONS,
        /// Only if so many instances had enough requests to be compared.
        instances: Bounded<2, 10_000> = v1::SUCCESS_RATE_INSTANCES,
        /// So many requests are enough.
        of: Bounded<1, 1_000_000> = v1::SUCCESS_RATE_OF,
        /// Within this time; then it is counted anew.
        within: Period = v1::COMPARED_WITHIN,
    }
}

section! {
    /// An instance is left out if its answers take so many times as long as the median of the others'.
    pub struct SlowOnes = "3x" {
        /// How many times as long, on the average, until the head of an answer is there.
        factor: Factor = v1::LATENCY_FACTOR,
        /// Answers that take less are never too slow.
        least: Period = v1::LATENCY_LEAST,
        /// Only if so many instances had enough requests to be compared.
        instances: Bounded<2, 10_000> = v1::LATENCY_INSTANCES,
        /// So many requests are enough.
        of: Bounded<1, 1_000_000> = v1::LATENCY_OF,
        /// Within this time; then it is counted anew.
        within: Period = v1::COMPARED_WITHIN,
    }
}

/// A number above 0, exact to a thousandth: `3`, `1.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(u32);

impl Factor {
    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl Decode for Factor {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let written = match &node.value {
            Value::Int(_) | Value::Float(_) | Value::String(_) => node.written(),
            _ => return cx.expected(node, "a number"),
        };
        let thousandths = written.parse::<f64>().ok().map(|number| (number * 1000.0).round());
        match thousandths.filter(|all| (1.0..=1_000_000.0).contains(all)) {
            // In range, and whole.
            Some(all) => Some(Self(all as u32)),
            None => {
                cx.report(
                    Diagnostic::error(format!("`{written}` is no factor"))
                        .at(&node.span)
                        .hint("above 0, at most 1000: `3`, `1.9`"),
                );
                None
            }
        }
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> Cow<'static, str> {
        "Factor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "description": "How many times.", "minimum": 0.001, "maximum": 1000, "examples": [3, 1.9] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_whole_or_not() {
        let read = |value: Value| Factor::decode(&Node::synthetic(value), &mut DecodeCx::default()).map(Factor::get);
        assert_eq!(read(Value::Int(3)), Some(3.0));
        assert_eq!(read("1.9".into()), Some(1.9));
        for wrong in ["0", "-1", "1001", "NaN", "inf", "x", ""] {
            assert_eq!(read(wrong.into()), None, "{wrong}");
        }
    }
}
