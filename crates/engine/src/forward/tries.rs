//! What may still be tried, when, and what is not: only what does no harm twice (RFC 9110 §9.2.2), within the retry budget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_config::model::RetryOn;
use tollgate_core::facts::{Address, Conn};
use tollgate_observe::metrics::Outcome;
use tollgate_upstream::Ask;
use tollgate_upstream::breaker::Pass;

use super::failure::{Again, Failure, ended_badly};
use super::{Upstream, start_over};
use crate::deployment::{Backend, Retrying};
use crate::http::attempt::Ended;
use crate::http::downstream::Client;
use crate::http::turn::Turn;
use crate::serve::Stop;

/// What may still be tried.
pub(super) struct Tries {
    /// Instances that were tried in vain. As little as can be: every idle client connection keeps room for it.
    tried: Box<[Address]>,
    left: u8,
    /// Retries that were made.
    made: u8,
    fresh: bool,
}

/// What follows a try.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing: it brought the answer.
    Done(Upstream),
    /// Another one, after this time.
    Again(Duration),
}

impl Tries {
    /// So many after the first.
    pub(super) fn new(left: u8) -> Self {
        Self { tried: Box::default(), left, made: 0, fresh: false }
    }

    /// Instances that were tried in vain.
    pub(super) fn tried(&self) -> &[Address] {
        &self.tried
    }

    /// What is asked of the service for the next one.
    pub(super) fn ask<'t, S>(
        &'t self,
        client: &Client<S>,
        turn: &Turn,
        key: Option<&'t [u8]>,
        told: Option<&'t Arc<Conn>>,
        deadline: Instant,
    ) -> Ask<'t> {
        Ask {
            worker: client.worker.index,
            key,
            client: told,
            tried: &self.tried,
            fresh: self.fresh,
            criticality: turn.x.criticality,
            only_once: !(turn.is_harmless_twice && turn.upload.can_repeat(turn.x.length)),
            trial: turn.pass.as_ref().and_then(Pass::round),
            now: client.now,
            deadline,
        }
    }

    /// What follows a try that was sent.
    pub(super) fn after<S>(
        &mut self,
        answered: Result<Upstream, Ended>,
        turn: &mut Turn,
        backend: &Backend,
        client: &mut Client<S>,
        due: Instant,
    ) -> Result<Next, Stop> {
        match answered {
            Ok(upstream) => match self.instead(&upstream, turn, backend, client, due) {
                None => Ok(Next::Done(upstream)),
                Some(wait) => {
                    give_up(upstream, turn, client.now);
                    start_over(turn);
                    Ok(Next::Again(wait))
                }
            },
            Err(ended) => {
                let failure = ended_badly(ended, turn, &backend.service, client.worker.index)?;
                self.another(failure, turn, backend, client, due)
            }
        }
    }

    /// Prepares another try after a failure, or gives up with its problem.
    pub(super) fn another<S>(
        &mut self,
        failure: Failure,
        turn: &mut Turn,
        backend: &Backend,
        client: &mut Client<S>,
        due: Instant,
    ) -> Result<Next, Stop> {
        backend.service.attempted(client.worker.index, failure.outcome);
        let repeatable = turn.upload.can_repeat(turn.x.length);
        // A connection that was new cannot have been stale: what that shows is trouble.
        let is_retry = failure.again == Again::Retry || self.fresh;
        let wait = match failure.again {
            Again::Never => None,
            Again::Stale | Again::Retry if is_retry => {
                let wanted = repeatable && backend.retrying.is_on(failure.outcome);
                let address = failure.address.clone();
                wanted.then(|| self.retry(address, None, backend, client, due)).flatten()
            }
            Again::Stale | Again::Retry => repeatable.then_some(Duration::ZERO),
        };
        let Some(wait) = wait else { return Err(Stop::Problem(failure.problem())) };
        // Whatever else rests there may be as dead.
        self.fresh = failure.again == Again::Stale || self.fresh;
        start_over(turn);
        Ok(Next::Again(wait))
    }

    /// Whether an answer that came is given up for another try; how long that waits.
    fn instead<S>(
        &mut self,
        upstream: &Upstream,
        turn: &Turn,
        backend: &Backend,
        client: &mut Client<S>,
        due: Instant,
    ) -> Option<Duration> {
        let (head, retrying) = (&turn.x.reply.head, &backend.retrying);
        // Most are well.
        if (head.status < 400 && !turn.is_grpc) || upstream.protocol.is_some() {
            return None;
        }
        if !turn.upload.can_repeat(turn.x.length) {
            return None;
        }
        let told = if retrying.is_on_status(head.status) && turn.is_harmless_twice {
            head.fields.get("retry-after").and_then(|value| retry_after(value, client))
        } else if retrying.is_on_unavailable() && is_unavailable(turn) {
            match head.fields.get("grpc-retry-pushback-ms") {
                // gRFC A6: what is no time from now on says that nothing is to be tried again.
                Some(value) => Some(pushback(value)?),
                None => None,
            }
        } else {
            return None;
        };
        self.retry(turn.x.trail.instance.clone(), told, backend, client, due)
    }

    /// Takes a retry, if there is one left and the budget, the time and the breaker allow it.
    fn retry<S>(
        &mut self,
        failed: Option<Address>,
        told: Option<Duration>,
        backend: &Backend,
        client: &mut Client<S>,
        due: Instant,
    ) -> Option<Duration> {
        let (service, now) = (&backend.service, client.look());
        if self.left == 0 || service.breaker().is_some_and(|breaker| !breaker.is_closed()) {
            return None;
        }
        self.tried = std::mem::take(&mut self.tried).into_iter().chain(failed).collect();
        let wait = match told {
            Some(told) => told,
            None if self.made == 0 && service.has_another(&self.tried, now) => Duration::ZERO,
            None => backend.retrying.wait(self.made, fastrand::f64()),
        };
        if now + wait >= due || !service.may_retry(now) {
            return None;
        }
        (self.left, self.made) = (self.left - 1, self.made + 1);
        service.metrics().shard(client.worker.index).retry();
        Some(wait)
    }
}

/// Whether a call of gRPC ended with `UNAVAILABLE`, and without a message: trailers are all that came.
fn is_unavailable(turn: &Turn) -> bool {
    let head = &turn.x.reply.head;
    let says_so = turn.is_grpc && head.status == 200 && head.fields.get("grpc-status") == Some(b"14".as_slice());
    says_so && turn.download.has_arrived()
}

/// How long to wait, as a service of gRPC says (gRFC A6).
fn pushback(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse::<u32>().ok().map(|millis| Duration::from_millis(millis.into()))
}

/// An answer that something else takes the place of. A connection that is through with it, and with the request, stays of use: what is
/// missing of a request would be taken from the next one.
pub(crate) fn give_up(upstream: Upstream, turn: &mut Turn, now: Instant) {
    let head = &turn.x.reply.head;
    let has_rest = head.fields.buffer.len() > head.fields.head_len;
    let is_sent = turn.request_head.is_out() && turn.upload.is_done();
    if upstream.keep_alive && is_sent && turn.download.has_arrived() {
        upstream.line.release(!has_rest, now);
    }
}

impl Retrying {
    /// Whether attempts that ended so are tried again.
    fn is_on(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::ConnectFailed => self.on.contains(&RetryOn::Connect),
            Outcome::Timeout => self.on.contains(&RetryOn::Timeout),
            Outcome::Reset => self.on.contains(&RetryOn::Reset),
            Outcome::Ok | Outcome::RefusedByLimit | Outcome::Cancelled => false,
        }
    }

    /// Whether calls of gRPC are that ended with `UNAVAILABLE`.
    pub(super) fn is_on_unavailable(&self) -> bool {
        self.on.contains(&RetryOn::Unavailable)
    }

    /// Whether answers of this status are.
    pub(super) fn is_on_status(&self, status: u16) -> bool {
        let is_one = |on: &RetryOn| matches!(on, RetryOn::Status(range) if (range.from..=range.to).contains(&status));
        self.on.iter().any(is_one)
    }

    /// How long a retry waits before which `made` others were made; `chance`: from 0 to 1.
    fn wait(&self, made: u8, chance: f64) -> Duration {
        let most = self.backoff.saturating_mul(2_u32.saturating_pow(made.into())).min(self.longest);
        most.mul_f64(chance)
    }
}

/// How long to wait, as the service says: seconds, or a date (RFC 9110 §10.2.3). `None`: it says nothing that can be understood.
fn retry_after<S>(value: &[u8], client: &Client<S>) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(client.worker.clock.unix()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_config::model::StatusRange;

    fn retrying(on: &[RetryOn]) -> Retrying {
        let (backoff, longest) = (Duration::from_millis(25), Duration::from_millis(250));
        Retrying { on: on.into(), backoff, longest, knows_keys: false }
    }

    #[test]
    fn waits_grow_and_are_left_to_chance() {
        let retrying = retrying(&[]);
        let most: Vec<u128> = (0..6).map(|made| retrying.wait(made, 1.0).as_millis()).collect();
        assert_eq!(most, [25, 50, 100, 200, 250, 250]);
        assert_eq!(retrying.wait(3, 0.0), Duration::ZERO);
        assert_eq!(retrying.wait(40, 0.5), Duration::from_millis(125));
    }

    #[test]
    fn what_pushes_back_without_a_time_ends_it() {
        assert_eq!(pushback(b"250"), Some(Duration::from_millis(250)));
        for none in ["-1", "", "x", "1.5", "+1", "99999999999"] {
            assert_eq!(pushback(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn what_is_not_named_is_not_tried_again() {
        let own = retrying(&[RetryOn::Connect, RetryOn::Status(StatusRange { from: 502, to: 504 })]);
        assert!(own.is_on(Outcome::ConnectFailed) && !own.is_on(Outcome::Reset) && !own.is_on(Outcome::Timeout));
        assert!(own.is_on_status(503) && !own.is_on_status(500) && !own.is_on_status(200));
    }
}
