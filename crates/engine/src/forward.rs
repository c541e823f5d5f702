//! Sending a request on to a service: which instance, how often, and until when.

mod failure;
mod hedge;
mod learning;
mod tries;
pub(crate) mod verdict;

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_config::model::HashKey;
use tollgate_core::body::Length;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::Address;
use tollgate_core::policy::{Attempt, Flow, Step};
use tollgate_core::problem::Problem;
use tollgate_http1::faults::CONNECT;
use tollgate_http1::list;
use tollgate_observe::metrics::Outcome;
use tollgate_plan::{Captures, Proxy, RoutePlan};
use tollgate_upstream::adaptive::{Permit, Took};
use tollgate_upstream::{Connection, Refusal, Service};

use crate::deployment::{Backend, Deployment};
use crate::forward::failure::refused;
use crate::forward::tries::{Next, Tries};
use crate::forward::verdict::Sent;
use crate::http::attempt::{self, Due, Ended, Start};
use crate::http::downstream::{Client, Downstream};
use crate::http::line::Line;
use crate::http::request_head::{self, Way};
use crate::http::turn::Turn;
use crate::serve::{Stop, decided};

pub(crate) use crate::forward::tries::give_up;

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
        return Box::pin(rehearsed(client, turn, Way { d, route, proxy, captures, backend })).await;
    }
    let started = client.look();
    let mut due = Due::new(turn.x.by(started + route.bounds.timeout));
    let key = key(turn, backend);
    // Copied only where it is told.
    let named = if service.tells_clients() { Some(Arc::clone(&turn.x.conn)) } else { None };
    let mut tries = Tries::new(proxy.retries.unwrap_or(backend.retries));
    loop {
        // Boxed: only some routes need it, and every other exchange would keep room for it.
        if route.hooks.attempt && Box::pin(answered_before(client, turn, route, service, due.at)).await? {
            return Ok(Transit::Own);
        }
        turn.pass = verdict::pass(service, client.now)?;
        let ask = tries.ask(client, turn, key.as_deref(), named.as_ref(), due.at);
        turn.x.trail.attempts += 1;
        let connected = if service.admits_all() {
            unless_gone(client, turn, pin!(service.connection(&ask))).await
        } else {
            let admitted = unless_gone(client, turn, service.admitting(&ask).as_mut()).await;
            admitted.map(|admitted| held(client, turn, admitted))
        };
        let connected = connected.inspect_err(|_| service.attempted(client.worker.index, Outcome::Cancelled))?;
        let next = match verdict::still(connected, client, turn, service) {
            Ok(connection) => {
                // Made when it is needed: what is kept over a wait is kept for idle connections, too.
                let way = Way { d, route, proxy, captures, backend };
                turn.sent = Sent::on(&connection, client, turn, way);
                let address = connection.address();
                let answered = if let Err(problem) = request_head::write(turn, way, address, client.now, due.at) {
                    Err(Ended::Refused(problem))
                } else if let Some(hedge) = hedge::of(turn, way) {
                    // Boxed: it is rare, and every other exchange would keep room for it.
                    Box::pin(hedge::attempt(client, turn, way, hedge, connection, &ask, &mut due)).await
                } else {
                    attempt::attempt(client, turn, Start::Connection(connection), d, route, &mut due).await
                };
                let way = Way { d, route, proxy, captures, backend };
                settled(&answered, client, turn, way, key.as_deref(), tries.tried());
                tries.after(answered, turn, backend, client, due.at)?
            }
            Err(refusal) => {
                service.learn_refusal(&refusal, client.now);
                verdict::refused(&refusal, client, turn, service);
                tries.another(refused(refusal), turn, backend, client, due.at)?
            }
        };
        match next {
            Next::Done(upstream) => {
                turn.x.trail.upstream = Some(client.now.saturating_duration_since(started));
                turn.upload.forget();
                turn.upstream = Some(upstream);
                return Ok(Transit::Upstream);
            }
            // Boxed: it is rare, and every other exchange would keep room for it.
            Next::Again(wait) if !wait.is_zero() => Box::pin(pause(client, turn, wait)).await?,
            Next::Again(_) => {}
        }
        client.look();
    }
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

/// Has everybody know how an attempt went who goes by that.
fn settled<S>(
    answered: &Result<Upstream, Ended>,
    client: &mut Client<S>,
    turn: &mut Turn,
    way: Way<'_>,
    key: Option<&[u8]>,
    tried: &[Address],
) {
    told(client, turn, answered);
    std::mem::take(&mut turn.sent).tell(answered, client, turn, way);
    if answered.is_ok() {
        learning::stay(turn, way.backend, key, tried, client.now);
    }
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
    let keys = backend.retrying.knows_keys;
    turn.is_harmless_twice =
        turn.x.head.method.is_idempotent() || (keys && turn.x.head.fields.get("idempotency-key").is_some());
    if turn.is_grpc && backend.retrying.is_on_unavailable() && proxy.retries.unwrap_or(backend.retries) > 0 {
        turn.upload.remember();
    }
    turn.try_timeout = proxy.try_timeout.or(backend.try_timeout.as_ref()).copied();
    match turn.connects && turn.upgrade.is_none() {
        true => Err(CONNECT.problem().detail("this route does not change to that protocol")),
        false => Ok(()),
    }
}

/// What would be sent is kept, and nothing is.
async fn rehearsed<S>(client: &mut Client<S>, turn: &mut Turn, way: Way<'_>) -> Result<Transit, Stop> {
    let Way { d, route, backend, .. } = way;
    let at = turn.x.by(client.now + route.bounds.timeout);
    let is_answered = route.hooks.attempt && answered(client, turn, route, backend.service.name(), at).await?;
    if let Some(stand_in) = d.stand_in.as_ref().filter(|_| !is_answered) {
        stand_in.answer(turn, way, at)?;
    }
    Ok(Transit::Own)
}

/// What policies say of an attempt, asked only if the service is not left alone; whether one of them answers instead.
async fn answered_before<S>(
    client: &mut Client<S>,
    turn: &mut Turn,
    route: &RoutePlan,
    service: &Service,
    at: Instant,
) -> Result<bool, Stop> {
    verdict::look(service, client.now)?;
    let is_answered = answered(client, turn, route, service.name(), at).await?;
    // That may have taken its time.
    client.look();
    Ok(is_answered)
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

/// Waits before another try, but not for a client that is gone.
async fn pause<S: Downstream>(client: &mut Client<S>, turn: &mut Turn, wait: Duration) -> Result<(), Stop> {
    unless_gone(client, turn, pin!(tokio::time::sleep(wait))).await
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

/// Back to the first byte of the request, whatever came of an answer forgotten; only what can be repeated.
pub(crate) fn start_over(turn: &mut Turn) {
    turn.was_begun |= turn.request_head.is_begun();
    turn.upload.repeat(turn.x.length);
    turn.x.reply.head.clear();
    turn.x.reply.head.fields.buffer.truncate(0);
}

/// What the choice of an instance goes by, if it goes by the request.
fn key(turn: &mut Turn, backend: &Backend) -> Option<Box<[u8]>> {
    let key = match &backend.sticky {
        Some(sticky) => learning::cookie(turn, sticky),
        None => backend.hash.as_ref().and_then(|hash| hashed(&turn.x, hash).map(Cow::into_owned)),
    };
    key.map(Vec::into_boxed_slice)
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
