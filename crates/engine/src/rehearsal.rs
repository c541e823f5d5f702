//! A request that is served as any other, without a client and without a service: for `tollgate test`.
//!
//! Nothing is sent. Where a request would go to a service, what would be sent is kept, and the service answers 200.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::facts::{Address, Conn, Route};
use tollgate_core::principal::Principal;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_http1::{Parsed, request, write};

use crate::deployment::Deployment;
use crate::faults::HEAD_TIMEOUT;
use crate::gateway::Parts;
use crate::http::downstream::{Client, Cut, Downstream, Framing, Gone, Unread};
use crate::http::ends::{Sink, Source};
use crate::http::pump::Prefix;
use crate::http::request_head::{self, Way};
use crate::http::timer::Timer;
use crate::http::turn::Turn;
use crate::serve::serve;
use crate::worker::Worker;

/// A request as its client sends it.
#[derive(Debug)]
pub struct Asked {
    /// Start line and fields, with the empty line behind them. A body is only told of.
    pub head: Vec<u8>,
    /// By TLS.
    pub is_https: bool,
    /// Who connects, and where.
    pub conn: Conn,
    /// Who calls, as sources of identity that stand in take it over.
    pub caller: Option<Principal>,
}

/// What became of it.
#[derive(Debug)]
pub struct Answered {
    /// The route.
    pub route: Arc<Route>,
    /// The status.
    pub status: u16,
    /// The answer's fields.
    pub fields: Vec<(String, String)>,
    /// The slug of its problem, if it is one.
    pub problem: Option<&'static str>,
    /// What a service would be sent, if one is asked.
    pub sent: Option<Forwarded>,
}

/// What a service would be sent.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// Its name; of a split, the first of them.
    pub service: Arc<str>,
    /// The names of all services among which the request might be split.
    pub among: Vec<Arc<str>>,
    /// Start line and fields.
    pub head: String,
}

/// Stands where services are.
#[derive(Debug, Default)]
pub struct StandIn(Mutex<Option<Forwarded>>);

impl StandIn {
    /// Keeps what would be sent, and answers.
    ///
    /// # Errors
    /// Nothing can be sent.
    pub(crate) fn answer(&self, turn: &mut Turn, way: Way<'_>, due: Instant) -> Result<(), Problem> {
        let Way { d, proxy, backend, .. } = way;
        // What has an address of its own says so in `Host`; which of the instances it is does not matter.
        let nowhere = Address::Unix(Arc::from(std::path::Path::new("instance")));
        request_head::write(turn, way, &nowhere, turn.x.began, due)?;
        let head = String::from_utf8_lossy(&turn.request_head.bytes).into_owned();
        let backends = proxy.targets.iter().filter_map(|(service, _)| d.backends.get(service.slot));
        let among = backends.map(|backend| backend.service.name().clone()).collect();
        let sent = Forwarded { service: backend.service.name().clone(), among, head };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
        turn.x.reply = Reply::full(200, "text/plain", "");
        Ok(())
    }

    fn take(&self) -> Option<Forwarded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves a request of nobody. `d` must have a [`StandIn`]; the clock of `parts` may be a fake one.
pub async fn rehearse(d: &Arc<Deployment>, parts: &Parts, asked: Asked) -> Answered {
    let worker = Worker::new(0, parts, None, Deployment::clone(d));
    let (conn, now) = (Arc::new(asked.conn), worker.now());
    let mut turn = Turn::take(&conn, &d.plan.unrouted.meta, now);
    turn.x.head.fields.buffer = Buffer::holding(&asked.head);
    let refused = read(&mut turn, d).err();
    turn.x.principal = asked.caller.map(Arc::new);
    if asked.is_https {
        turn.x.scheme = "https";
    }
    let side = Listener::default();
    let mut client = Client { side, timer: Timer::default(), worker, conn, drain: Arc::default(), now };
    serve(&mut client, &mut turn, d, refused).await;
    Answered {
        route: Arc::clone(&turn.x.route),
        status: client.side.status,
        fields: std::mem::take(&mut client.side.fields),
        problem: turn.x.trail.fault.map(|fault| fault.slug),
        sent: d.stand_in.as_ref().and_then(|stand_in| stand_in.take()),
    }
}

fn read(turn: &mut Turn, d: &Deployment) -> Result<(), Problem> {
    match request::Reader::default().read(&mut turn.x.head, &d.rules.heads)? {
        Parsed::Complete => {}
        // What does not fit into a buffer is refused before.
        _ => return Err(HEAD_TIMEOUT.problem()),
    }
    turn.verdict = request::judge(&mut turn.x.head)?;
    turn.x.length = turn.verdict.length;
    Ok(())
}

/// A client that only remembers the head of the answer.
#[derive(Debug, Default)]
struct Listener {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Downstream for Listener {
    fn source(&mut self) -> Source<'_> {
        Source::Held
    }

    fn sink<'a>(&'a mut self, _: &'a mut Prefix) -> Sink<'a> {
        Sink::Nowhere
    }

    fn arriving(&self) -> u64 {
        0
    }

    fn is_gone(&mut self, _: &mut Context<'_>, _: &mut Turn) -> bool {
        false
    }

    fn may_stay(&self, _: &Turn, _: &Deployment) -> bool {
        false
    }

    fn poll_unread(&mut self, _: &mut Context<'_>, _: &mut Turn) -> Unread {
        Unread::Nothing
    }

    fn outstanding(_: &Turn) -> Unread {
        Unread::Nothing
    }

    fn poll_discard(&mut self, _: &mut Context<'_>, _: &mut Turn) -> Poll<bool> {
        Poll::Ready(true)
    }

    async fn inform(&mut self, _: &mut Turn) -> Result<(), Gone> {
        Ok(())
    }

    fn begin(&mut self, turn: &mut Turn, _: &Deployment, _: &Worker, framing: Framing, _: bool) -> Result<(), Gone> {
        let head = &turn.x.reply.head;
        self.status = head.status;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        write::each(&head.fields, |_, _| false, |name, value| self.fields.push((text(name), text(value))));
        if let Length::Known(n) = framing.told {
            self.fields.push(("Content-Length".to_owned(), n.to_string()));
        }
        Ok(())
    }

    fn switch(&mut self, _: &mut Turn, _: &Deployment, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn end(&mut self) {}

    fn cut(&mut self, _: Cut) {}
}
