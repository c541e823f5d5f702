//! A load client: shows whether a change of the gateway loses a request, or makes two of one.
//!
//! [`Load`] begins requests by schedule, whether or not earlier ones have ended (an open loop), over kept and new
//! connections, HTTP/1.1 and HTTP/2, with and without TLS. Each has an id of its own, which [`Backends`] log and echo with
//! the body. At the end, [`Outcome`] says what became of every id. [`Companions`] are connections that live on meanwhile.
//! [`BadProxy`] shows that the client would notice.
//!
//! It is not for measuring how fast something is: that is `bench/`.

mod allowed;
mod backends;
mod bad_proxy;
mod burst;
mod changing;
mod companions;
mod connection;
mod fate;
mod histogram;
mod http1;
mod http2;
mod lane;
mod legacy;
pub(crate) mod runner;
mod service;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::fate::{Fate, Ledger};
use self::lane::{Ask, Lane, Trouble};
use self::runner::Runner;
use crate::deadline::{Deadline, PATIENCE, now, pause, wait_until};
use crate::pki::Authority;

pub use self::allowed::{Allowed, Got, Missed};
pub use self::backends::Backends;
pub use self::bad_proxy::{BadProxy, Badness};
pub use self::burst::{Fared, Fares, Kind};
pub use self::changing::Changing;
pub use self::companions::Companions;
pub use self::fate::Outcome;
pub use self::histogram::Histogram;
pub use self::legacy::{Legacy, Work};

/// How requests go to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// HTTP/1.1 over connections that are kept.
    Kept,
    /// HTTP/1.1, each over a connection of its own.
    New,
    /// HTTP/2 over a few connections; without TLS by prior knowledge.
    Http2,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Target {
    address: SocketAddr,
    way: Way,
    host: String,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Target {
    /// This address, without TLS.
    #[must_use]
    pub fn new(address: SocketAddr, way: Way) -> Self {
        Self { address, way, host: "gateway.test".to_owned(), tls: None }
    }

    /// The same over TLS: the server must show a certificate of this authority for this name.
    ///
    /// # Panics
    /// When the authority's certificate is none.
    #[must_use]
    pub fn over_tls(mut self, authority: &Authority, name: &str) -> Self {
        self.tls = Some(Arc::new(connection::trusting(authority, self.way)));
        name.clone_into(&mut self.host);
        self
    }
}

/// Whether something that happens makes the run a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is counted, and no more.
    Allowed,
    /// It must not happen.
    Fault,
}

/// How the load is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests a second, over all targets.
    pub rate: u32,
    /// What stands before the id in the path; they take turns.
    pub paths: Vec<String>,
    /// One request in so many is a POST with a body; 0 for none.
    pub posts: u64,
    /// The length of those bodies.
    pub body: usize,
    /// How long a request may take, with all its tries.
    pub patience: Duration,
    /// Connections that are refused, before anything of a request was sent.
    pub refusals: Judged,
    /// Requests that had to be sent again: those that the server said it did not begin (RFC 9113 §8.7), and GETs on a
    /// connection that had been used before and was closed before any byte of an answer (RFC 9112 §9.3.1).
    pub retries: Judged,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate: 400,
            paths: vec!["/load".to_owned()],
            posts: 4,
            body: 2000,
            patience: PATIENCE,
            refusals: Judged::Fault,
            retries: Judged::Fault,
        }
    }
}

/// Requests that go on until they are stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    schedule: JoinHandle<()>,
    _runner: Runner,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    lanes: Vec<Lane>,
    options: Options,
    ledger: Ledger,
    in_flight: AtomicUsize,
    answered: AtomicU64,
}

/// Ids are unique in the process, so that backends may serve several loads.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// More at once than this are not begun but counted as lost: whoever is asked has stopped to answer.
const MOST_IN_FLIGHT: usize = 5000;
/// Tries of one request.
const TRIES: usize = 4;

impl Load {
    /// Begins to send to the targets in turn; `backends` are those that serve it in the end.
    ///
    /// # Panics
    /// When there is no target, or no request to send.
    #[must_use]
    pub fn start(backends: &Backends, targets: &[Target], options: Options) -> Self {
        assert!(!targets.is_empty() && !options.paths.is_empty() && options.rate > 0, "nothing to send");
        let runner = Runner::start("load");
        let shared = Arc::new(Shared {
            lanes: targets.iter().cloned().map(Lane::new).collect(),
            ledger: Ledger::new(backends.log(), NEXT.load(Ordering::Relaxed)),
            options,
            in_flight: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
        });
        let schedule = runner.spawn(schedule(Arc::clone(&shared)));
        Self { shared, schedule, _runner: runner }
    }

    /// How many were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// Waits until so many more were answered.
    ///
    /// # Panics
    /// When they are not in time; the message tells what became of the others.
    pub fn await_answers(&self, more: u64) {
        let enough = self.answered() + more;
        wait_until(&format!("{more} answers more; troubles: {:?}", self.troubles()), || self.answered() >= enough);
    }

    /// Goes on for so long.
    pub fn go_on(&self, time: Duration) {
        let deadline = Deadline::after(time);
        while deadline.left().is_some() {
            pause();
        }
    }

    /// The least id of the requests that are not begun yet.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        NEXT.load(Ordering::Acquire)
    }

    /// What went wrong so far: the first of it.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.shared.ledger.troubles()
    }

    /// Begins no more, waits for what is on its way, and compares with what the backends logged.
    ///
    /// # Panics
    /// When the client itself does not come to its end.
    #[must_use]
    pub fn stop(self) -> Outcome {
        self.schedule.abort();
        let deadline = Deadline::after(self.shared.options.patience + PATIENCE);
        while !self.schedule.is_finished() || self.shared.in_flight.load(Ordering::Acquire) > 0 {
            assert!(deadline.left().is_some(), "requests of the load client itself hang");
            pause();
        }
        self.shared.ledger.outcome(self.shared.options.refusals, self.shared.options.retries)
    }
}

async fn schedule(shared: Arc<Shared>) {
    let start = now();
    let period = Duration::from_secs(1) / shared.options.rate;
    for number in 0.. {
        let due = start + period * number;
        tokio::time::sleep_until(due.into()).await;
        let ask = shared.ask(u64::from(number));
        shared.ledger.begin(&ask);
        if shared.in_flight.fetch_add(1, Ordering::AcqRel) >= MOST_IN_FLIGHT {
            shared.ledger.end(&ask, Fate::Missed(Got::Nothing), 0, due);
            shared.ledger.trouble(&ask, "not begun, since too many were not answered yet");
            shared.in_flight.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        tokio::spawn(request(Arc::clone(&shared), ask, due));
    }
}

impl Shared {
    fn ask(&self, number: u64) -> Ask {
        let id = NEXT.fetch_add(1, Ordering::AcqRel);
        let lanes = self.lanes.len() as u64;
        // Every lane shall see every path and both methods, so each turns once the one before has been round.
        let (lane, round) = (number % lanes, number / lanes);
        let posts = self.options.posts;
        let body = if posts > 0 && round % posts == posts - 1 { self.options.body } else { 0 };
        let paths = self.options.paths.len() as u64;
        Ask {
            id,
            lane: lane as usize,
            path: format!("{}/{id}", self.options.paths[((round / posts.max(1)) % paths) as usize]),
            body: id.to_string().bytes().cycle().take(body).collect(),
        }
    }
}

async fn request(shared: Arc<Shared>, ask: Ask, due: Instant) {
    let mut retries = 0;
    let fate = match timeout(shared.options.patience, tries(&shared, &ask, &mut retries)).await {
        Ok(fate) => fate,
        Err(_) => {
            shared.ledger.trouble(&ask, "no answer in time");
            Fate::Missed(Got::Nothing)
        }
    };
    if fate == Fate::Answered {
        shared.answered.fetch_add(1, Ordering::AcqRel);
    }
    shared.ledger.end(&ask, fate, retries, due);
    shared.in_flight.fetch_sub(1, Ordering::AcqRel);
}

async fn tries(shared: &Shared, ask: &Ask, retries: &mut u8) -> Fate {
    let mut perhaps_begun = false;
    for _ in 0..TRIES {
        let trouble = match shared.lanes[ask.lane].send(ask).await {
            Ok(()) => return Fate::Answered,
            Err(trouble) => trouble,
        };
        shared.ledger.trouble(ask, &format!("try {}: {trouble}", *retries + 1));
        match trouble {
            Trouble::Refused(_) if !perhaps_begun => return Fate::Missed(Got::NoConnection),
            Trouble::NotBegun(_) => {}
            // Nobody may send a POST again whose fate it does not know (RFC 9110 §9.2.2).
            Trouble::Unheard(_) if ask.body.is_empty() => perhaps_begun = true,
            Trouble::Told(status, _) => return Fate::Missed(Got::Status(status)),
            Trouble::Refused(_) | Trouble::Unheard(_) | Trouble::Lost(_) => return Fate::Missed(Got::Nothing),
        }
        *retries += 1;
    }
    Fate::Missed(Got::Nothing)
}
