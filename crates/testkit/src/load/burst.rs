//! Several kinds of requests at once, each at a rate of its own, whatever becomes of them (an open loop): and what became of them, when.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::runner::Runner;
use super::wire::Wire;
use crate::deadline::{Deadline, PATIENCE, now, pause};

/// Most connections that rest.
const RESTING: usize = 256;

/// One kind of requests.
#[derive(Clone, Debug)]
pub struct Kind {
    /// What it is called in the outcome.
    pub name: &'static str,
    /// The path; `{n}` stands for the number of the request.
    pub path: String,
    /// How many come in a second, evenly spaced.
    pub rate: u32,
    /// From when on, and until when, from the beginning.
    pub during: (Duration, Duration),
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub struct Fared {
    /// Its kind.
    pub kind: &'static str,
    /// When it was due, from the beginning.
    pub at: Duration,
    /// The status of its answer; 0: there was none in time.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
}

/// What became of all of them.
#[derive(Clone, Debug, Default)]
pub struct Fares(pub Vec<Fared>);

impl Fares {
    /// Sends all kinds to this address, and waits until the last one has its answer or `patience` is over.
    ///
    /// # Panics
    /// When the client itself does not come to its end.
    #[must_use]
    pub fn of(address: SocketAddr, kinds: &[Kind], patience: Duration) -> Self {
        let runner = Runner::start("burst");
        let shared =
            Arc::new(Shared { address, patience, began: now(), idle: Mutex::default(), fared: Mutex::default() });
        let schedules: Vec<_> =
            kinds.iter().map(|kind| runner.spawn(schedule(Arc::clone(&shared), kind.clone()))).collect();
        let last = kinds.iter().map(|kind| kind.during.1).max().unwrap_or_default();
        let deadline = Deadline::after(last + patience + PATIENCE);
        // Each request holds on to what they share.
        while !schedules.iter().all(|schedule| schedule.is_finished()) || Arc::strong_count(&shared) > 1 {
            assert!(deadline.left().is_some(), "requests of the client itself hang");
            pause();
        }
        let mut fared = std::mem::take(&mut *shared.fared.lock().unwrap_or_else(PoisonError::into_inner));
        fared.sort_by_key(|one| one.at);
        Self(fared)
    }

    /// Those of a kind (any, if it is empty) that were due in this time.
    pub fn within(&self, kind: &str, from: Duration, to: Duration) -> impl Iterator<Item = &Fared> {
        self.0.iter().filter(move |one| (kind.is_empty() || one.kind == kind) && (from..to).contains(&one.at))
    }

    /// Which share of them was answered with 200.
    #[must_use]
    pub fn success(&self, kind: &str, from: Duration, to: Duration) -> f64 {
        let all = self.within(kind, from, to).count();
        self.within(kind, from, to).filter(|one| one.status == 200).count() as f64 / all.max(1) as f64
    }

    /// How many answers with 200 came in a second, by when they came.
    #[must_use]
    pub fn goodput(&self, kind: &str, from: Duration, to: Duration) -> f64 {
        let is_good = |one: &&Fared| {
            one.status == 200 && (kind.is_empty() || one.kind == kind) && (from..to).contains(&(one.at + one.took))
        };
        self.0.iter().filter(is_good).count() as f64 / (to - from).as_secs_f64()
    }
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    patience: Duration,
    began: Instant,
    idle: Mutex<Vec<Wire<TcpStream>>>,
    fared: Mutex<Vec<Fared>>,
}

async fn schedule(shared: Arc<Shared>, kind: Kind) {
    let period = Duration::from_secs(1) / kind.rate.max(1);
    for number in 0.. {
        let at = kind.during.0 + period * number;
        if at >= kind.during.1 {
            return;
        }
        tokio::time::sleep_until((shared.began + at).into()).await;
        let path = kind.path.replace("{n}", &number.to_string());
        let (shared, name) = (Arc::clone(&shared), kind.name);
        tokio::spawn(async move {
            let status = timeout(shared.patience, shared.ask(&path)).await.ok().flatten().unwrap_or(0);
            let took = now().saturating_duration_since(shared.began + at);
            let fared = Fared { kind: name, at, status, took };
            shared.fared.lock().unwrap_or_else(PoisonError::into_inner).push(fared);
        });
    }
}

impl Shared {
    async fn ask(&self, path: &str) -> Option<u16> {
        let rested = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut wire = match rested {
            Some(wire) => wire,
            None => Wire::new(TcpStream::connect(self.address).await.ok()?),
        };
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n").as_bytes()).await.ok()?;
        let head = wire.head().await.ok()?;
        wire.body(&head).await.ok()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !head.is_last() && idle.len() < RESTING {
            idle.push(wire);
        }
        head.word(1).parse().ok()
    }
}
