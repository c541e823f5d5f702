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
    let again = again(&ended, turn.is_harmless_twice, turn.request_head.is_begun());
    let failure = |fault, cause: String, outcome| Ok(Failure { fault, cause, outcome, address, again, retry: None });
    match ended {
        Ended::ClientGone => {
            service.attempted(worker, Outcome::Cancelled);
            Err(Stop::ClientGone)
        }
        Ended::Refused(problem) => {
            service.attempted(worker, Outcome::Cancelled);
            Err(Stop::Problem(problem))
        }
        Ended::Timeout => failure(&faults::TIMEOUT, format!("no answer from {at} in time"), Outcome::Timeout),
        Ended::TryTimeout => {
            failure(&faults::TIMEOUT, format!("no answer from {at} within `try_timeout`"), Outcome::Timeout)
        }
        Ended::Malformed(what) => failure(&faults::INVALID_ANSWER, format!("{at} sent {what}"), Outcome::Reset),
        Ended::Unsupported(why) => failure(&faults::PROTOCOL, format!("{at}: {why}"), Outcome::Reset),
        Ended::Late => {
            let cause = format!("the time for all of it was over before {at} answered");
            failure(&faults::TIMEOUT, cause, Outcome::Timeout)
        }
        Ended::Unread(error) | Ended::Left(error) | Ended::Reset { error, .. } => {
            failure(&faults::RESET, format!("{at}: {error}"), Outcome::Reset)
        }
    }
}

/// Whether an attempt that ended so may be made once more. `is_begun`: some of it was sent.
fn again(ended: &Ended, is_harmless_twice: bool, is_begun: bool) -> Again {
    match ended {
        Ended::ClientGone | Ended::Refused(_) | Ended::Timeout | Ended::Late => Again::Never,
        Ended::Malformed(_) | Ended::Unsupported(_) => Again::Never,
        // RFC 9110 §9.2.2: the instance may be at work on it still.
        Ended::TryTimeout if is_harmless_twice => Again::Retry,
        Ended::TryTimeout => Again::Never,
        // RFC 9113 §8.7: whatever the request is, repeating it does no harm.
        Ended::Unread(_) => Again::Retry,
        Ended::Left(_) => Again::Stale,
        // RFC 9110 §9.2.2: repeated only if that does no harm, or if nothing of it was sent.
        Ended::Reset { .. } if !is_harmless_twice && is_begun => Again::Never,
        Ended::Reset { reused: true, .. } => Again::Stale,
        Ended::Reset { reused: false, .. } => Again::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::SLOW_BODY;

    fn error() -> std::io::Error {
        std::io::ErrorKind::ConnectionReset.into()
    }

    #[test]
    fn what_was_begun_and_does_harm_twice_is_made_again_only_if_the_service_says_that_it_did_not_look() {
        let ways = || {
            [
                Ended::ClientGone,
                Ended::Refused(SLOW_BODY.problem()),
                Ended::Timeout,
                Ended::TryTimeout,
                Ended::Late,
                Ended::Malformed("nonsense"),
                Ended::Unsupported("that"),
                Ended::Reset { reused: true, error: error() },
                Ended::Reset { reused: false, error: error() },
            ]
        };
        assert!(ways().iter().all(|ended| again(ended, false, true) == Again::Never));
        for unread in [Ended::Unread(error()), Ended::Left(error())] {
            assert!(again(&unread, false, true) != Again::Never);
        }
        // What does no harm is made again after what another try may do better, begun or not.
        for is_begun in [false, true] {
            let again: Vec<bool> = ways().iter().map(|ended| again(ended, true, is_begun) != Again::Never).collect();
            assert_eq!(again, [false, false, false, true, false, false, false, true, true]);
        }
        // And of what was not begun, what broke before it was.
        let unbegun: Vec<bool> = ways().iter().map(|ended| again(ended, false, false) != Again::Never).collect();
        assert_eq!(unbegun, [false, false, false, false, false, false, false, true, true]);
    }
}
