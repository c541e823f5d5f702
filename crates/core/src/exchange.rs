//! One request and its answer, as everything on its way sees it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::body::{Body, Length, Recoder};
use crate::counters::Taken;
use crate::country::{Countries, Country};
use crate::criticality::Criticality;
use crate::facts::{Address, ClientAddress, Conn, Route};
use crate::head::RequestHead;
use crate::ids::{CorrelationId, Trace};
use crate::in_flight::Held;
use crate::onward::Onward;
use crate::principal::Principal;
use crate::problem::Fault;
use crate::reply::Reply;

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// The correlation id: the client's, or one made here.
    pub id: CorrelationId,
    /// The trace it belongs to.
    pub trace: Trace,
    /// The connection it came on.
    pub conn: Arc<Conn>,
    /// The route found; before that, the one of requests that match none.
    pub route: Arc<Route>,
    /// Who is at the other end of the connection.
    pub peer: Peer,
    /// The client as far as it is believed: the peer, or whom a trusted proxy names.
    pub client: ClientAddress,
    /// The country that it is in, once somebody asked; see [`Exchange::country`].
    pub located: OnceLock<Option<Country>>,
    /// `https` or `http`, as the client sees it.
    pub scheme: &'static str,
    /// The host that the client asked for, if a trusted proxy says so; see [`Exchange::asked_host`].
    pub told_host: Option<Box<str>>,
    /// Who calls, once a policy has found out.
    pub principal: Option<Arc<Principal>>,
    /// What an attempt says of the caller in place of what the client sent.
    pub onward: Onward,
    /// The request's head.
    pub head: RequestHead,
    /// How the request's body ends.
    pub length: Length,
    /// All of the request's body, if a policy or handler wanted it: as the recoders give it that were there then.
    pub content: Option<Bytes>,
    /// What changes the request's body on its way to the service: the first one reads what the client sends, each other one
    /// what the one before it gives. With any that does not only look, nobody knows how long the body will be.
    pub recoders: Vec<Box<dyn Recoder>>,
    /// The answer, once there is one.
    pub reply: Reply,
    /// What is left of the limits that counted it.
    pub limits: Vec<Left>,
    /// Its places among those that limits count while they are in flight: given back when it is over, whatever became of it.
    pub held: Vec<Held>,
    /// When the first byte of the request was read.
    pub began: Instant,
    /// When it must be over, answer and all: what the route's `total` says, or the client (`grpc-timeout`), whichever comes
    /// first.
    pub deadline: Option<Instant>,
    /// How much it matters that it is served.
    pub criticality: Criticality,
    /// By when a policy that has to wait must be done; `None`: nobody bounds it.
    pub due: Option<Instant>,
    /// What happened on the way, for logs and metrics.
    pub trail: Trail,
}

/// Who is at the other end of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The client itself, or somebody nobody vouches for.
    Client,
    /// A proxy of `trust`, which is believed about its client.
    Proxy,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// Of which.
    pub of: u64,
    /// How much.
    pub taken: Taken,
    /// Whether `X-RateLimit-*` may tell it.
    pub in_x: bool,
}

/// What happened on the way.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// The fault of an answer that the gateway itself gave.
    pub fault: Option<&'static Fault>,
    /// What it would have been refused with by something that only looks on.
    pub shadow: Option<&'static Fault>,
    /// What really happened, for our log only.
    pub cause: Option<String>,
    /// The service asked last.
    pub service: Option<Arc<str>>,
    /// The instance asked last.
    pub instance: Option<Address>,
    /// How often an instance was asked.
    pub attempts: u32,
    /// From the start of the first attempt to the head of the answer.
    pub upstream: Option<Duration>,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// The status sent, 0 if none was.
    pub status: u16,
}

impl Exchange {
    /// An exchange with nothing in it yet.
    #[must_use]
    pub fn new(conn: Arc<Conn>, route: Arc<Route>, began: Instant) -> Self {
        Self {
            id: CorrelationId::EMPTY,
            trace: Trace { id: 0, span: 0, flags: 0 },
            peer: Peer::Client,
            client: conn.peer(),
            located: OnceLock::new(),
            scheme: conn.scheme(),
            told_host: None,
            conn,
            route,
            principal: None,
            onward: Onward::default(),
            head: RequestHead::default(),
            length: Length::None,
            content: None,
            recoders: Vec::new(),
            reply: Reply::default(),
            limits: Vec::new(),
            held: Vec::new(),
            began,
            deadline: None,
            criticality: Criticality::default(),
            due: None,
            trail: Trail::default(),
        }
    }

    /// The host that the client asked for, with its port: what a trusted proxy says, or `Host`.
    #[must_use]
    pub fn asked_host(&self) -> &str {
        self.told_host.as_deref().unwrap_or_else(|| self.head.host())
    }

    /// The country that the client is in, if that is known. Looked up once, however many ask.
    #[must_use]
    pub fn country(&self, known: &dyn Countries) -> Option<Country> {
        *self.located.get_or_init(|| self.client.ip().and_then(|address| known.of(address)))
    }

    /// The earlier of `at` and the time when it must be over.
    #[must_use]
    pub fn by(&self, at: Instant) -> Instant {
        self.deadline.map_or(at, |deadline| deadline.min(at))
    }

    /// Makes it ready for another request; memory that heads grew stays with it, buffers go back to the worker.
    pub fn reset(&mut self, conn: &Arc<Conn>, route: &Arc<Route>, began: Instant) {
        self.id = CorrelationId::EMPTY;
        self.trace = Trace { id: 0, span: 0, flags: 0 };
        self.conn = Arc::clone(conn);
        self.route = Arc::clone(route);
        self.peer = Peer::Client;
        self.client = conn.peer();
        self.located = OnceLock::new();
        self.scheme = conn.scheme();
        self.told_host = None;
        self.principal = None;
        self.onward.clear();
        self.head.clear();
        self.length = Length::None;
        self.content = None;
        self.recoders.clear();
        self.reply.head.clear();
        self.reply.body = Body::Empty;
        self.reply.recoders.clear();
        self.limits.clear();
        self.held.clear();
        self.began = began;
        self.deadline = None;
        self.criticality = Criticality::default();
        self.due = None;
        self.trail = Trail::default();
    }
}
