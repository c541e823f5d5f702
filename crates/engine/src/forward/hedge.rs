//! A second attempt beside a slow first one: the first good answer counts, whatever else is on its way is given up.
//!
//! Only for what changes nothing and has no body, so that each attempt goes its own way with a head of its own. Where no
//! `hedge` is written, nothing of this is on the way of a request.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Address;
use tollgate_core::head::{Method, ReplyHead};
use tollgate_http1::transfer::Outflow;
use tollgate_observe::metrics::{Hedged, Outcome};
use tollgate_plan::Hedge;
use tollgate_upstream::adaptive::Permit;
use tollgate_upstream::{Ask, Connection, Refusal};

use super::Upstream;
use super::failure::refused;
use super::verdict::{Sent, told_status};
use crate::http::attempt::{self, Due, Ended, MOST_INTERIM, Start, gone};
use crate::http::downstream::{Client, Downstream, Gone};
use crate::http::ends::Source;
use crate::http::line::Line;
use crate::http::pump::{Prefix, Pump};
use crate::http::request_head::{self, Way};
use crate::http::turn::Turn;
use crate::recall::{Came, Watch};

/// When a second attempt is made for this request, if ever (RFC 9110 §9.2.1: what is safe).
pub(super) fn of<'w>(turn: &Turn, way: Way<'w>) -> Option<&'w Hedge> {
    let hedge = way.proxy.hedge.as_deref()?;
    let is_read = matches!(turn.x.head.method, Method::Get | Method::Head | Method::Options);
    (is_read && turn.x.length == Length::None && turn.upgrade.is_none() && !turn.verdict.expects_continue)
        .then_some(hedge)
}

/// One of the attempts.
struct Lane {
    line: Line,
    head: Prefix,
    reply: ReplyHead,
    /// Interim answers that came before it (RFC 9110 §15.2): the client is told those of the attempt that is used.
    interims: Vec<ReplyHead>,
    pump: Pump,
    address: Address,
    sent: Sent,
    try_end: Option<Instant>,
    /// When the head of its answer came, if it did.
    came: Option<Instant>,
    is_first: bool,
    /// The right to send it, where that is counted.
    _permit: Option<Permit>,
}

/// What happened.
enum Event {
    /// The head of an answer came on this lane.
    Head(usize),
    /// There will be none on this one.
    Ended(usize, Ended),
    /// A connection for another attempt, or none.
    Connected(Result<(Connection, Option<Permit>), Refusal>),
    /// Something is due.
    Time,
    /// The client is gone, or the route.
    Over(Ended),
}

type Connecting<'c> = Pin<Box<dyn Future<Output = Result<(Connection, Option<Permit>), Refusal>> + Send + 'c>>;

/// An attempt that brought no answer.
struct Failed {
    ended: Ended,
    address: Address,
    sent: Sent,
}

/// All attempts of one request.
struct Race<'r> {
    lanes: Vec<Lane>,
    connecting: Option<Connecting<'r>>,
    /// When the next attempt is made.
    next: Option<Instant>,
    left: u8,
    tried: Vec<Address>,
    /// The last that ended without an answer. It is counted by whoever made it, if no other one brings an answer.
    failed: Option<Failed>,
    /// Who is judged by the one that was under way when all was over.
    left_over: Sent,
    watch: Watch<'r>,
    way: Way<'r>,
    hedge: &'r Hedge,
    ask: &'r Ask<'r>,
}

/// Sends the request whose head was written, and sends it to others while no answer comes; whose answer it is stands in `turn.sent`.
pub(super) async fn attempt<'r, S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    way: Way<'r>,
    hedge: &'r Hedge,
    connection: Connection,
    ask: &'r Ask<'r>,
    due: &mut Due,
) -> Result<Upstream, Ended> {
    let now = client.look();
    let address = connection.address().clone();
    let sent = std::mem::take(&mut turn.sent);
    let first = match Lane::begin(connection, turn, sent, due.at, now, None).await {
        Ok(first) => first,
        Err(failed) => {
            turn.sent = failed.sent;
            return Err(failed.ended);
        }
    };
    let mut race = Race {
        lanes: vec![Lane { is_first: true, ..first }],
        connecting: None,
        next: hedge.after().map(|after| now + after),
        left: hedge.most,
        tried: ask.tried.iter().cloned().chain([address]).collect(),
        failed: None,
        left_over: Sent::default(),
        watch: Watch::new(&way.d.recall, way.route, now),
        way,
        hedge,
        ask,
    };
    let won = race.run(client, turn, due.at).await;
    let failed = race.failed.take();
    race.count(client, won.as_ref().ok());
    let lane = match (won, failed) {
        (Ok(lane), Some(failed)) => {
            race.note(failed, client);
            lane
        }
        (Ok(lane), None) => lane,
        (Err(Some(over)), failed) => {
            failed.into_iter().for_each(|failed| race.note(failed, client));
            turn.sent = std::mem::take(&mut race.left_over);
            return Err(over);
        }
        (Err(None), Some(failed)) => {
            turn.sent = failed.sent;
            turn.x.trail.instance = Some(failed.address);
            return Err(failed.ended);
        }
        (Err(None), None) => return Err(Ended::Timeout),
    };
    drop(race);
    turn.sent = lane.sent;
    turn.x.trail.instance = Some(lane.address);
    turn.request_head = lane.head;
    inform(client, turn, way, lane.interims).await?;
    turn.x.reply.head = lane.reply;
    attempt::attempt(client, turn, Start::Answered(lane.line), way.d, way.route, due).await
}

/// Passes on what the attempt that is used said before its answer (RFC 9110 §15.2).
async fn inform<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    way: Way<'_>,
    interims: Vec<ReplyHead>,
) -> Result<(), Ended> {
    let informed = async {
        for interim in interims {
            turn.x.reply.head = interim;
            client.side.inform(turn).await?;
        }
        Ok(())
    };
    let informed = tokio::time::timeout(way.route.bounds.idle, informed).await;
    informed.unwrap_or(Err(Gone)).map_err(|Gone| Ended::ClientGone)
}

impl Lane {
    /// The request whose head was written goes out.
    ///
    /// # Errors
    /// It was not begun.
    async fn begin(
        connection: Connection,
        turn: &mut Turn,
        sent: Sent,
        due: Instant,
        now: Instant,
        permit: Option<Permit>,
    ) -> Result<Self, Box<Failed>> {
        let address = connection.address().clone();
        let line = match connection {
            Connection::Whole(whole) => Line::whole(whole),
            Connection::Shared(share) => match Line::share(share, turn, due).await {
                Ok(line) => line,
                Err(ended) => return Err(Box::new(Failed { ended, address, sent })),
            },
        };
        let mut pump = Pump::holding(Bytes::new());
        pump.send_as(Outflow::Plain);
        let (head, reply, interims) = (std::mem::take(&mut turn.request_head), ReplyHead::default(), Vec::new());
        let try_end = turn.try_timeout.map(|most| now + most);
        let (came, is_first) = (None, false);
        let _permit = permit;
        Ok(Self { line, head, reply, interims, pump, address, sent, try_end, came, is_first, _permit })
    }

    /// Ready once the head of an answer is there.
    fn poll(&mut self, cx: &mut Context<'_>, way: Way<'_>, request: Method) -> Poll<Result<(), Ended>> {
        if !(self.pump.is_done() && self.head.is_out()) {
            // Of a request that could not be written an answer may have come before (RFC 9112 §9.5).
            let mut nothing = Buffer::none();
            let _ = self.pump.poll(cx, Source::Held, &mut nothing, self.line.sink(&mut self.head));
        }
        loop {
            ready!(self.line.poll_head(cx, &mut self.reply, &way.d.rules.heads))?;
            if self.reply.status >= 200 {
                return Poll::Ready(Ok(()));
            }
            self.keep_interim(request)?;
        }
    }

    /// Keeps an interim answer until it is known whether this attempt is used, and makes ready for the next head.
    fn keep_interim(&mut self, request: Method) -> Result<(), Ended> {
        self.line.judge(&mut self.reply, request).map_err(Ended::Malformed)?;
        // Nobody asked for another protocol here.
        if self.reply.status == 101 || self.interims.len() >= MOST_INTERIM as usize {
            return Err(Ended::Malformed("an interim answer that nobody asked for"));
        }
        let mut interim = std::mem::take(&mut self.reply);
        let end = interim.fields.head_len;
        // What came behind it belongs to the next head; there was room for all of it.
        self.reply.fields.buffer = Buffer::holding(interim.fields.buffer.filled().get(end..).unwrap_or_default());
        self.line.next_head(&mut self.reply);
        interim.fields.buffer.shrink(end);
        self.interims.push(interim);
        Ok(())
    }

    /// Whether another answer is worth waiting for.
    fn is_good(&self, way: Way<'_>, is_grpc: bool) -> bool {
        let status = told_status(&self.reply, is_grpc);
        status < 500 && !way.backend.retrying.is_on_status(status)
    }
}

impl<'r> Race<'r> {
    /// Until one has won, or all is over.
    ///
    /// # Errors
    /// Why it is over; `None`: as the last one ended.
    async fn run<S: Downstream>(
        &mut self,
        client: &mut Client<S>,
        turn: &mut Turn,
        due: Instant,
    ) -> Result<Lane, Option<Ended>> {
        loop {
            match poll_fn(|cx| self.poll(cx, client, turn, due)).await {
                Event::Head(at) => {
                    let others =
                        self.connecting.is_some() || self.lanes.iter().filter(|lane| lane.came.is_none()).count() > 1;
                    let Some(lane) = self.lanes.get_mut(at) else { continue };
                    lane.came = Some(client.look());
                    if !others || lane.is_good(self.way, turn.is_grpc) {
                        return Ok(self.lanes.swap_remove(at));
                    }
                }
                Event::Ended(at, ended) => self.lost(at, ended, client),
                Event::Connected(connected) => {
                    self.connected(connected, client, turn, due).await.map_err(Some)?;
                }
                Event::Time => self.time(client, turn, due),
                Event::Over(ended) => {
                    // One is counted by whoever made it.
                    self.left_over = self.lanes.pop().map(|lane| lane.sent).unwrap_or_default();
                    return Err(Some(ended));
                }
            }
            if self.connecting.is_none() && self.lanes.iter().all(|lane| lane.came.is_some()) {
                // One that is not good is still better than none.
                return self.lanes.pop().ok_or(None);
            }
        }
    }

    fn poll<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        due: Instant,
    ) -> Poll<Event> {
        for (at, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.came.is_none()) {
            match lane.poll(cx, self.way, turn.x.head.method) {
                Poll::Ready(Ok(())) => return Poll::Ready(Event::Head(at)),
                Poll::Ready(Err(ended)) => return Poll::Ready(Event::Ended(at, ended)),
                Poll::Pending => {}
            }
        }
        if let Some(connecting) = &mut self.connecting
            && let Poll::Ready(connected) = connecting.as_mut().poll(cx)
        {
            self.connecting = None;
            return Poll::Ready(Event::Connected(connected));
        }
        if turn.upload.has_arrived() && client.side.is_gone(cx, turn) {
            return Poll::Ready(Event::Over(Ended::ClientGone));
        }
        let ends = self.lanes.iter().filter(|lane| lane.came.is_none()).filter_map(|lane| lane.try_end);
        let next = self.next.filter(|_| self.connecting.is_none() && self.left > 0);
        let at = ends.chain(next).min().map_or(due, |at| at.min(due));
        self.watch.poll(cx, client, at).map(|came| match came {
            Came::Route => Event::Over(Ended::Refused(gone())),
            Came::Deadline => Event::Time,
        })
    }

    /// What is due: the end, the end of one attempt, or another one.
    fn time<S>(&mut self, client: &mut Client<S>, turn: &Turn, due: Instant) {
        let now = client.look();
        let is_over = now >= due;
        let is_late = turn.x.deadline.is_some_and(|deadline| deadline <= due);
        if is_over {
            self.connecting = None;
        }
        let has_ended = |lane: &Lane| lane.came.is_none() && (is_over || lane.try_end.is_some_and(|end| end <= now));
        let mut one_ended = false;
        while let Some(at) = self.lanes.iter().position(has_ended) {
            one_ended = true;
            if let Some(lane) = self.lanes.get(at) {
                lane.line.suspect();
            }
            let ended = match (is_over, is_late) {
                (false, _) => Ended::TryTimeout,
                (true, true) => Ended::Late,
                (true, false) => Ended::Timeout,
            };
            self.lost(at, ended, client);
        }
        if !one_ended && self.next.is_some_and(|next| next <= now) {
            self.another(client, now);
        }
    }

    /// Begins another attempt, if there is an instance for it and the budget allows it.
    fn another<S>(&mut self, client: &mut Client<S>, now: Instant) {
        let way = self.way;
        let service = &way.backend.service;
        self.next = None;
        if !service.has_another(&self.tried, now) || service.breaker().is_some_and(|breaker| !breaker.is_closed()) {
            return;
        }
        if !service.may_retry(now) {
            return service.metrics().watch().hedged(Hedged::Denied);
        }
        self.left -= 1;
        let (ask, tried) = (self.ask, self.tried.clone());
        let Ask { worker, key, client: named, fresh, criticality, only_once, deadline, .. } = *ask;
        self.connecting = Some(Box::pin(async move {
            let trial = None;
            let tried = &tried;
            let ask = Ask { worker, key, client: named, tried, fresh, criticality, only_once, trial, now, deadline };
            match service.admits_all() {
                true => service.connection(&ask).await.map(|connection| (connection, None)),
                false => service.admitting(&ask).await,
            }
        }));
        service.metrics().shard(client.worker.index).retry();
    }

    /// Sends the request on this connection, too.
    async fn connected<S>(
        &mut self,
        connected: Result<(Connection, Option<Permit>), Refusal>,
        client: &mut Client<S>,
        turn: &mut Turn,
        due: Instant,
    ) -> Result<(), Ended> {
        let (now, service) = (client.look(), &self.way.backend.service);
        let (connection, permit) = match connected {
            Ok(connected) => connected,
            Err(refusal) => {
                service.learn_refusal(&refusal, now);
                service.judge_refusal(&refusal, now);
                service.attempted(client.worker.index, refused(refusal).outcome);
                return Ok(());
            }
        };
        let is_left_alone = service.breaker().is_some_and(|breaker| !breaker.is_closed());
        if is_left_alone || self.tried.contains(connection.address()) {
            // Meanwhile too much has failed; or nobody else has room, and it is asked already.
            if let Connection::Whole(whole) = connection {
                whole.release(now);
            }
            return Ok(());
        }
        self.tried.push(connection.address().clone());
        turn.x.trail.attempts += 1;
        let sent = Sent::on(&connection, client, turn, self.way);
        request_head::write(turn, self.way, connection.address(), now, due).map_err(Ended::Refused)?;
        self.next = self.hedge.after().map(|after| now + after);
        match Lane::begin(connection, turn, sent, due, now, permit).await {
            Ok(lane) => self.lanes.push(lane),
            Err(failed) => self.note(*failed, client),
        }
        Ok(())
    }

    /// There will be no answer on this one.
    fn lost<S>(&mut self, at: usize, ended: Ended, client: &mut Client<S>) {
        let Lane { address, sent, .. } = self.lanes.swap_remove(at);
        if let Some(before) = self.failed.replace(Failed { ended, address, sent }) {
            self.note(before, client);
        }
    }

    /// Tells of one that brought no answer, and that nobody else tells of.
    fn note<S>(&self, failed: Failed, client: &mut Client<S>) {
        let service = &self.way.backend.service;
        service.attempted(client.worker.index, failed.ended.outcome());
        // How quickly one breaks tells nothing of how long answers take.
        if failed.ended.outcome() == Outcome::Timeout {
            failed.sent.took_at_least(client.now, self.way);
        }
        failed.sent.failed(&failed.ended, client, service);
    }

    /// Counts what became of the attempts beside the first, and of those that are given up.
    fn count<S>(&mut self, client: &Client<S>, won: Option<&Lane>) {
        let (way, service) = (self.way, &self.way.backend.service);
        let made = usize::from(self.hedge.most - self.left);
        let watch = service.metrics().watch();
        let winners = usize::from(won.is_some_and(|lane| !lane.is_first));
        (0..winners).for_each(|_| watch.hedged(Hedged::Won));
        (winners..made).for_each(|_| watch.hedged(Hedged::Lost));
        for lane in self.lanes.drain(..) {
            let outcome = match lane.came {
                Some(came) => {
                    lane.sent.passed_over(lane.reply.status, came, way);
                    Outcome::Ok
                }
                None => {
                    lane.sent.given_up(client.now, way);
                    Outcome::Cancelled
                }
            };
            service.attempted(client.worker.index, outcome);
        }
    }
}
