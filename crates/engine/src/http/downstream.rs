//! The client's side of one exchange: what serving a request needs of the connection it came on.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tollgate_core::body::Length;
use tollgate_core::facts::Conn;
use tollgate_http1::transfer::Outflow;

use crate::deployment::Deployment;
use crate::drain::Drain;
use crate::http::ends::{Sink, Source};
use crate::http::pump::Prefix;
use crate::http::timer::Timer;
use crate::http::turn::Turn;
use crate::worker::Worker;

/// The client of one exchange.
#[derive(Debug)]
pub(crate) struct Client<S> {
    /// What differs between the versions of HTTP.
    pub(crate) side: S,
    pub(crate) timer: Timer,
    pub(crate) worker: Arc<Worker>,
    pub(crate) conn: Arc<Conn>,
    /// Goes on when the connection is to end; that wakes its task.
    pub(crate) drain: Arc<Drain>,
    /// The time when somebody last looked at the clock: good enough for what need not be exact.
    pub(crate) now: Instant,
}

impl<S: Downstream> Client<S> {
    /// Whether the connection may stay open after this exchange.
    pub(crate) fn may_stay(&self, turn: &Turn, d: &Deployment) -> bool {
        self.side.may_stay(turn, d) && !self.drain.is_begun()
    }
}

impl<S> Client<S> {
    /// Looks at the clock.
    pub(crate) fn look(&mut self) -> Instant {
        self.now = self.worker.now();
        self.now
    }
}

/// How an answer's body goes out, and what its head says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framing {
    /// The length that the head tells.
    pub(crate) told: Length,
    pub(crate) outflow: Outflow,
    /// The end of the body is the end of the connection.
    pub(crate) ends_connection: bool,
}

/// How much of a request's body is still to come when nobody wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Nothing that is in anybody's way.
    Nothing,
    /// So little that reading it is cheaper for all than a new connection.
    Little,
    /// Much, or nobody knows.
    Much,
}

/// Why an answer is not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// There is no more of it.
    Broken,
    /// The client does not keep the pace.
    Slow,
}

/// The client was gone, or writing to it failed.
#[derive(Debug)]
pub(crate) struct Gone;

/// What differs between the versions of HTTP on the client's side.
pub(crate) trait Downstream: Send {
    /// Where the request's body comes from.
    fn source(&mut self) -> Source<'_>;

    /// Where the answer's body goes; `head` is written before it where heads are text.
    fn sink<'a>(&'a mut self, head: &'a mut Prefix) -> Sink<'a>;

    /// Bytes of the request's body that have come and that the source cannot give yet.
    fn arriving(&self) -> u64;

    /// Whether the client left, noticed while nothing is to be read from it. Its having sent its last byte is not that: it
    /// may well wait for the answer.
    fn is_gone(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> bool;

    /// Whether the connection may stay open after this exchange, as far as the connection knows.
    fn may_stay(&self, turn: &Turn, d: &Deployment) -> bool;

    /// Throws away what has come of a body that nobody wants, without waiting for more.
    fn poll_unread(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Unread;

    /// How much is still to come of a body that has not arrived whole.
    fn outstanding(turn: &Turn) -> Unread;

    /// Reads on in such a body; whether all of it came in good order.
    fn poll_discard(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<bool>;

    /// Passes an interim answer on, the head of which is in `turn.x.reply` (RFC 9110 §15.2).
    fn inform(&mut self, turn: &mut Turn) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Begins the answer, the head of which is in `turn.x.reply`. `stays`: the connection serves further requests.
    fn begin(
        &mut self,
        turn: &mut Turn,
        d: &Deployment,
        worker: &Worker,
        framing: Framing,
        stays: bool,
    ) -> Result<(), Gone>;

    /// Agrees to another protocol (RFC 9110 §15.2.2); what follows passes as it is.
    fn switch(&mut self, turn: &mut Turn, d: &Deployment, protocol: &[u8]) -> Result<(), Gone>;

    /// Says that nothing more will be sent; ready once that is out.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The answer is out, whole.
    fn end(&mut self);

    /// The answer ends here and must not look whole.
    fn cut(&mut self, why: Cut);
}
