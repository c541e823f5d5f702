//! Lets requests go on evenly spaced, so that what stands behind never gets them faster.
//!
//! # When to use
//! Where a part of a service bears only so many requests in a time, and clients come in bursts: `50/s queue 100` sends one every 20 ms. Those that
//! come sooner wait for their turn, as long as their time allows; when 100 wait already, the next are answered 503 at once. Unlike
//! [`limit`](crate::limit), which refuses what is too much, it delays.
//!
//! It holds where it stands: on a route for that route, in the `defaults` of an api for all its routes together, in those of the file for
//! all routes. To protect a service whatever route leads to it, write `smooth` on the service; that also counts requests that are tried
//! again. It holds for one node.
//!
//! # Example
//! ```yaml
//! smooth:
//!   rate: 50/s
//!   queue: 100
//!   wait: 2s
//! ```
//!
//! # Faults
//! - `smooth/exceeded` (503): as many as may wait do already, or the turn would come too late; `Retry-After` says when to come again.

use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;
use tollgate_config::model::{SMOOTH_PATTERN, Smooth, smooth_in_full};
use tollgate_core::clock::Clock;
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::Node;
use tollgate_core::pacer::{NoTurn, Pacer};
use tollgate_core::policy::{BuildCx, Built, Flow, Hooks, Merge, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::{Fault, Problem};

use crate::kit::forms::{ShortForm, with_short};
use crate::kit::limits;

/// The same words as on a service.
#[derive(Clone, Debug, PartialEq)]
pub struct SmoothConfig(Smooth);

impl Decode for SmoothConfig {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        Smooth::decode(node, cx).map(Self)
    }
}

impl JsonSchema for SmoothConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SmoothConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Smooth::json_schema(generator)
    }
}

impl PolicyConfig for SmoothConfig {
    const NAME: &'static str = "smooth";
    const SUMMARY: &'static str =
        "Lets requests go on evenly spaced, so that what stands behind never gets them faster.";
    const EXAMPLE: &'static str = "rate: 50/s\nqueue: 100\nwait: 2s";
    const FAULTS: &'static [&'static Fault] = &[&EXCEEDED];
    const MERGE: Merge = Merge::Add;

    /// `50/s queue 100` → `{ rate: 50/s, queue: 100 }`.
    fn desugar(mut node: Node) -> Node {
        smooth_in_full(&mut node);
        node
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let (id, whose) = (limits::scope(cx), limits::over(cx));
        let paced = cx.sources.pacers.as_ref();
        let paced = paced.map(|pacers| (pacers.pacer(&id, self.0.spacing()), pacers.clock().clone()));
        let (what, most) = (format!("{}{whose}", self.0), self.0.wait.map(|most| most.0));
        Ok(vec![(Stage::Smooth, Arc::new(Smoothing { paced, most, what }))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(SmoothConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<SmoothConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[ShortForm {
    short: "50/s queue 100",
    long: "{ rate: 50/s, queue: 100 }",
    schema: || json!({ "type": "string", "pattern": SMOOTH_PATTERN }),
}];

#[derive(Debug)]
struct Smoothing {
    /// Who says when; `None`: nobody does where nothing is sent.
    paced: Option<(Arc<Pacer>, Clock)>,
    /// How long one may wait at most.
    most: Option<Duration>,
    what: String,
}

impl Policy for Smoothing {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let Some((pacer, clock)) = &self.paced else { return Step::next() };
        let now = clock.now();
        let due = x.by(x.due.unwrap_or(now + Duration::from_secs(3600)));
        match pacer.reserve(now, self.most.map_or(due, |most| due.min(now + most))) {
            Err(none) => Step::refuse(exceeded(none)),
            Ok(turn) if turn.wait(now).is_zero() => {
                turn.used();
                Step::next()
            }
            Ok(turn) => Step::Later(Box::pin(async move {
                tokio::time::sleep(turn.wait(now)).await;
                turn.used();
                Ok(Flow::Next)
            })),
        }
    }

    fn describe(&self) -> String {
        self.what.clone()
    }
}

fn exceeded(none: NoTurn) -> Problem {
    EXCEEDED.problem().detail("too many requests wait for their turn").retry_after(none.retry)
}

static EXCEEDED: Fault = Fault::gateway(
    "smooth/exceeded",
    503,
    "Too many requests wait for their turn",
    "Requests go on evenly spaced here, and as many as may wait do already. Come again after the seconds that `Retry-After` says.",
);

#[cfg(test)]
mod tests {
    use tollgate_testkit::bench::Bench;

    use super::*;

    #[test]
    fn who_comes_too_soon_waits_and_who_is_too_many_is_refused() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let _time = runtime.enter();
        let bench = Bench::of::<SmoothConfig>("100/s queue 2");
        let real = Clock::real();
        let began = real.now();
        bench.get("/").passes();
        bench.get("/").passes();
        bench.get("/").passes();
        let took = real.now() - began;
        assert!(took >= Duration::from_millis(30), "the second waited 10 ms, the third 20: {took:?}");
        let refused = bench.get("/").refused_with("smooth/exceeded");
        assert_eq!(refused.header("Retry-After").as_deref(), Some("1"));
        bench.advance(Duration::from_millis(30));
        bench.get("/").passes();
    }

    #[test]
    fn nobody_waits_longer_than_is_written() {
        let bench = Bench::of::<SmoothConfig>("{ rate: 1/min, queue: 10, wait: 59s }");
        bench.get("/").passes();
        let refused = bench.get("/").refused_with("smooth/exceeded");
        assert_eq!(refused.header("Retry-After").as_deref(), Some("1"));
        bench.advance(Duration::from_secs(60));
        bench.get("/").passes();
    }

    #[test]
    fn it_says_what_it_does_and_what_is_wrong() {
        assert_eq!(Bench::of::<SmoothConfig>("50/s").describe(), ["50/s, evenly spaced; 100 may wait"]);
        assert_eq!(Bench::example::<SmoothConfig>().describe(), ["50/s, evenly spaced; 100 may wait, each at most 2s"]);
        let mistakes = |yaml: &str| Bench::mistakes::<SmoothConfig>(yaml).join("; ");
        assert_eq!(mistakes("fast"), "`fast` is no rate to smooth to (a number and a time: `50/s`, `30/min`, `1/10s`)");
        assert_eq!(
            mistakes("50/s queue 1 queue 2"),
            "`50/s queue 1 queue 2` is no rate to smooth to (write `50/s queue 100 wait 2s`)"
        );
        assert_eq!(mistakes("{ rate: 50/s, crowd: 5 }"), "unknown key `crowd` (known here: rate, queue, wait)");
    }
}
