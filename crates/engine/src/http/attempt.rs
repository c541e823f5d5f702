//! One try at one instance: the request goes up, the head of the answer comes down, both at once.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tollgate_core::body::{Body, Length};
use tollgate_core::buffer::Buffer;
use tollgate_core::field::Known;
use tollgate_core::problem::Problem;
use tollgate_http1::faults::{BODY_TOO_LARGE, MALFORMED};
use tollgate_http1::transfer::{Bad, Outflow};
use tollgate_http1::{Parsed, response};
use tollgate_plan::RoutePlan;
use tollgate_upstream::Connection;

use crate::deployment::Deployment;
use crate::faults::BODY_TIMEOUT;
use crate::forward::Upstream;
use crate::http::downstream::{Client, Downstream, Gone};
use crate::http::ends::Sink;
use crate::http::pump::{BodyLimits, Broken, Pump, read_into};
use crate::http::turn::Turn;

/// Most interim answers before the final one; more is no good faith.
const MOST_INTERIM: u32 = 16;

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
    /// The connection ended before the answer's head.
    Reset {
        /// Whether it had carried requests before.
        reused: bool,
        /// What happened.
        error: io::Error,
    },
}

impl Ended {
    /// Whether it says something of the instance. What was wrong with the client, or with a connection that had rested,
    /// does not.
    pub(crate) fn tells_of_the_instance(&self) -> bool {
        match self {
            Self::ClientGone | Self::Refused(_) | Self::Reset { reused: true, .. } => false,
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

/// The protocol that was asked for, if this interim answer agrees to it.
fn agreed(turn: &Turn, is_interim: bool) -> Option<Bytes> {
    let head = &turn.x.reply.head;
    let asked = turn.upgrade.as_ref().filter(|_| is_interim && head.status == 101)?;
    let told = head.fields.known(Known::Upgrade)?;
    told.eq_ignore_ascii_case(asked).then(|| asked.clone())
}

/// What is known while waiting for the head.
struct Waiting {
    reader: response::Reader,
    /// The upstream takes no more of the body; an early answer may still come.
    upload_error: Option<io::Error>,
    deadline: Instant,
    /// When this try is over, once the request is out.
    try_end: Option<Instant>,
    moves: u64,
    interims: u32,
}

/// Sends the request whose head was written and waits for the head of the answer.
pub(crate) async fn attempt<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    mut connection: Connection,
    d: &Deployment,
    route: &RoutePlan,
    deadline: Instant,
) -> Result<Upstream, Ended> {
    turn.upload.send_as(match turn.x.length {
        _ if turn.upload.is_recoded() => Outflow::Chunked,
        Length::Chunked => Outflow::Chunked,
        _ => Outflow::Plain,
    });
    let mut waiting = Waiting {
        reader: response::Reader::default(),
        upload_error: None,
        deadline,
        try_end: turn.try_timeout.filter(|_| turn.x.length == Length::None).map(|most| client.look() + most),
        moves: turn.upload.moves,
        interims: 0,
    };
    loop {
        let event = poll_fn(|cx| waiting.poll(cx, client, turn, &mut connection, d, route)).await?;
        let verdict = response::judge(&mut turn.x.reply.head, turn.x.head.method).map_err(Ended::Malformed)?;
        if let Some(protocol) = agreed(turn, event.is_interim()) {
            // RFC 9110 §15.2.2: from here on the connection speaks what was agreed.
            let told = Length::None;
            return Ok(Upstream { connection, told, keep_alive: false, upload_dead: false, protocol: Some(protocol) });
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
                return Ok(Upstream { connection, told: verdict.told, keep_alive, upload_dead, protocol: None });
            }
            Event::Interim => {
                let passed_on = interim(client, turn, &mut waiting);
                tokio::time::timeout(route.bounds.idle, passed_on).await.unwrap_or(Err(Ended::ClientGone))?;
            }
        }
    }
}

impl Waiting {
    fn poll<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        connection: &mut Connection,
        d: &Deployment,
        route: &RoutePlan,
    ) -> Poll<Result<Event, Ended>> {
        self.poll_upload(cx, client, turn, connection)?;
        match self.poll_head(cx, turn, connection, d) {
            Poll::Ready(Ok(())) if turn.x.reply.head.status < 200 => return Poll::Ready(Ok(Event::Interim)),
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(Event::Final)),
            Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
            Poll::Pending => {}
        }
        if turn.upload.has_arrived() && client.side.is_gone(cx, turn) {
            return Poll::Ready(Err(Ended::ClientGone));
        }
        self.poll_time(cx, client, turn, route)
    }

    fn poll_upload<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        connection: &mut Connection,
    ) -> Result<(), Ended> {
        let is_out = turn.upload.is_done() && turn.request_head.is_out();
        if is_out || self.upload_error.is_some() {
            return Ok(());
        }
        let buffer = &mut turn.x.head.fields.buffer;
        let sink = Sink::Wire(&mut connection.stream, &mut turn.request_head);
        match turn.upload.poll(cx, client.side.source(), buffer, sink) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            // It may have answered before it stopped reading: RFC 9112 §9.5 asks to look.
            Poll::Ready(Err(Broken::Sink(error))) => {
                self.upload_error = Some(error);
                Ok(())
            }
            Poll::Ready(Err(Broken::CutShort | Broken::Source(_))) => Err(Ended::ClientGone),
            Poll::Ready(Err(Broken::Bad(bad))) => Err(Ended::Refused(body_problem(bad))),
            Poll::Ready(Err(broken @ Broken::Recode(_, fault))) => {
                Err(Ended::Refused(fault.unwrap_or(&MALFORMED).problem().detail(broken.to_string())))
            }
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        connection: &mut Connection,
        d: &Deployment,
    ) -> Poll<Result<(), Ended>> {
        let reused = connection.reused;
        let head = &mut turn.x.reply.head;
        loop {
            if !head.fields.buffer.is_empty() {
                let parsed = self.reader.read(head, &d.rules.heads).map_err(Ended::Malformed)?;
                if parsed == Parsed::Complete {
                    return Poll::Ready(Ok(()));
                }
            }
            if !head.fields.buffer.is_lent() {
                ready!(connection.stream.poll_read_ready(cx)).map_err(|error| Ended::Reset { reused, error })?;
                head.fields.buffer = Buffer::lend();
            }
            let reused = reused && head.fields.buffer.is_empty();
            match ready!(read_into(cx, &mut connection.stream, &mut head.fields.buffer)) {
                Ok(0) => {
                    let told = io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer's head");
                    let error = self.upload_error.take().unwrap_or(told);
                    return Poll::Ready(Err(Ended::Reset { reused, error }));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Ended::Reset { reused, error })),
            }
        }
    }

    /// While the body is still coming, every movement gives it the route's `idle` time; once it is out, the time for the
    /// answer counts.
    fn poll_time<S>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &Turn,
        route: &RoutePlan,
    ) -> Poll<Result<Event, Ended>> {
        let uploading = !turn.upload.is_done() && self.upload_error.is_none();
        if turn.upload.moves != self.moves && turn.x.length != Length::None {
            self.moves = turn.upload.moves;
            let patience = if uploading { route.bounds.idle } else { route.bounds.timeout };
            let now = client.worker.now();
            self.deadline =
                route.bounds.total.map_or(now + patience, |total| (now + patience).min(turn.x.began + total));
            self.try_end = turn.try_timeout.filter(|_| !uploading).map(|most| now + most);
        }
        let waits_for_client = uploading && !turn.upload.has_arrived();
        let try_end = self.try_end.filter(|end| *end < self.deadline);
        client.timer.poll(cx, try_end.unwrap_or(self.deadline)).map(|()| match (waits_for_client, try_end) {
            (true, _) => Err(Ended::Refused(BODY_TIMEOUT.problem())),
            (false, Some(_)) => Err(Ended::TryTimeout),
            (false, None) => Err(Ended::Timeout),
        })
    }
}

pub(crate) fn body_problem(bad: Bad) -> Problem {
    match bad {
        Bad::TooLarge => BODY_TOO_LARGE.problem().detail("the body is larger than this route allows"),
        Bad::Malformed(what) => MALFORMED.problem().detail(what),
    }
}

/// Passes an interim answer on (RFC 9110 §15.2).
async fn interim<S: Downstream>(client: &mut Client<S>, turn: &mut Turn, waiting: &mut Waiting) -> Result<(), Ended> {
    waiting.interims += 1;
    // Nobody asked for this protocol, so nothing can be agreed to.
    if turn.x.reply.head.status == 101 || waiting.interims > MOST_INTERIM {
        return Err(Ended::Malformed("an interim answer that nobody asked for"));
    }
    client.side.inform(turn).await.map_err(|Gone| Ended::ClientGone)?;
    let head = &mut turn.x.reply.head;
    let (end, len) = (head.fields.head_len, head.fields.buffer.len());
    head.clear();
    head.fields.buffer.keep(end..len);
    waiting.reader = response::Reader::default();
    Ok(())
}
