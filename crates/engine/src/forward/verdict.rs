//! What becomes known by an attempt: of its instance, and of the service as a whole.

use std::time::Instant;

use tollgate_core::body::Length;
use tollgate_core::head::ReplyHead;
use tollgate_observe::metrics::Outcome;
use tollgate_upstream::breaker::Pass;
use tollgate_upstream::outlier::{Judged, Verdict};
use tollgate_upstream::{Connection, Lesson, Refusal, Service};

use super::Upstream;
use super::failure::left_alone;
use super::learning;
use crate::http::attempt::Ended;
use crate::http::downstream::Client;
use crate::http::request_head::Way;
use crate::http::turn::Turn;
use crate::serve::Stop;

/// The right to make an attempt, if the service has a breaker.
pub(super) fn pass(service: &Service, now: Instant) -> Result<Option<Pass>, Stop> {
    service.breaker().map(|breaker| breaker.enter(now).map_err(left_alone)).transpose()
}

/// Whether the service may be sent anything at all: asked before something that takes time, and without taking a trial's place.
pub(super) fn look(service: &Service, now: Instant) -> Result<(), Stop> {
    service.breaker().map_or(Ok(()), |breaker| breaker.look(now).map_err(left_alone))
}

/// The connection that was waited for, if the breaker lets the attempt through still.
pub(super) fn still<S>(
    connected: Result<Connection, Refusal>,
    client: &mut Client<S>,
    turn: &mut Turn,
    service: &Service,
) -> Result<Connection, Refusal> {
    let Some(breaker) = service.breaker().filter(|_| turn.pass.as_ref().is_some_and(|pass| !pass.is_current())) else {
        return connected;
    };
    let (connection, now) = (connected?, client.look());
    match breaker.enter(now) {
        Ok(pass) => {
            turn.pass = Some(pass);
            Ok(connection)
        }
        Err(open) => {
            turn.permit = None;
            if let Connection::Whole(whole) = connection {
                whole.release(now);
            }
            Err(Refusal::LeftAlone(open))
        }
    }
}

/// An attempt that goes out: who is judged by it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    judged: Option<Judged>,
    /// When it went out, if it matters how long an answer takes.
    at: Option<Instant>,
    /// What is learnt from it.
    lesson: Option<Lesson>,
}

impl Sent {
    /// On this connection, now.
    pub(super) fn on<S>(connection: &Connection, client: &mut Client<S>, turn: &mut Turn, way: Way<'_>) -> Self {
        turn.x.trail.instance = Some(connection.address().clone());
        let service = &way.backend.service;
        // How long a client takes to send is its own affair.
        let is_timed = turn.x.length == Length::None && (service.times_answers() || way.proxy.hedge.is_some());
        let lesson = learning::begin(connection, client, turn, service);
        Self { judged: service.judged(connection), at: is_timed.then(|| client.look()), lesson }
    }

    /// How it went.
    pub(super) fn tell<S>(
        mut self,
        answered: &Result<Upstream, Ended>,
        client: &mut Client<S>,
        turn: &mut Turn,
        way: Way<'_>,
    ) {
        learning::end(self.lesson.take(), answered, client, turn, way.backend);
        match answered {
            Ok(_) => self.answered(client, turn, way),
            Err(ended) => {
                // Unless something is told, it counts for nothing.
                let pass = turn.pass.take();
                self.failed(ended, client, &way.backend.service);
                if let Some(pass) = pass.filter(|_| ended.tells_of_the_instance()) {
                    pass.told(Verdict::Failed, client.now);
                }
            }
        }
    }

    /// The head of an answer came.
    fn answered<S>(self, client: &mut Client<S>, turn: &mut Turn, way: Way<'_>) {
        let service = &way.backend.service;
        service.attempted(client.worker.index, Outcome::Ok);
        let now = client.look();
        let (status, took) =
            (told_status(&turn.x.reply.head, turn.is_grpc), self.at.map(|at| now.saturating_duration_since(at)));
        service.judge_answer(self.judged.as_ref(), status, took, now);
        if let Some(pass) = turn.pass.take() {
            pass.answered(status, took, now);
        }
        if let (Some(hedge), Some(took)) = (&way.proxy.hedge, took) {
            hedge.took(took);
        }
    }

    /// None came: what that says of the instance.
    pub(super) fn failed<S>(self, ended: &Ended, client: &mut Client<S>, service: &Service) {
        learning::failed(self.lesson, ended, client, service);
        if ended.tells_of_the_instance() {
            service.judge(self.judged.as_ref(), Verdict::Failed, client.look());
        }
    }

    /// Its answer came then, and that of another is used.
    pub(super) fn passed_over(self, status: u16, came: Instant, way: Way<'_>) {
        let service = &way.backend.service;
        let took = self.at.map(|at| came.saturating_duration_since(at));
        service.judge_answer(self.judged.as_ref(), status, took, came);
        learning::passed_over(self.lesson, status, service, came);
        if let (Some(hedge), Some(took)) = (&way.proxy.hedge, took) {
            hedge.took(took);
        }
    }

    /// Its answer is not waited for any more: another one was there before.
    pub(super) fn given_up(self, now: Instant, way: Way<'_>) {
        self.took_at_least(now, way);
        learning::given_up(self.lesson, &way.backend.service, now);
    }

    /// Hedges go by how long answers take, also by those that nobody waited for: else the quick ones alone would be known.
    pub(super) fn took_at_least(&self, now: Instant, way: Way<'_>) {
        if let (Some(hedge), Some(at)) = (&way.proxy.hedge, self.at) {
            hedge.took(now.saturating_duration_since(at));
        }
    }
}

/// There was no connection.
pub(super) fn refused<S>(refusal: &Refusal, client: &mut Client<S>, turn: &mut Turn, service: &Service) {
    let now = client.look();
    service.judge_refusal(refusal, now);
    let pass = turn.pass.take();
    // What the gateway itself has no room or time for says nothing of the service.
    if let Some(pass) = pass.filter(|_| refusal.is_of_an_instance()) {
        pass.told(Verdict::Failed, now);
    }
}

/// The status of an answer; that of gRPC, where there is no message, as the one of HTTP that is nearest to it.
pub(crate) fn told_status(head: &ReplyHead, is_grpc: bool) -> u16 {
    if !is_grpc || head.status != 200 {
        return head.status;
    }
    match head.fields.get("grpc-status") {
        Some(b"14") => 503,
        Some(b"4") => 504,
        Some(b"2" | b"13" | b"15") => 500,
        _ => 200,
    }
}
