//! `breaker` of a service: when it is left alone because too much of what is sent to it fails.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{Bounded, Period};

use crate::model::defaults::v1;
use crate::model::health::FailureStatus;
use crate::model::outlier::ErrorShare;

section! {
    /// When a service is left alone for a while: requests are then answered 503 at once, or by its `fallback`. Afterwards a few
    /// are let through, to see how it is.
    pub struct Breaker: fit = "50% of 20 in 10s, open 5s", "5 in a row, open 5s" {
        /// A share of the attempts that fails.
        failures: Option<ErrorShare>,
        /// Failures in a row. 0: however many.
        consecutive: Spanned<Bounded<0, 10_000>> = v1::BREAKER_CONSECUTIVE,
        /// For how long it is left alone at first; twice as long each time that it is no better.
        open: Spanned<Period> = v1::BREAKER_OPEN,
        /// For how long at most.
        longest: Period = v1::BREAKER_LONGEST,
        /// How many requests are let through then; all of them have to go well.
        trials: Bounded<1, 1000> = v1::BREAKER_TRIALS,
        /// Answers that count as failures, beside connections that fail, break or bring no answer in time. `[]`: none.
        status: Vec<FailureStatus> = v1::BREAKER_STATUS,
        /// An answer whose head takes longer counts as a failure; without it, slow ones do not.
        slow: Option<Period>,
    }
}

/// Whether it ever opens, and for as long as the file says.
fn fit(breaker: &Breaker, cx: &mut DecodeCx) -> bool {
    let (first, longest) = (&breaker.open, breaker.longest.0);
    let mistake = if breaker.consecutive.value.get() == 0 && breaker.failures.is_none() {
        Diagnostic::error("nothing would ever open this breaker")
            .at(&breaker.consecutive.span)
            .hint("a share of failures (`failures: 50% of 20 in 10s`), or failures in a row (`consecutive`)")
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
