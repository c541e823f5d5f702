//! All that one request and its answer need while they are on their way; lent by the worker, not by the connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_core::body::{Body, Length};
use tollgate_core::buffer::Buffer;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::{Conn, Route};
use tollgate_http1::request::Verdict;
use tollgate_upstream::adaptive::Permit;
use tollgate_upstream::breaker::Pass;

use crate::forward::Upstream;
use crate::forward::verdict::Sent;
use crate::http::pump::{BodyLimits, Prefix, Pump};

/// Unused turns kept per thread.
const STOCK: usize = 64;

// Boxed, because a connection keeps its turn while it waits and must itself stay small: moving the box is moving a pointer.
type Stock = RefCell<Vec<Box<Turn>>>;

thread_local! {
    static FREE: Stock = const { RefCell::new(Vec::new()) };
    /// Whose turn it is while it is nobody's: what is known of a connection goes with it.
    static NOBODY: Arc<Conn> = Arc::new(Conn::by_unix_socket(0));
}

/// One request and its answer, with what moves them.
#[derive(Debug)]
pub(crate) struct Turn {
    /// What policies see.
    pub(crate) x: Exchange,
    /// What the request's head means.
    pub(crate) verdict: Verdict,
    /// The protocol that the client asks for instead of HTTP, if the route allows it.
    pub(crate) upgrade: Option<Bytes>,
    /// It is a `CONNECT` for the protocol in `Upgrade` (RFC 8441): an answer of 2xx would agree to it.
    pub(crate) connects: bool,
    /// It is a call of gRPC.
    pub(crate) is_grpc: bool,
    /// Whether repeating it does no harm, as far as the service is concerned.
    pub(crate) is_harmless_twice: bool,
    /// How long a try may wait for the head of an answer, from the end of the request on.
    pub(crate) try_timeout: Option<Duration>,
    /// The right to send it, where that is counted, until there is an answer. Here and not on the way, where it would be kept many times.
    pub(crate) permit: Option<Permit>,
    /// The right to make the attempt that is under way, where that is given. Here for the same reason.
    pub(crate) pass: Option<Pass>,
    /// Who is judged by the attempt that is under way. Here for the same reason.
    pub(crate) sent: Sent,
    /// Some of it was sent on in a try before this one.
    pub(crate) was_begun: bool,
    /// When all of the request's body was out, if it has one and that was seen; of the last try.
    pub(crate) body_out: Option<Instant>,
    /// Bytes that went up a tunnel.
    pub(crate) tunnelled: u64,
    /// What the answer comes from, if a service gives it. Here and not on the way, where it would be kept many times.
    pub(crate) upstream: Option<Upstream>,
    /// The request's body on its way up.
    pub(crate) upload: Pump,
    /// The answer's body on its way down.
    pub(crate) download: Pump,
    /// The head that goes up.
    pub(crate) request_head: Prefix,
    /// The head that goes down.
    pub(crate) reply_head: Prefix,
}

const NOTHING: Verdict = Verdict {
    length: Length::None,
    keep_alive: false,
    expects_continue: false,
    takes_trailers: false,
    upgrades: false,
};
const NO_BODY: BodyLimits = BodyLimits { content: 0, trailer: 0, trailer_fields: 0 };

impl Turn {
    /// One from the thread's stock, or a new one.
    pub(crate) fn take(conn: &Arc<Conn>, route: &Arc<Route>, began: Instant) -> Box<Self> {
        match FREE.with_borrow_mut(Vec::pop) {
            Some(mut turn) => {
                turn.renew(conn, route, began);
                turn
            }
            None => Box::new(Self {
                x: Exchange::new(Arc::clone(conn), Arc::clone(route), began),
                verdict: NOTHING,
                upgrade: None,
                connects: false,
                is_grpc: false,
                was_begun: false,
                is_harmless_twice: false,
                try_timeout: None,
                permit: None,
                pass: None,
                sent: Sent::default(),
                body_out: None,
                tunnelled: 0,
                upstream: None,
                upload: Pump::new(Length::None, NO_BODY, 0),
                download: Pump::new(Length::None, NO_BODY, 0),
                request_head: Prefix::default(),
                reply_head: Prefix::default(),
            }),
        }
    }

    /// Makes it ready for another request; the request buffer stays with what is in it.
    pub(crate) fn renew(&mut self, conn: &Arc<Conn>, route: &Arc<Route>, began: Instant) {
        self.x.reset(conn, route, began);
        self.x.reply.head.fields.buffer = Buffer::none();
        self.verdict = NOTHING;
        self.upgrade = None;
        self.connects = false;
        self.is_grpc = false;
        self.tunnelled = 0;
        self.upstream = None;
        self.upload = Pump::new(Length::None, NO_BODY, 0);
    }

    /// The head is complete and judged, the route known: the body may be read.
    pub(crate) fn expect_body(&mut self, limits: BodyLimits) {
        self.upload = Pump::new(self.x.length, limits, self.x.head.fields.head_len);
    }

    /// Keeps only what came behind this request; whether there is anything.
    pub(crate) fn keep_rest(&mut self) -> bool {
        let buffer = &mut self.x.head.fields.buffer;
        let end = buffer.len();
        buffer.keep(self.upload.from..end);
        !buffer.is_empty()
    }

    /// Keeps what somebody who only looked on at the request's body would have refused.
    pub(crate) fn note_shadow(&mut self) {
        let trail = &mut self.x.trail;
        if let (None, Some(problem)) = (trail.shadow, self.upload.shadow()) {
            trail.shadow = Some(problem.fault);
            trail.cause = trail.cause.take().or_else(|| problem.cause.clone());
        }
    }

    /// It ends here and now: what was sent of an answer is all there will be.
    pub(crate) fn cut(&mut self) {
        let trail = &mut self.x.trail;
        if trail.status > 0 && trail.bytes_out == 0 {
            trail.bytes_out = self.reply_head.written() + self.download.sent;
        }
        trail.cause.get_or_insert_with(|| {
            "cut before its end: its connection is gone, or the time to drain is over".to_owned()
        });
    }

    /// Gives it back to the thread's stock, and its buffers to the worker's.
    pub(crate) fn give_back(mut self: Box<Self>) {
        // Whatever one request needed much of is not kept for those that do not: compressors, bodies, who called.
        self.upstream = None;
        self.permit = None;
        self.pass = None;
        self.sent = Sent::default();
        self.upload = Pump::new(Length::None, NO_BODY, 0);
        self.download = Pump::new(Length::None, NO_BODY, 0);
        self.x.content = None;
        self.x.principal = None;
        self.x.recoders = Vec::new();
        self.x.reply.recoders = Vec::new();
        self.x.reply.body = Body::Empty;
        self.x.onward.clear();
        self.x.conn = NOBODY.with(Arc::clone);
        self.x.head.fields.buffer = Buffer::none();
        self.x.reply.head.fields.buffer = Buffer::none();
        FREE.with_borrow_mut(|free| {
            if free.len() < STOCK {
                free.push(self);
            }
        });
    }
}
