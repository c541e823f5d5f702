//! Copies of requests for another service, whose answers nobody sees (row E2).
//!
//! A copy is made once the policies agree, and sent by a task of its own once all of the request's body has passed: the
//! request itself waits for nothing of it, and is served as if there were none. What is held for copies is bounded: so many
//! at a time, each with so large a body. The trailers of a body are not copied.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tollgate_core::body::Length;
use tollgate_core::facts::Conn;
use tollgate_core::field::Known;
use tollgate_core::head::Fields;
use tollgate_core::secrets::{is_secret, without_secrets};
use tollgate_observe::metrics::Copied;
use tollgate_plan::{Action, Captures, Mirror, Proxy, RoutePlan};

use crate::deployment::Deployment;
use crate::forward;
use crate::http::downstream::Client;
use crate::http::nobody::Nobody;
use crate::http::pump::{Kept, Pump, Tee};
use crate::http::timer::Timer;
use crate::http::turn::Turn;
use crate::respond;
use crate::serve::{After, Stop};
use crate::worker::Worker;

/// Begins a copy of this request, if its route wants one.
pub(crate) fn copy<S>(
    client: &Client<S>,
    turn: &mut Turn,
    d: &Arc<Deployment>,
    route: &RoutePlan,
    proxy: &Proxy,
    captures: &Captures,
) {
    let Some(mirror) = &proxy.mirror else { return };
    if d.stand_in.is_some() {
        return;
    }
    // What becomes of a change of protocol depends on both sides.
    if forward::wanted_upgrade(turn, route).is_some() || fastrand::u16(..10_000) >= mirror.share {
        return;
    }
    if matches!(turn.x.length, Length::Known(n) if n > mirror.body as u64) {
        return mirror.metrics.watch().copied(Copied::TooLarge);
    }
    let Some(place) = Place::take(mirror) else { return mirror.metrics.watch().copied(Copied::Crowded) };
    let mut copied = Turn::take(&client.conn, &mirror.route.meta, client.now);
    fill(&mut copied, turn, proxy, captures, mirror);
    let body = match turn.x.length {
        Length::None => None,
        Length::Known(_) | Length::Chunked | Length::UntilClose => {
            let (to, body) = oneshot::channel();
            turn.upload.tee_to(Tee::new(mirror.body, to));
            Some(body)
        }
    };
    let (d, worker, conn) = (Arc::clone(d), Arc::clone(&client.worker), Arc::clone(&client.conn));
    tokio::spawn(async move {
        let sent = send(copied, body, d, worker, conn, &place.0).await;
        place.0.metrics.watch().copied(sent);
    });
}

/// A place among the copies that may be held at a time.
struct Place(Arc<Mirror>);

impl Place {
    fn take(mirror: &Arc<Mirror>) -> Option<Self> {
        let place = Self(Arc::clone(mirror));
        let before = mirror.route.metrics.copies().fetch_add(1, Ordering::AcqRel);
        (before < mirror.at_once).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.route.metrics.copies().fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the copy says: what the service itself is sent, without what lets the client in.
fn fill(copied: &mut Turn, turn: &Turn, proxy: &Proxy, captures: &Captures, mirror: &Mirror) {
    let (x, of) = (&mut copied.x, &turn.x);
    x.id = of.id;
    x.trace = of.trace;
    x.peer = of.peer;
    x.client = of.client;
    x.scheme = of.scheme;
    x.criticality = mirror.route.criticality;
    x.head.copy(&of.head);
    if let Some(change) = &proxy.path {
        let mut path = Vec::with_capacity(of.head.path().len());
        change.write(of.head.path(), captures, &mut path);
        x.head.normal_path = Some(path);
    }
    if mirror.strips_credentials {
        x.head.strip_query();
        strip_referer(&mut x.head.fields);
    }
    let is_left_out = |name: &[u8]| {
        (mirror.strips_credentials && is_secret(name))
            || mirror.without.iter().any(|without| without.eq_ignore_ascii_case(name))
    };
    x.head.fields.remove_all(is_left_out);
    copied.verdict.takes_trailers = turn.verdict.takes_trailers;
    copied.is_grpc = turn.is_grpc;
}

/// Where the client came from may tell of secrets, too: those in that query are left out.
fn strip_referer(fields: &mut Fields) {
    let open = |referer: &[u8]| {
        let mark = referer.iter().position(|b| *b == b'?')?;
        Some([&referer[..=mark], &without_secrets(&referer[mark + 1..])?].concat())
    };
    // There should be one, but all that there are may tell.
    if fields.known(Known::Referer).is_none() || fields.all("Referer").all(|referer| open(referer).is_none()) {
        return;
    }
    let all: Vec<Vec<u8>> = fields.all("Referer").map(|referer| open(referer).unwrap_or(referer.to_vec())).collect();
    fields.remove("Referer");
    all.into_iter().for_each(|referer| fields.add("Referer", referer));
}

/// Sends a copy once its body is there; what became of it.
async fn send(
    mut turn: Box<Turn>,
    body: Option<oneshot::Receiver<Kept>>,
    d: Arc<Deployment>,
    worker: Arc<Worker>,
    conn: Arc<Conn>,
    mirror: &Mirror,
) -> Copied {
    let body = match body {
        None => None,
        Some(body) => match body.await {
            Ok(Kept::Whole(body)) => Some(body),
            Ok(Kept::TooLarge) => return Copied::TooLarge,
            Err(_) => return Copied::Incomplete,
        },
    };
    turn.x.length = body.as_ref().map_or(Length::None, |body| Length::Known(body.len() as u64));
    turn.upload = Pump::holding(body.unwrap_or_default());
    let now = worker.now();
    turn.x.began = now;
    turn.x.deadline = mirror.route.bounds.total.map(|total| now + total);
    let drain = Arc::default();
    let mut client = Client { side: Nobody, timer: Timer::default(), worker, conn, drain, now };
    let answered =
        tokio::time::timeout(mirror.route.bounds.timeout, exchange(&mut client, &mut turn, &d, mirror)).await;
    turn.give_back();
    match answered {
        Ok(Ok(())) => Copied::Answered,
        Ok(Err(_)) | Err(_) => Copied::Failed,
    }
}

/// Sends a copy, and reads its answer to the end.
async fn exchange(client: &mut Client<Nobody>, turn: &mut Turn, d: &Deployment, mirror: &Mirror) -> Result<(), Stop> {
    let (Action::Proxy(proxy), Some(service)) = (&mirror.route.action, mirror.service()) else { return Ok(()) };
    let Some(backend) = d.backends.get(service.slot) else { return Ok(()) };
    turn.request_head.clear();
    let transit = forward::forward(client, turn, d, &mirror.route, proxy, &Captures::default(), backend).await?;
    match respond::send(client, turn, d, &mirror.route, transit, true).await {
        After::Close(_) => Err(Stop::ClientGone),
        After::Next | After::Linger(_) => Ok(()),
    }
}
