//! Sending a request on to a service: which instance, how often, and until when.

mod failure;
mod learning;

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use tollgate_config::model::HashKey;
use tollgate_core::body::Length;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::{Address, Conn};
use tollgate_core::policy::{Attempt, Flow, Step};
use tollgate_core::problem::Problem;
use tollgate_http1::faults::CONNECT;
use tollgate_http1::list;
use tollgate_observe::metrics::Outcome;
use tollgate_plan::{Captures, Proxy, RoutePlan};
use tollgate_upstream::adaptive::{Permit, Took};
use tollgate_upstream::outlier::{Judged, Verdict};
use tollgate_upstream::{Ask, Connection, Refusal};

use crate::deployment::{Backend, Deployment};
use crate::forward::failure::{Again, Failure, ended_badly, refused};
use crate::http::attempt::{self, Due, Ended};
use crate::http::downstream::{Client, Downstream};
use crate::http::line::Line;
use crate::http::request_head;
use crate::http::turn::Turn;
use crate::serve::{Stop, decided};

/// How the answer reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transit {
    /// It is in `x.reply`, whole.
    Own,
    /// Its head is in `x.reply`, its body comes from [`Turn::upstream`].
    Upstream,
}

/// An answer whose head has come.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// What it comes on.
    pub(crate) line: Line,
    /// The length its head tells.
    pub(crate) told: tollgate_core::body::Length,
    /// Whether the connection may be used again afterwards.
    pub(crate) keep_alive: bool,
    /// The upstream takes no more of the request's body.
    pub(crate) upload_dead: bool,
    /// What the connection speaks from now on instead of HTTP.
    pub(crate) protocol: Option<Bytes>,
}

/// Sends the request on; gives back the answer's head.
pub(crate) async fn forward<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    proxy: &Proxy,
    captures: &Captures,
    backend: &Backend,
) -> Result<Transit, Stop> {
    let service = &backend.service;
    prepare(turn, route, proxy, backend)?;
    if d.stand_in.is_some() {
        return Box::pin(rehearsed(client, turn, d, route, proxy, captures, backend)).await;
    }
    let started = client.look();
    let mut due = Due::new(turn.x.by(started + route.bounds.timeout));
    let key = key(turn, backend);
    // Copied only where it is told.
    let named = if service.tells_clients() { Some(Arc::clone(&turn.x.conn)) } else { None };
    let mut tries = Tries { tried: Vec::new(), left: proxy.retries.unwrap_or(backend.retries), fresh: false };
    loop {
        let ask = tries.ask(client, turn, key.as_deref(), named.as_ref(), due.at);
        // Boxed: only some routes need it, and every other exchange would keep room for it.
        if route.hooks.attempt && Box::pin(answered(client, turn, route, service.name(), due.at)).await? {
            return Ok(Transit::Own);
        }
        turn.x.trail.attempts += 1;
        let connected = if service.admits_all() {
            unless_gone(client, turn, pin!(service.connection(&ask))).await
        } else {
            let admitted = unless_gone(client, turn, service.admitting(&ask).as_mut()).await;
            admitted.map(|admitted| held(client, turn, admitted))
        };
        let connected = connected.inspect_err(|_| service.attempted(client.worker.index, Outcome::Cancelled))?;
        let failure = match connected {
            Ok(connection) => {
                turn.x.trail.instance = Some(connection.address().clone());
                let judged = service.judged(&connection);
                learning::begin(client, turn, backend, &connection);
                let written = request_head::write(turn, d, backend, proxy, captures, connection.address(), client.now);
                let answered = match written {
                    Ok(()) => attempt::attempt(client, turn, connection, d, route, &mut due).await,
                    Err(problem) => Err(Ended::Refused(problem)),
                };
                told(client, turn, &answered);
                learning::end(client, turn, backend, &answered);
                match answered {
                    Ok(upstream) => {
                        learning::stay(turn, backend, key.as_deref(), &tries.tried, client.now);
                        return Ok(accepted(client, turn, backend, upstream, judged.as_ref(), started));
                    }
                    Err(ended) => {
                        if ended.tells_of_the_instance() {
                            service.judge(judged.as_ref(), Verdict::Failed, client.look());
                        }
                        ended_badly(ended, turn, service, client.worker.index)?
                    }
                }
            }
            Err(refusal) => {
                service.judge_refusal(&refusal, client.look());
                service.learn_refusal(&refusal, client.now);
                refused(refusal)
            }
        };
        service.attempted(client.worker.index, failure.outcome);
        tries.another(failure, turn, backend, client)?;
        client.look();
    }
}

/// The head of an answer has come.
fn accepted<S>(
    client: &mut Client<S>,
    turn: &mut Turn,
    backend: &Backend,
    upstream: Upstream,
    judged: Option<&Judged>,
    started: Instant,
) -> Transit {
    let service = &backend.service;
    service.attempted(client.worker.index, Outcome::Ok);
    turn.x.trail.upstream = Some(client.look().saturating_duration_since(started));
    service.judge_answer(judged, turn.x.reply.head.status, client.now);
    turn.upstream = Some(upstream);
    Transit::Upstream
}

/// Keeps the right to send the request, which is sent now, with it: for as long as there is no answer.
fn held<S>(
    client: &mut Client<S>,
    turn: &mut Turn,
    admitted: Result<(Connection, Option<Permit>), Refusal>,
) -> Result<Connection, Refusal> {
    let (connection, permit) = admitted?;
    turn.permit = permit.map(|permit| permit.sent_at(client.look()));
    turn.body_out = None;
    Ok(connection)
}

/// Has adaptive concurrency know how long a request took. What fails fast, or is refused, tells nothing of how busy the service is.
fn told<S>(client: &mut Client<S>, turn: &mut Turn, answered: &Result<Upstream, Ended>) {
    let Some(permit) = turn.permit.take() else { return };
    let now = client.look();
    // How long a client takes to send is its own affair.
    let from = if turn.x.length == Length::None { permit.sent() } else { turn.body_out };
    let Some(took) = from.map(|from| now.saturating_duration_since(from)) else { return };
    match answered {
        Ok(_) if turn.x.reply.head.status < 400 => permit.took(Took::Exactly(took)),
        Err(Ended::Timeout | Ended::TryTimeout | Ended::Late | Ended::ClientGone) => permit.took(Took::AtLeast(took)),
        Ok(_) | Err(_) => {}
    }
}

/// Settles what holds for every try.
fn prepare(turn: &mut Turn, route: &RoutePlan, proxy: &Proxy, backend: &Backend) -> Result<(), Problem> {
    turn.x.trail.service = Some(backend.service.name().clone());
    turn.upload.recode_with(std::mem::take(&mut turn.x.recoders), turn.x.length);
    turn.upgrade = wanted_upgrade(turn, route);
    turn.try_timeout = proxy.try_timeout.or(backend.try_timeout.as_ref()).copied();
    match turn.connects && turn.upgrade.is_none() {
        true => Err(CONNECT.problem().detail("this route does not change to that protocol")),
        false => Ok(()),
    }
}

/// What would be sent is kept, and nothing is.
async fn rehearsed<S>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    proxy: &Proxy,
    captures: &Captures,
    backend: &Backend,
) -> Result<Transit, Stop> {
    let at = turn.x.by(client.now + route.bounds.timeout);
    let is_answered = route.hooks.attempt && answered(client, turn, route, backend.service.name(), at).await?;
    if let Some(stand_in) = d.stand_in.as_ref().filter(|_| !is_answered) {
        stand_in.answer(turn, d, backend, proxy, captures)?;
    }
    Ok(Transit::Own)
}

/// Has policies say what this attempt says of its own; whether one of them answers instead.
pub(crate) async fn answered<S>(
    client: &mut Client<S>,
    turn: &mut Turn,
    route: &RoutePlan,
    service: &str,
    at: Instant,
) -> Result<bool, Problem> {
    // A token that is to be traded is kept over all attempts.
    turn.x.onward.fields.clear();
    for link in route.chain.iter().filter(|link| link.hooks.attempt) {
        let ready = match link.policy.on_attempt(&mut turn.x, Attempt { service }) {
            Step::Now(ready) => ready,
            Step::Later(getting) => decided(client, at, getting, || format!("policy {}", link.name)).await,
        };
        if let Flow::Reply(reply) = ready? {
            turn.x.reply = *reply;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits for a connection, but not for a client that is gone: it would hold its place in the queue in vain.
async fn unless_gone<S: Downstream, T>(
    client: &mut Client<S>,
    turn: &mut Turn,
    mut connecting: Pin<&mut (impl Future<Output = T> + ?Sized)>,
) -> Result<T, Stop> {
    poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(connected) => Poll::Ready(Ok(connected)),
        Poll::Pending if turn.upload.has_arrived() && client.side.is_gone(cx, turn) => {
            Poll::Ready(Err(Stop::ClientGone))
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The protocol that the client asks to change to, if the route allows it; else the request goes on without that wish
/// (RFC 9110 §7.8).
pub(crate) fn wanted_upgrade(turn: &Turn, route: &RoutePlan) -> Option<Bytes> {
    if !turn.verdict.upgrades {
        return None;
    }
    let mut wanted = turn.x.head.fields.all("upgrade").flat_map(list);
    let allowed = |wanted: &[u8]| route.upgrades.iter().find(|name| name.eq_ignore_ascii_case(wanted)).cloned();
    wanted.find_map(allowed)
}

/// What may still be tried.
struct Tries {
    tried: Vec<Address>,
    left: u8,
    fresh: bool,
}

impl Tries {
    /// What is asked of the service for the next one.
    fn ask<'t, S>(
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
            only_once: !(turn.x.head.method.is_idempotent() && turn.upload.can_repeat(turn.x.length)),
            now: client.now,
            deadline,
        }
    }

    /// Prepares another try, or gives up with the failure's problem.
    fn another<S>(
        &mut self,
        failure: Failure,
        turn: &mut Turn,
        backend: &Backend,
        client: &mut Client<S>,
    ) -> Result<(), Stop> {
        let repeatable = turn.upload.can_repeat(turn.x.length);
        // A connection that was new cannot have been stale: what that shows is trouble.
        let is_retry = failure.again == Again::Retry || self.fresh;
        let allowed = match failure.again {
            Again::Never => false,
            Again::Stale | Again::Retry if is_retry => {
                repeatable && self.left > 0 && backend.service.may_retry(client.look())
            }
            Again::Stale | Again::Retry => repeatable,
        };
        if !allowed {
            return Err(Stop::Problem(failure.problem()));
        }
        if is_retry {
            self.left -= 1;
            self.tried.extend(failure.address);
            backend.service.metrics().shard(client.worker.index).retry();
        }
        // Whatever else rests there may be as dead.
        self.fresh = failure.again == Again::Stale || self.fresh;
        start_over(turn);
        Ok(())
    }
}

/// Back to the first byte of the request, whatever came of an answer forgotten; only what can be repeated.
pub(crate) fn start_over(turn: &mut Turn) {
    turn.upload.repeat(turn.x.length);
    turn.x.reply.head.clear();
    turn.x.reply.head.fields.buffer.truncate(0);
}

/// What the choice of an instance goes by, if it goes by the request.
fn key(turn: &mut Turn, backend: &Backend) -> Option<Vec<u8>> {
    match &backend.sticky {
        Some(sticky) => learning::cookie(turn, sticky),
        None => backend.hash.as_ref().and_then(|hash| hashed(&turn.x, hash).map(Cow::into_owned)),
    }
}

/// What is hashed to choose an instance.
fn hashed<'x>(x: &'x Exchange, hash: &HashKey) -> Option<Cow<'x, [u8]>> {
    match hash {
        HashKey::Ip => Some(Cow::Owned(x.client.to_string().into_bytes())),
        HashKey::Path => Some(Cow::Borrowed(x.head.path().as_bytes())),
        HashKey::Host => Some(Cow::Owned(x.head.host().to_ascii_lowercase().into_bytes())),
        HashKey::Header(name) => x.head.fields.get(name.as_str()).map(Cow::Borrowed),
        HashKey::Query(name) => x.head.query_value(name).map(|v| Cow::Owned(v.into_owned().into_bytes())),
        HashKey::Cookie(name) => x.head.cookie(name.as_str()).map(|v| Cow::Borrowed(v.as_bytes())),
    }
}
