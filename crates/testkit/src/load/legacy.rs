//! A service that can do just so much: it works on a few requests at a time, lets all others queue, and slows down the more do.
//!
//! Like many a service of another time, it does not notice that whoever asked has gone: it works on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::runner::Runner;
use super::wire::Wire;
use crate::deadline::now;

/// The service. It ends when it is dropped.
#[derive(Debug)]
pub struct Legacy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runner: Runner,
}

#[derive(Debug)]
struct Shared {
    work: Work,
    /// How long each takes now, in microseconds.
    each: AtomicU64,
    hands: Arc<Semaphore>,
    inside: AtomicU64,
    most_inside: AtomicU64,
    arrivals: Mutex<Vec<Instant>>,
}

/// What a service can do.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How many requests it works on at a time.
    pub hands: usize,
    /// How long each takes.
    pub each: Duration,
    /// With so many in its queue each takes twice as long.
    pub slows: u64,
}

impl Work {
    /// Whatever comes, at once.
    #[must_use]
    pub fn none() -> Self {
        Self { hands: Semaphore::MAX_PERMITS, each: Duration::ZERO, slows: u64::MAX }
    }

    /// How many it can do in a second, while nobody queues.
    #[must_use]
    pub fn a_second(&self) -> f64 {
        self.hands as f64 / self.each.as_secs_f64()
    }
}

impl Legacy {
    /// A service that can do so much.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start(work: Work) -> Self {
        let runner = Runner::start("legacy");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("its mode");
        let shared = Arc::new(Shared {
            work,
            each: AtomicU64::new(micros(work.each)),
            hands: Arc::new(Semaphore::new(work.hands)),
            inside: AtomicU64::new(0),
            most_inside: AtomicU64::new(0),
            arrivals: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        runner.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Self { address, shared, _runner: runner }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Each request takes so long from now on.
    pub fn takes(&self, each: Duration) {
        self.shared.each.store(micros(each), Ordering::Relaxed);
    }

    /// When each request came.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Instant> {
        self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests that are in it now.
    #[must_use]
    pub fn inside(&self) -> u64 {
        self.shared.inside.load(Ordering::Acquire)
    }

    /// The most requests that were in it at a time, since it was last asked.
    #[must_use]
    pub fn most_inside(&self) -> u64 {
        self.shared.most_inside.swap(self.inside(), Ordering::AcqRel)
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut wire = Wire::new(stream);
    while let Ok(head) = wire.head().await {
        shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(now());
        if wire.body(&head).await.is_err() {
            return;
        }
        // A task of its own: it comes to its end whoever is still there.
        let done = tokio::spawn(work(Arc::clone(&shared)));
        tokio::select! {
            _ = done => {}
            () = gone(&wire.stream) => return,
        }
        let answer = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", shared.report());
        if wire.send(answer.as_bytes()).await.is_err() || head.is_last() {
            return;
        }
    }
}

impl Shared {
    /// How busy it is, as ORCA has it.
    fn report(&self) -> String {
        let busy = self.inside.load(Ordering::Acquire) as f64 / self.work.hands.min(1_000_000) as f64;
        format!("endpoint-load-metrics: TEXT application_utilization={busy:.3}\r\n")
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns once nobody is at the other end any more.
async fn gone(stream: &TcpStream) {
    if matches!(stream.peek(&mut [0]).await, Ok(1)) {
        // Another request, before the answer to this one.
        std::future::pending::<()>().await;
    }
}

async fn work(shared: Arc<Shared>) {
    let inside = shared.inside.fetch_add(1, Ordering::AcqRel) + 1;
    shared.most_inside.fetch_max(inside, Ordering::AcqRel);
    let hand = shared.hands.acquire().await;
    let queue = shared.inside.load(Ordering::Acquire).saturating_sub(shared.work.hands as u64);
    let slower = 1.0 + queue as f64 / shared.work.slows as f64;
    let each = Duration::from_micros(shared.each.load(Ordering::Relaxed));
    if !each.is_zero() {
        tokio::time::sleep(each.mul_f64(slower)).await;
    }
    drop(hand);
    shared.inside.fetch_sub(1, Ordering::AcqRel);
}
