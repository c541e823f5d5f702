//! `deadline` of a route: how callers and services tell each other how much time is left.

use tollgate_core::section;
use tollgate_core::text::words;

use crate::model::correlation::Accept;
use crate::model::defaults::v1;
use crate::model::fields::FieldName;

section! {
    /// A header that says how much time is left for an answer, as `grpc-timeout` does for gRPC. What a caller says shortens the
    /// route's `timeout`, and never makes it longer; each attempt tells its service what is left by then.
    pub struct Deadline {
        /// Its name.
        header: FieldName,
        /// What its number counts: `ms`, or `s`, in which fractions may stand.
        unit: TimeUnit = v1::DEADLINE_UNIT,
        /// Whose word counts: `always` everybody's, `trusted` only that of proxies under `trust`, `never` nobody's. Services are
        /// told in any case.
        accept: Accept = v1::DEADLINE_ACCEPT,
    }
}

words! {
    /// What a number of time counts.
    pub enum TimeUnit {
        /// Milliseconds.
        Milliseconds = "ms",
        /// Seconds.
        Seconds = "s",
    }
}
