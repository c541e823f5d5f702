//! `adaptive_concurrency`: how many requests a service may have at a time is found out by the gateway.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{Bounded, Period};

use crate::model::defaults::v1;

section! {
    /// How many requests a service may have at a time, found out from how long its answers take.
    pub struct AdaptiveConcurrency: fit {
        /// Never fewer.
        min: Spanned<Bounded<1, 100_000>> = v1::ADAPTIVE_MIN,
        /// Never more.
        max: Spanned<Bounded<1, 100_000>> = v1::ADAPTIVE_MAX,
        /// How many at the beginning, within `min` and `max`.
        initial: Bounded<1, 100_000> = v1::ADAPTIVE_INITIAL,
        /// How many requests beyond that may wait, those that matter most first; all further ones are answered 503 at once. 0: none waits.
        queue: Bounded<0, 100_000> = v1::ADAPTIVE_QUEUE,
        /// How long one may wait before the answer is 503.
        wait: Period = v1::ADAPTIVE_WAIT,
    }
}

/// Whether there is something between the ends.
fn fit(adaptive: &AdaptiveConcurrency, cx: &mut DecodeCx) -> bool {
    let (min, max) = (adaptive.min.get(), adaptive.max.get());
    if min > max {
        let mistake = Diagnostic::error(format!("`min` ({min}) is more than `max` ({max})"));
        cx.report(mistake.at(&adaptive.min.span).at(&adaptive.max.span).hint("lower `min`, or raise `max`"));
    }
    min <= max
}
