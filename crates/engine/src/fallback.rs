//! What takes the place of an answer that a service has not: another service, or an answer written in the file.
//!
//! Only of one that cannot be had. What a service answers is its answer, whatever the status, and what has begun is never
//! replaced.

use tollgate_core::problem::{Problem, Side};
use tollgate_plan::{Captures, Fallback, Proxy, RoutePlan};
use tollgate_upstream::faults;

use crate::deployment::{Backend, Deployment};
use crate::forward::{self, Transit};
use crate::http::downstream::{Client, Downstream};
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
    let problem = match forward::forward(client, turn, d, route, proxy, captures, backend).await {
        Err(Stop::Problem(problem)) if problem.fault.side == Side::Upstream => problem,
        other => return other,
    };
    match proxy.fallback.or(backend.fallback.as_ref()) {
        None => Err(problem.into()),
        // Nobody waits any more for what a stand-in would answer.
        Some(_) if turn.x.deadline.is_some_and(|deadline| deadline <= client.look()) => Err(problem.into()),
        // RFC 8441 §5: a 2xx to such a request would open a tunnel to nowhere. And callers of gRPC want its status.
        Some(Fallback::Fixed(_)) if turn.connects || turn.is_grpc => Err(problem.into()),
        Some(Fallback::Fixed(fixed)) => {
            backend.service.metrics().watch().fell_back();
            respond::blame(turn, route, problem);
            turn.x.reply = respond::fixed(fixed);
            Ok(Transit::Own)
        }
        Some(Fallback::Service(service)) => match d.backends.get(service.slot) {
            Some(stand_in) if may_go_elsewhere(turn) => {
                let stood_in = prepare(turn, backend, problem);
                // Boxed: it is rare, and every other exchange would keep room for it.
                let answered = Box::pin(forward::forward(client, turn, d, route, proxy, captures, stand_in)).await;
                answered.map_err(|stop| both_failed(stop, &stood_in))
            }
            _ => Err(problem.into()),
        },
    }
}

/// Whether another service may be sent what this one may have taken already (RFC 9110 §9.2.2).
fn may_go_elsewhere(turn: &Turn) -> bool {
    let is_safe = turn.x.head.method.is_idempotent() || !(turn.was_begun || turn.request_head.is_begun());
    is_safe && turn.upload.can_repeat(turn.x.length)
}

/// Makes the request ready to go to another service; what was wrong is kept for the log, and given back.
fn prepare(turn: &mut Turn, backend: &Backend, problem: Problem) -> String {
    backend.service.metrics().watch().fell_back();
    let (name, slug) = (backend.service.name(), problem.fault.slug);
    let stood_in = match &problem.cause {
        Some(cause) => format!("in place of {name}: {slug}: {cause}"),
        None => format!("in place of {name}: {slug}"),
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
