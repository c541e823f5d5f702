//! Why a try did not bring an answer, and whether another one may.

use std::time::Duration;

use tollgate_core::facts::Address;
use tollgate_core::problem::{Fault, Problem};
use tollgate_observe::metrics::Outcome;
use tollgate_upstream::breaker::Open;
use tollgate_upstream::{Refusal, faults};

use crate::http::attempt::Ended;
use crate::http::turn::Turn;
use crate::serve::Stop;

/// Why one try did not bring an answer.
pub(super) struct Failure {
    fault: &'static Fault,
    cause: String,
    pub(super) outcome: Outcome,
    pub(super) address: Option<Address>,
    /// Whether another instance, or the same once more, may do better.
    pub(super) again: Again,
    /// When the client may come again, if that is known.
    retry: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// No use, or not safe.
    Never,
    /// Within the retries and their budget.
    Retry,
    /// A connection that had rested was dead: that says nothing about the instance, and costs no retry.
    Stale,
}

/// When those may come again who were too many at a time.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Why nothing is sent to a service that is left alone.
const OPEN: &str = "the breaker is open";

impl Failure {
    pub(super) fn problem(self) -> Problem {
        let problem = self.fault.problem().cause(self.cause);
        match self.retry {
            Some(retry) => problem.retry_after(retry),
            None => problem,
        }
    }
}

/// The service's breaker is open.
pub(super) fn left_alone(open: Open) -> Stop {
    Stop::Problem(faults::BREAKER_OPEN.problem().cause(OPEN).retry_after(open.retry))
}

/// No connection was had, so nothing was sent.
pub(super) fn refused(refusal: Refusal) -> Failure {
    let failure =
        |fault, cause: String, outcome, address, again| Failure { fault, cause, outcome, address, again, retry: None };
    match refusal {
        Refusal::Joined(refusal) => refused(*refusal),
        Refusal::NoInstance => {
            failure(&faults::NO_INSTANCE, "no instance".into(), Outcome::ConnectFailed, None, Again::Never)
        }
        Refusal::AllOut => {
            let cause = "all instances are unhealthy or ejected".to_owned();
            failure(&faults::UNHEALTHY, cause, Outcome::ConnectFailed, None, Again::Never)
        }
        Refusal::Connect(address, error) => {
            let cause = format!("connect to {address}: {error}");
            failure(&faults::CONNECT_FAILED, cause, Outcome::ConnectFailed, Some(address), Again::Retry)
        }
        Refusal::Tls(address, error) => {
            let cause = format!("TLS with {address}: {error}");
            failure(&faults::TLS_FAILED, cause, Outcome::ConnectFailed, Some(address), Again::Retry)
        }
        Refusal::Protocol(address, why) => {
            let cause = format!("{address}: {why}");
            failure(&faults::PROTOCOL, cause, Outcome::ConnectFailed, Some(address), Again::Retry)
        }
        Refusal::ConnectTimeout(address) => {
            let cause = format!("connect to {address}: no answer in `connect_timeout`");
            failure(&faults::CONNECT_FAILED, cause, Outcome::ConnectFailed, Some(address), Again::Retry)
        }
        Refusal::Limit => {
            failure(&faults::LIMIT, "connection limit".into(), Outcome::RefusedByLimit, None, Again::Never)
        }
        Refusal::Rate(retry) => {
            let rate = failure(&faults::RATE, "no turn".into(), Outcome::RefusedByLimit, None, Again::Never);
            Failure { retry: Some(retry), ..rate }
        }
        Refusal::Overloaded => {
            let full =
                failure(&faults::OVERLOADED, "too many at a time".into(), Outcome::RefusedByLimit, None, Again::Never);
            Failure { retry: Some(COME_AGAIN), ..full }
        }
        Refusal::LeftAlone(open) => {
            let open_by_now = failure(&faults::BREAKER_OPEN, OPEN.into(), Outcome::RefusedByLimit, None, Again::Never);
            Failure { retry: Some(open.retry), ..open_by_now }
        }
        Refusal::Deadline => {
            failure(&faults::TIMEOUT, "time over before a connection".into(), Outcome::Timeout, None, Again::Never)
        }
    }
}

/// A connection was had, but it brought no answer.
pub(super) fn ended_badly(
    ended: Ended,
    turn: &Turn,
    service: &tollgate_upstream::Service,
    worker: usize,
) -> Result<Failure, Stop> {
    let address = turn.x.trail.instance.clone();
    let at = address.as_ref().map_or_else(String::new, ToString::to_string);
    let failure =
        |fault, cause: String, outcome, again| Ok(Failure { fault, cause, outcome, address, again, retry: None });
    match ended {
        Ended::ClientGone => {
            service.attempted(worker, Outcome::Cancelled);
            Err(Stop::ClientGone)
        }
        Ended::Refused(problem) => {
            service.attempted(worker, Outcome::Cancelled);
            Err(Stop::Problem(problem))
        }
        Ended::Timeout => {
            failure(&faults::TIMEOUT, format!("no answer from {at} in time"), Outcome::Timeout, Again::Never)
        }
        Ended::TryTimeout => {
            // RFC 9110 §9.2.2: the instance may be at work on it still.
            let again = if turn.is_harmless_twice { Again::Retry } else { Again::Never };
            failure(&faults::TIMEOUT, format!("no answer from {at} within `try_timeout`"), Outcome::Timeout, again)
        }
        Ended::Malformed(what) => {
            failure(&faults::INVALID_ANSWER, format!("{at} sent {what}"), Outcome::Reset, Again::Never)
        }
        Ended::Unsupported(why) => failure(&faults::PROTOCOL, format!("{at}: {why}"), Outcome::Reset, Again::Never),
        // RFC 9113 §8.7: whatever the request is, repeating it does no harm.
        Ended::Unread(error) => failure(&faults::RESET, format!("{at}: {error}"), Outcome::Reset, Again::Retry),
        Ended::Left(error) => failure(&faults::RESET, format!("{at}: {error}"), Outcome::Reset, Again::Stale),
        Ended::Late => {
            let cause = format!("the time for all of it was over before {at} answered");
            failure(&faults::TIMEOUT, cause, Outcome::Timeout, Again::Never)
        }
        Ended::Reset { reused, error } => {
            // RFC 9110 §9.2.2: repeated only if that does no harm, or if nothing of it was sent.
            let safe = turn.is_harmless_twice || !turn.request_head.is_begun();
            let again = match (safe, reused) {
                (false, _) => Again::Never,
                (true, true) => Again::Stale,
                (true, false) => Again::Retry,
            };
            failure(&faults::RESET, format!("{at}: {error}"), Outcome::Reset, again)
        }
    }
}
