//! What takes the place of an answer that a service has not, or whose status the file names: another service, or an answer written in
//! the file.
//!
//! What has begun is never replaced.

use tollgate_config::model::FallbackOn;
use tollgate_core::problem::{Fault, Problem, Side};
use tollgate_plan::{Captures, Fallback, Fixed, Instead, Proxy, RoutePlan};
use tollgate_upstream::faults;

use crate::deployment::{Backend, Deployment};
use crate::forward::{self, Transit};
use crate::http::downstream::{Client, Downstream};
use crate::http::request_head::Way;
use crate::http::turn::Turn;
use crate::respond;
use crate::serve::Stop;

/// Sends the request on, and helps itself if that brings no answer.
pub(crate) async fn forward<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    proxy: &Proxy,
    captures: &Captures,
) -> Result<Transit, Stop> {
    // A rehearsal always comes to the same.
    let random = || if d.stand_in.is_some() { 0 } else { fastrand::u32(..) };
    let backend = proxy.target(random).and_then(|service| d.backends.get(service.slot));
    let Some(backend) = backend else { return Err(faults::NO_INSTANCE.problem().into()) };
    // Nothing of this request was sent, whatever stands there from one before.
    turn.request_head.clear();
    turn.was_begun = false;
    let answered = forward::forward(client, turn, d, route, proxy, captures, backend).await;
    let Some(fallback) = proxy.fallback.or(backend.fallback.as_ref()) else { return answered };
    let why = match answered {
        Err(Stop::Problem(problem)) if problem.fault.side == Side::Upstream && is_on(fallback, problem.fault) => {
            Why::None(problem)
        }
        Ok(Transit::Upstream) if is_on_answer(fallback, turn) => Why::Answer(turn.x.reply.head.status),
        other => return other,
    };
    // Boxed: it is rare, and every other exchange would keep room for it.
    Box::pin(replaced(client, turn, Way { d, route, proxy, captures, backend }, fallback, why)).await
}

/// Something takes the place of the answer, if it may.
async fn replaced<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    way: Way<'_>,
    fallback: &Fallback,
    why: Why,
) -> Result<Transit, Stop> {
    let Way { d, route, proxy, captures, backend } = way;
    // Nobody waits any more for what a stand-in would answer.
    if turn.x.deadline.is_some_and(|deadline| deadline <= client.look()) {
        return why.stays();
    }
    match &fallback.instead {
        // RFC 8441 §5: a 2xx to such a request would open a tunnel to nowhere. And callers of gRPC want its status.
        Instead::Fixed(_) if turn.connects || turn.is_grpc => why.stays(),
        Instead::Fixed(fixed) => {
            backend.service.metrics().watch().fell_back();
            Ok(written(client, turn, route, fixed, why))
        }
        Instead::Service(service) => match d.backends.get(service.slot) {
            Some(stand_in) if may_go_elsewhere(turn) => {
                let stood_in = prepare(client, turn, backend, why);
                let answered = forward::forward(client, turn, d, route, proxy, captures, stand_in).await;
                answered.map_err(|stop| both_failed(stop, &stood_in))
            }
            _ => why.stays(),
        },
    }
}

/// Why something takes the place of a service's answer.
enum Why {
    /// There is none.
    None(Problem),
    /// It has this status.
    Answer(u16),
}

impl Why {
    /// Nothing takes its place.
    fn stays(self) -> Result<Transit, Stop> {
        match self {
            Self::None(problem) => Err(problem.into()),
            Self::Answer(_) => Ok(Transit::Upstream),
        }
    }
}

/// Whether it is for what this says.
fn is_on(fallback: &Fallback, fault: &'static Fault) -> bool {
    let is = |other: &Fault| std::ptr::eq(fault, other);
    let kind = if is(&faults::TIMEOUT) {
        FallbackOn::Timeout
    } else if is(&faults::BREAKER_OPEN) {
        FallbackOn::Breaker
    } else if [&faults::LIMIT, &faults::RATE, &faults::OVERLOADED].into_iter().any(is) {
        FallbackOn::Limit
    } else if [&faults::RESET, &faults::INVALID_ANSWER, &faults::PROTOCOL].into_iter().any(is) {
        FallbackOn::Reset
    } else {
        // Nothing was sent: there is no instance, or no connection, or what it would have to be told of the caller cannot be had.
        FallbackOn::Connect
    };
    fallback.on.contains(&kind)
}

/// Whether it is for the answer that came, whose body has not begun.
fn is_on_answer(fallback: &Fallback, turn: &Turn) -> bool {
    let changes = turn.upstream.as_ref().is_none_or(|upstream| upstream.protocol.is_some());
    !changes && fallback.is_on_status(turn.x.reply.head.status)
}

/// An answer of the file takes the place.
fn written<S>(client: &mut Client<S>, turn: &mut Turn, route: &RoutePlan, fixed: &Fixed, why: Why) -> Transit {
    match why {
        Why::None(problem) => {
            respond::blame(turn, route, problem);
        }
        Why::Answer(status) => {
            turn.x.trail.cause = Some(format!("in place of an answer of {status}"));
            leave(client, turn);
        }
    }
    turn.x.reply = respond::fixed(fixed);
    Transit::Own
}

/// The answer that came is not used.
fn leave<S>(client: &mut Client<S>, turn: &mut Turn) {
    if let Some(upstream) = turn.upstream.take() {
        forward::give_up(upstream, turn, client.look());
    }
}

/// Whether another service may be sent what this one may have taken already (RFC 9110 §9.2.2).
fn may_go_elsewhere(turn: &Turn) -> bool {
    let is_safe = turn.x.head.method.is_idempotent() || !(turn.was_begun || turn.request_head.is_begun());
    is_safe && turn.upload.can_repeat(turn.x.length)
}

/// Makes the request ready to go to another service; what was wrong is kept for the log, and given back.
fn prepare<S>(client: &mut Client<S>, turn: &mut Turn, backend: &Backend, why: Why) -> String {
    backend.service.metrics().watch().fell_back();
    let name = backend.service.name();
    let stood_in = match why {
        Why::Answer(status) => {
            leave(client, turn);
            format!("in place of {name}: an answer of {status}")
        }
        Why::None(problem) => match &problem.cause {
            Some(cause) => format!("in place of {name}: {}: {cause}", problem.fault.slug),
            None => format!("in place of {name}: {}", problem.fault.slug),
        },
    };
    turn.x.trail.cause = Some(stood_in.clone());
    forward::start_over(turn);
    stood_in
}

/// What stood in brought no answer either: the log tells of both.
fn both_failed(stop: Stop, stood_in: &str) -> Stop {
    match stop {
        Stop::Problem(problem) => {
            let cause = match &problem.cause {
                Some(cause) => format!("{cause}; {stood_in}"),
                None => stood_in.to_owned(),
            };
            Stop::Problem(problem.cause(cause))
        }
        Stop::ClientGone => Stop::ClientGone,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tollgate_core::clock::Clock;
    use tollgate_core::facts::{Conn, Route};
    use tollgate_core::head::Method;

    use super::*;

    #[test]
    fn what_was_sent_once_goes_elsewhere_only_if_it_does_no_harm_twice_whatever_was_sent_last() {
        let (conn, route) = (Arc::new(Conn::by_unix_socket(0)), Arc::new(Route::new("", "r")));
        let mut turn = Turn::take(&conn, &route, Clock::real().now());
        for (method, is_idempotent) in [
            (Method::Get, true),
            (Method::Put, true),
            (Method::Delete, true),
            (Method::Post, false),
            (Method::Patch, false),
        ] {
            for (was_begun, is_begun) in [(false, false), (true, false), (false, true), (true, true)] {
                turn.x.head.method = method;
                turn.was_begun = was_begun;
                turn.request_head.clear().extend_from_slice(b"POST / HTTP/1.1");
                is_begun.then(|| turn.request_head.set_out());
                // The service may do it once for a key; another service knows nothing of that.
                turn.is_harmless_twice = true;
                assert_eq!(may_go_elsewhere(&turn), is_idempotent || !(was_begun || is_begun), "{method:?}");
                // A try that wrote nothing does not make one before it undone.
                forward::start_over(&mut turn);
                turn.request_head.clear();
                assert_eq!(may_go_elsewhere(&turn), is_idempotent || !(was_begun || is_begun), "{method:?}");
            }
        }
    }
}
