//! What is learnt from an attempt: how fast the instance answers, how busy it says it is, and that a client stays with it.

use std::time::{Duration, Instant};

use tollgate_core::body::Length;
use tollgate_core::facts::Address;
use tollgate_upstream::balance::ewma::Took;
use tollgate_upstream::{Connection, Lesson, Service};

use crate::deployment::{Backend, StickyCookie};
use crate::forward::Upstream;
use crate::forward::verdict::told_status;
use crate::http::attempt::Ended;
use crate::http::downstream::Client;
use crate::http::reports::Reports;
use crate::http::turn::Turn;

/// An attempt is sent on this connection.
pub(super) fn begin<S>(
    connection: &Connection,
    client: &mut Client<S>,
    turn: &mut Turn,
    service: &Service,
) -> Option<Lesson> {
    let lesson = service.lesson(connection, || client.look());
    if lesson.is_some() {
        turn.body_out = None;
    }
    lesson
}

/// It ended like this. What a client is at fault for tells nothing.
pub(super) fn end<S>(
    lesson: Option<Lesson>,
    answered: &Result<Upstream, Ended>,
    client: &mut Client<S>,
    turn: &mut Turn,
    backend: &Backend,
) {
    let Some(lesson) = lesson else { return };
    let now = client.look();
    // How long a client takes to send is its own affair.
    let from = if turn.x.length == Length::None { Some(lesson.sent()) } else { turn.body_out };
    let took = from.map(|from| now.saturating_duration_since(from));
    let how = match answered {
        Ok(_) if is_failure(told_status(&turn.x.reply.head, turn.is_grpc)) => {
            Some(Took::Failed(took.unwrap_or(Duration::ZERO)))
        }
        Ok(_) => took.map(Took::Answered),
        Err(ended) => without_answer(ended, took),
    };
    if let Some(how) = how {
        backend.service.learn(&lesson, how, now);
    }
    if answered.is_ok() && backend.service.reporting().is_some() {
        let reports = Reports::new(&backend.service, lesson, backend.reports);
        reports.read(&mut turn.x.reply.head.fields);
        turn.download.report_to(Box::new(reports));
    }
}

/// The same of one that another was made beside of.
pub(super) fn failed<S>(lesson: Option<Lesson>, ended: &Ended, client: &mut Client<S>, service: &Service) {
    let Some(lesson) = lesson else { return };
    let now = client.look();
    if let Some(how) = without_answer(ended, Some(now.saturating_duration_since(lesson.sent()))) {
        service.learn(&lesson, how, now);
    }
}

/// Its answer came then, and another one is used.
pub(super) fn passed_over(lesson: Option<Lesson>, status: u16, service: &Service, came: Instant) {
    let Some(lesson) = lesson else { return };
    let took = came.saturating_duration_since(lesson.sent());
    service.learn(&lesson, if is_failure(status) { Took::Failed(took) } else { Took::Answered(took) }, came);
}

/// Nobody waits for its answer any more.
pub(super) fn given_up(lesson: Option<Lesson>, service: &Service, now: Instant) {
    let Some(lesson) = lesson else { return };
    service.learn(&lesson, Took::AtLeast(now.saturating_duration_since(lesson.sent())), now);
}

fn without_answer(ended: &Ended, took: Option<Duration>) -> Option<Took> {
    match ended {
        ended if ended.tells_of_the_instance() => Some(Took::Failed(took.unwrap_or(Duration::ZERO))),
        Ended::ClientGone | Ended::Late => took.map(Took::AtLeast),
        _ => None,
    }
}

/// Whether an answer says that the instance cannot do its work. What it does not know how to do (501, 505), no other one does.
fn is_failure(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 505)
}

/// The cookie of a client that stays with an instance; services do not get it.
pub(super) fn cookie(turn: &mut Turn, sticky: &StickyCookie) -> Option<Vec<u8>> {
    let name = sticky.name(turn.x.scheme);
    let cookie = turn.x.head.cookie(name).map(|cookie| cookie.as_bytes().to_vec());
    if cookie.is_some() {
        turn.x.head.remove_cookies(name);
    }
    cookie
}

/// Has the client stay with the instance that answered, if it does not already, or cannot any more.
pub(super) fn stay(turn: &mut Turn, backend: &Backend, cookie: Option<&[u8]>, tried: &[Address], now: Instant) {
    let (Some(sticky), Some(instance)) = (&backend.sticky, &turn.x.trail.instance) else { return };
    let Some(says) = backend.service.stays(cookie, instance, tried, now) else { return };
    let age = sticky.max_age.map_or_else(String::new, |most| format!("; Max-Age={}", most.as_secs()));
    let secure = if turn.x.scheme == "https" { "; Secure" } else { "" };
    let line = format!("{}={says}; Path=/{age}; HttpOnly; SameSite=Lax{secure}", sticky.name(turn.x.scheme));
    turn.x.reply.head.fields.add("Set-Cookie", line);
}
