//! One try at one instance: the request goes up, the head of the answer comes down, both at once.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tollgate_core::body::{Body, Length, RecodeError};
use tollgate_core::field::Known;
use tollgate_core::problem::Problem;
use tollgate_http1::faults::{BODY_TOO_LARGE, MALFORMED};
use tollgate_http1::transfer::{Bad, Outflow};
use tollgate_observe::metrics::Outcome;
use tollgate_plan::RoutePlan;
use tollgate_plan::faults::NOT_FOUND;
use tollgate_upstream::Connection;

use crate::deployment::Deployment;
use crate::faults::{BODY_TIMEOUT, SLOW_BODY};
use crate::forward::Upstream;
use crate::http::downstream::{Client, Downstream, Gone};
use crate::http::line::Line;
use crate::http::pump::{BodyLimits, Broken, Pump};
use crate::http::turn::Turn;
use crate::http::websocket;
use crate::pace;
use crate::recall::{Came, Watch};

/// Most interim answers before the final one; more is no good faith.
pub(crate) const MOST_INTERIM: u32 = 16;

/// How a try ended without an answer.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client hung up.
    ClientGone,
    /// The client's body is at fault.
    Refused(Problem),
    /// Too late.
    Timeout,
    /// Too late for this try; there is time for another.
    TryTimeout,
    /// What came is no answer.
    Malformed(&'static str),
    /// The instance does not do what was asked of it.
    Unsupported(&'static str),
    /// The instance did not look at the request: it takes no more at a time (RFC 9113 §8.7).
    Unread(io::Error),
    /// The instance did not look at the request: it leaves the connection.
    Left(io::Error),
    /// What the client, or the route's `total`, allowed for all of the exchange is over. That says nothing of the instance.
    Late,
    /// The connection ended before the answer's head.
    Reset {
        /// Whether it had carried requests before.
        reused: bool,
        /// What happened.
        error: io::Error,
    },
}

impl Ended {
    /// How the attempt is counted.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::ClientGone | Self::Refused(_) => Outcome::Cancelled,
            Self::Timeout | Self::TryTimeout | Self::Late => Outcome::Timeout,
            Self::Malformed(_) | Self::Unsupported(_) | Self::Unread(_) | Self::Left(_) | Self::Reset { .. } => {
                Outcome::Reset
            }
        }
    }

    /// Whether it says something of the instance. What was wrong with the client, or with a connection that had rested,
    /// does not.
    pub(crate) fn tells_of_the_instance(&self) -> bool {
        match self {
            // An instance that takes no more streams, or leaves, says so in good order.
            Self::ClientGone | Self::Refused(_) | Self::Late => false,
            Self::Unread(_) | Self::Left(_) | Self::Reset { reused: true, .. } => false,
            // What the instance does not know how to do, it may do well without.
            Self::Unsupported(_) => false,
            Self::Timeout | Self::TryTimeout | Self::Malformed(_) | Self::Reset { reused: false, .. } => true,
        }
    }
}

enum Event {
    Interim,
    Final,
}

impl Event {
    fn is_interim(&self) -> bool {
        matches!(self, Self::Interim)
    }
}

/// The protocol that was asked for, if the head that came agrees to it.
fn agreed(turn: &mut Turn, line: &mut Line, is_interim: bool) -> Result<Option<Bytes>, &'static str> {
    let Some(asked) = turn.upgrade.clone() else { return Ok(None) };
    if !is_interim && line.agrees(turn.x.reply.head.status) {
        websocket::prove(turn);
        return Ok(Some(asked));
    }
    let head = &turn.x.reply.head;
    let told = head.fields.known(Known::Upgrade).filter(|_| is_interim && head.status == 101);
    match told.is_some_and(|told| told.eq_ignore_ascii_case(&asked)) {
        true => websocket::check(turn, &asked).map(|()| Some(asked)),
        false => Ok(None),
    }
}

/// Until when an exchange's answer is waited for, over all tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// The next deadline.
    pub(crate) at: Instant,
    /// It is for good: all of the request's body was out once.
    is_final: bool,
}

impl Due {
    /// The answer is due then, unless the request's body takes time.
    pub(crate) fn new(at: Instant) -> Self {
        Self { at, is_final: false }
    }
}

/// Whether the service saw nothing of this request, and said nothing.
fn is_untouched(turn: &Turn) -> bool {
    !turn.request_head.is_begun() && turn.x.reply.head.fields.buffer.is_empty()
}

/// What is known while waiting for the head.
struct Waiting<'d> {
    /// The upstream takes no more of the body; an early answer may still come.
    upload_error: Option<io::Error>,
    due: &'d mut Due,
    /// When this try is over, once the request is out.
    try_end: Option<Instant>,
    moves: u64,
    /// All of the request is out.
    upload: Upload,
    interims: u32,
    /// The head that came is still to be looked at.
    has_come: bool,
    watch: Watch<'d>,
}

/// Whether the request is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Running,
    Over,
}

/// From where an attempt goes on.
#[derive(Debug)]
pub(crate) enum Start {
    /// Nothing was sent yet.
    Connection(Connection),
    /// A request without a body is out on this line, and the head that came, which is no interim one, is in `turn.x.reply`, to be looked at.
    Answered(Line),
}

/// Sends the request whose head was written and waits for the head of the answer.
pub(crate) async fn attempt<'d, S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    start: Start,
    d: &'d Deployment,
    route: &'d RoutePlan,
    due: &'d mut Due,
) -> Result<Upstream, Ended> {
    let has_come = matches!(start, Start::Answered(_));
    let mut line = match start {
        Start::Connection(Connection::Whole(whole)) => Line::whole(whole),
        // Boxed: whoever speaks HTTP/1.1 does not keep room for it.
        Start::Connection(Connection::Shared(share)) => Box::pin(Line::share(share, turn, due.at)).await?,
        Start::Answered(line) => line,
    };
    turn.upload.send_as(match turn.upload.outgoing(turn.x.length) {
        Length::Chunked => Outflow::Chunked,
        _ => Outflow::Plain,
    });
    let try_end = turn.try_timeout.filter(|_| turn.x.length == Length::None).map(|most| client.look() + most);
    if turn.x.length != Length::None && !turn.verdict.expects_continue && !due.is_final {
        // A body takes its own time, from the first moment on.
        due.at = due.at.max(turn.x.by(client.look() + route.bounds.idle));
    }
    let (moves, upload) = (turn.upload.moves, Upload::Running);
    let watch = Watch::new(&d.recall, route, client.now);
    let mut waiting = Waiting { upload_error: None, due, try_end, moves, upload, interims: 0, has_come, watch };
    loop {
        let event = match std::mem::take(&mut waiting.has_come) {
            false => poll_fn(|cx| waiting.poll(cx, client, turn, &mut line, d, route)).await,
            true => poll_fn(|cx| Poll::Ready(waiting.come(cx, client, turn, &mut line))).await,
        };
        if let Err(Ended::Timeout | Ended::TryTimeout) = event {
            line.suspect();
        }
        if matches!(event, Err(Ended::Refused(_))) && is_untouched(turn) {
            // Whoever sends nonsense costs the service no connection.
            line.release(true, client.now);
            return event.map_or_else(Err, |_| Err(Ended::ClientGone));
        }
        let event = event?;
        let verdict = line.judge(&mut turn.x.reply.head, turn.x.head.method).map_err(Ended::Malformed)?;
        if let Some(protocol) = agreed(turn, &mut line, event.is_interim()).map_err(Ended::Malformed)? {
            // RFC 9110 §15.2.2: from here on the connection, or the stream, speaks what was agreed.
            let told = Length::None;
            return Ok(Upstream { line, told, keep_alive: false, upload_dead: false, protocol: Some(protocol) });
        }
        if turn.connects && (200..300).contains(&turn.x.reply.head.status) {
            return Err(Ended::Malformed("a 2xx instead of a change of protocol"));
        }
        match event {
            Event::Final => {
                let limits =
                    BodyLimits { content: u64::MAX, trailer: d.rules.heads.head, trailer_fields: d.rules.heads.fields };
                turn.download = Pump::new(verdict.length, limits, turn.x.reply.head.fields.head_len);
                turn.x.reply.body = Body::Wire(verdict.length);
                let upload_dead = waiting.upload_error.is_some();
                let keep_alive = verdict.keep_alive && !upload_dead;
                return Ok(Upstream { line, told: verdict.told, keep_alive, upload_dead, protocol: None });
            }
            Event::Interim => {
                // Boxed: every idle connection would else keep room for it.
                let passed_on = Box::pin(interim(client, turn, &mut waiting, &mut line));
                tokio::time::timeout(route.bounds.idle, passed_on).await.unwrap_or(Err(Ended::ClientGone))?;
            }
        }
    }
}

impl Waiting<'_> {
    /// The head is there already; the request's body, which is none, is through.
    fn come<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        line: &mut Line,
    ) -> Result<Event, Ended> {
        turn.request_head.set_out();
        self.poll_upload(cx, client, turn, line)?;
        Ok(Event::Final)
    }

    fn poll<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        line: &mut Line,
        d: &Deployment,
        route: &RoutePlan,
    ) -> Poll<Result<Event, Ended>> {
        self.poll_upload(cx, client, turn, line)?;
        match self.poll_head(cx, turn, line, d) {
            Poll::Ready(Ok(())) if turn.x.reply.head.status < 200 => return Poll::Ready(Ok(Event::Interim)),
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(Event::Final)),
            Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
            Poll::Pending => {}
        }
        if turn.upload.has_arrived() && client.side.is_gone(cx, turn) {
            return Poll::Ready(Err(Ended::ClientGone));
        }
        self.poll_time(cx, client, turn, line, d, route)
    }

    fn poll_upload<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        line: &mut Line,
    ) -> Result<(), Ended> {
        let is_out = turn.upload.is_done() && turn.request_head.is_out();
        if is_out || self.upload_error.is_some() {
            return Ok(());
        }
        let buffer = &mut turn.x.head.fields.buffer;
        let sink = line.sink(&mut turn.request_head);
        match turn.upload.poll(cx, client.side.source(), buffer, sink) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            // It may have answered before it stopped reading: RFC 9112 §9.5 asks to look.
            Poll::Ready(Err(Broken::Sink(error))) => {
                self.upload_error = Some(error);
                Ok(())
            }
            Poll::Ready(Err(Broken::CutShort | Broken::Source(_))) => Err(Ended::ClientGone),
            Poll::Ready(Err(Broken::Bad(bad))) => Err(Ended::Refused(body_problem(bad))),
            Poll::Ready(Err(Broken::Recode(error, problem))) => Err(Ended::Refused(recode_problem(error, problem))),
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        line: &mut Line,
        d: &Deployment,
    ) -> Poll<Result<(), Ended>> {
        match ready!(line.poll_head(cx, &mut turn.x.reply.head, &d.rules.heads)) {
            // Why it took no more of the body says more than that it closed.
            Err(Ended::Reset { reused, error }) => {
                Poll::Ready(Err(Ended::Reset { reused, error: self.upload_error.take().unwrap_or(error) }))
            }
            read => Poll::Ready(read),
        }
    }

    /// While the body is still coming, every movement gives it the route's `idle` time; once it is out, the time for the
    /// answer counts. A client that waits for a 100 gives nobody more time.
    fn poll_time<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        line: &Line,
        d: &Deployment,
        route: &RoutePlan,
    ) -> Poll<Result<Event, Ended>> {
        let uploading = !turn.upload.is_done() && self.upload_error.is_none();
        let holds_back = turn.verdict.expects_continue && self.interims == 0 && turn.upload.taken() == 0;
        // The end of a body may come alone, without a byte of it.
        let is_over_now = !uploading && self.upload == Upload::Running;
        let has_moved = (turn.upload.moves != self.moves || is_over_now) && turn.x.length != Length::None;
        self.upload = if uploading { Upload::Running } else { Upload::Over };
        if has_moved && !holds_back && !self.due.is_final {
            self.moves = turn.upload.moves;
            let patience = if uploading { route.bounds.idle } else { route.bounds.timeout };
            let now = client.look();
            *self.due = Due { at: turn.x.by(now + patience), is_final: !uploading };
        }
        if is_over_now && turn.x.length != Length::None {
            turn.body_out = Some(client.look());
        }
        if has_moved && !uploading && self.try_end.is_none() {
            self.try_end = turn.try_timeout.map(|most| client.worker.now() + most);
        }
        let blocked = turn.upload.is_blocked_on_sink(&turn.request_head);
        let waits_for_client = uploading && !turn.upload.has_arrived() && !holds_back && !blocked;
        let slow = match uploading {
            true => pace::upload(client, turn, d, Some(line), waits_for_client).filter(|due| *due < self.due.at),
            false => None,
        };
        let try_end = self.try_end.filter(|end| *end < self.due.at);
        let is_late = turn.x.deadline.is_some_and(|deadline| deadline <= self.due.at);
        let deadline = slow.or(try_end).unwrap_or(self.due.at);
        self.watch.poll(cx, client, deadline).map(|came| match (waits_for_client, try_end) {
            _ if came == Came::Route => Err(Ended::Refused(gone())),
            _ if slow.is_some() => Err(Ended::Refused(SLOW_BODY.problem())),
            (true, _) => Err(Ended::Refused(BODY_TIMEOUT.problem())),
            (false, Some(_)) => Err(Ended::TryTimeout),
            (false, None) if is_late => Err(Ended::Late),
            (false, None) => Err(Ended::Timeout),
        })
    }
}

/// What the client of a route that is no more is told, if its request lasted longer than it was given.
pub(crate) fn gone() -> Problem {
    NOT_FOUND.problem().detail("the route was taken away while the request was on its way")
}

pub(crate) fn body_problem(bad: Bad) -> Problem {
    match bad {
        Bad::TooLarge => BODY_TOO_LARGE.problem().detail("the body is larger than this route allows"),
        Bad::Malformed(what) => MALFORMED.problem().detail(what),
    }
}

/// What the sender of a body is told of what was found wrong with it on its way.
pub(crate) fn recode_problem(error: RecodeError, problem: Option<Problem>) -> Problem {
    problem.unwrap_or_else(|| MALFORMED.problem().detail(error.to_string()))
}

/// Passes an interim answer on (RFC 9110 §15.2).
async fn interim<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    waiting: &mut Waiting<'_>,
    line: &mut Line,
) -> Result<(), Ended> {
    waiting.interims += 1;
    // Nobody asked for this protocol, so nothing can be agreed to.
    if turn.x.reply.head.status == 101 || waiting.interims > MOST_INTERIM {
        return Err(Ended::Malformed("an interim answer that nobody asked for"));
    }
    client.side.inform(turn).await.map_err(|Gone| Ended::ClientGone)?;
    line.next_head(&mut turn.x.reply.head);
    Ok(())
}
