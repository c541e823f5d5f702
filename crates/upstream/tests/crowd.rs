//! L1: many requests of several workers want few connections. Nobody is forgotten, and the limit holds.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream as Peeked};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{Barrier, Notify, oneshot};
use tokio::task::{JoinSet, LocalSet, spawn_local, yield_now};
use tokio::time::timeout;
use tollgate_core::clock::Clock;
use tollgate_observe::metrics::Metrics;
use tollgate_registry::{Endpoint, View};
use tollgate_upstream::balance::Algorithm;
use tollgate_upstream::{Ask, Budget, Connection, Protocol, Refusal, Service, SessionSettings, Settings, Watch, Whole};

const WORKERS: usize = 4;
/// Nothing here takes a second; whoever is forgotten in the queue waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than patience, so that no time in the queue hides a lost wake-up.
const FOR_EVER: Duration = Duration::from_secs(600);

/// How many want how much.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    /// Most connections.
    limit: u32,
    /// Requests of each worker that come together.
    each: usize,
    /// How often they do. The last of a round has nobody behind it whose going would wake it too.
    rounds: usize,
}

/// What a holder of a connection says to the backend, which says it back.
const BEGIN: u8 = b'b';
const END: u8 = b'e';

/// What the backend saw of both instances together.
#[derive(Debug, Default)]
struct Seen {
    /// Connections that are open.
    open: AtomicU32,
    most_open: AtomicU32,
    /// Connections between [`BEGIN`] and [`END`].
    busy: AtomicU32,
    most_busy: AtomicU32,
}

/// Two instances on one thread, until told to end.
struct Backend {
    addresses: [SocketAddr; 2],
    seen: Arc<Seen>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start(limit: u32) -> Self {
        let seen = Arc::<Seen>::default();
        let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let (end, ended) = oneshot::channel();
        let watched = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let accepting = async {
                let [first, second] = listeners.map(|listener| {
                    listener.set_nonblocking(true).unwrap();
                    TcpListener::from_std(listener).unwrap()
                });
                let open = Rc::default();
                tokio::join!(accept(first, &open, &watched, limit), accept(second, &open, &watched, limit));
            };
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = accepting => {}
                    _ = ended => {}
                }
            });
        });
        Self { addresses, seen, end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the backend failed");
    }
}

/// The connections of both instances that were not seen to end.
type Open = Rc<RefCell<Vec<Rc<Peeked>>>>;

async fn accept(listener: TcpListener, open: &Open, seen: &Arc<Seen>, limit: u32) {
    loop {
        let stream = listener.accept().await.unwrap().0.into_std().unwrap();
        let peeked = Rc::new(stream.try_clone().unwrap());
        open.borrow_mut().push(Rc::clone(&peeked));
        seen.open.fetch_add(1, SeqCst);
        count_open(open, seen, limit).await;
        let (open, seen) = (Rc::clone(open), Arc::clone(seen));
        spawn_local(async move {
            serve(TcpStream::from_std(stream).unwrap(), &seen).await;
            open.borrow_mut().retain(|other| !Rc::ptr_eq(other, &peeked));
            seen.open.fetch_sub(1, SeqCst);
        });
    }
}

/// Notes how many connections are open, but for those whose end has come and was only not read yet. The system brings
/// the end of one before the beginning of the next, but for a moment under load.
async fn count_open(open: &Open, seen: &Seen, limit: u32) {
    let count = || {
        let alive = |stream: &&Rc<Peeked>| !matches!(stream.peek(&mut [0]), Ok(0));
        u32::try_from(open.borrow().iter().filter(alive).count()).unwrap()
    };
    let settled = async {
        while count() > limit {
            yield_now().await;
        }
    };
    let _ = timeout(Duration::from_secs(1), settled).await;
    seen.most_open.fetch_max(count(), SeqCst);
}

/// Says back what it is told, until the end.
async fn serve(mut stream: TcpStream, seen: &Seen) {
    let mut said = [0];
    while stream.read_exact(&mut said).await.is_ok() {
        match said[0] {
            BEGIN => seen.most_busy.fetch_max(seen.busy.fetch_add(1, SeqCst) + 1, SeqCst),
            _ => seen.busy.fetch_sub(1, SeqCst),
        };
        if stream.write_all(&said).await.is_err() {
            break;
        }
    }
}

/// What the workers share.
struct World {
    crowd: Crowd,
    service: Arc<Service>,
    clock: Clock,
    bells: Arc<[Notify]>,
    /// A round ends for all together; until then each goes on sweeping.
    finished: Barrier,
    answered: AtomicUsize,
    gave_up: AtomicUsize,
}

impl World {
    fn new(crowd: Crowd, addresses: &[SocketAddr]) -> Self {
        let (clock, bells) = (Clock::real(), (0..WORKERS).map(|_| Notify::new()).collect::<Arc<[Notify]>>());
        let settings = Settings {
            connections: Some(crowd.limit),
            each: None,
            queue_size: u32::try_from(WORKERS * crowd.each).unwrap(),
            queue_timeout: FOR_EVER,
            smooth: None,
            adaptive: None,
            connect_timeout: FOR_EVER,
            idle_most: 8,
            idle_for: FOR_EVER,
            age: None,
            source: None,
            proxy_protocol: None,
            tls: None,
            protocol: Protocol::Http1,
            sessions: SessionSettings { streams: 100, head: 65_536 },
            watch: Watch::default(),
            breaker: None,
        };
        let metrics = Metrics::new(WORKERS).service("s");
        let (budget, bell) = (Budget::new(2000, 3), Arc::clone(&bells));
        let service = Service::new("s", settings, budget, Algorithm::RoundRobin, metrics, bell, clock.clone());
        service.update(&View::fresh(addresses.iter().map(|address| Endpoint::new(*address, 1))));
        let (answered, gave_up) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { crowd, service, clock, bells, finished: Barrier::new(WORKERS), answered, gave_up }
    }

    async fn ask(&self, worker: usize) -> Result<Whole, Refusal> {
        let now = self.clock.now();
        let ask = Ask {
            worker,
            key: None,
            client: None,
            tried: &[],
            fresh: false,
            criticality: tollgate_core::criticality::Criticality::Normal,
            only_once: true,
            trial: None,
            now,
            deadline: now + FOR_EVER,
        };
        match self.service.connection(&ask).await? {
            Connection::Whole(whole) => Ok(whole),
            Connection::Shared(share) => panic!("{share:?}"),
        }
    }

    /// One request: waits for a connection, or not for long; holds it; releases or closes it.
    async fn request(self: Arc<Self>, worker: usize, mut random: Rng) {
        yields(random.u32(0..50)).await;
        let mut asking = spawn_local({
            let world = Arc::clone(&self);
            async move { world.ask(worker).await }
        });
        if random.u8(0..3) == 0 {
            // Left from without, so that what was granted in the meantime may be on its way still.
            tokio::select! {
                biased;
                () = yields(random.u32(0..40)) => asking.abort(),
                () = async { while !asking.is_finished() { yield_now().await } } => {}
            }
        }
        let asked = match (&mut asking).await {
            Ok(asked) => asked,
            Err(left) => {
                assert!(left.is_cancelled(), "{left}");
                self.gave_up.fetch_add(1, SeqCst);
                return;
            }
        };
        let mut connection = asked.unwrap();
        assert!(self.service.open() <= self.crowd.limit);
        exchange(&mut connection, BEGIN).await;
        yields(random.u32(0..20)).await;
        exchange(&mut connection, END).await;
        if random.u8(0..5) == 0 {
            drop(connection)
        } else {
            connection.release(self.clock.now())
        }
        self.answered.fetch_add(1, SeqCst);
    }

    /// A worker as the gateway has it, but for the tick that would make good for a lost wake-up.
    async fn worker(self: Arc<Self>, index: usize, seed: u64) {
        let sweeping = spawn_local({
            let world = Arc::clone(&self);
            async move {
                loop {
                    world.bells[index].notified().await;
                    world.service.sweep(index, world.clock.now());
                }
            }
        });
        let mut seeds = Rng::with_seed(seed);
        for _ in 0..self.crowd.rounds {
            let mut requests = JoinSet::new();
            for _ in 0..self.crowd.each {
                requests.spawn_local(Arc::clone(&self).request(index, seeds.fork()));
            }
            requests.join_all().await;
            self.finished.wait().await;
        }
        sweeping.abort();
    }
}

async fn yields(times: u32) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Says a byte and hears it back.
async fn exchange(connection: &mut Whole, byte: u8) {
    connection.stream.write_all(&[byte]).await.unwrap();
    let mut said = [0];
    connection.stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, [byte]);
}

#[test]
fn of_many_who_want_few_connections_nobody_is_forgotten_and_the_limit_holds() {
    come(Crowd { limit: 3, each: 150, rounds: 10 });
}

#[test]
fn the_last_in_the_queue_is_not_forgotten_when_those_before_it_leave() {
    come(Crowd { limit: 1, each: 3, rounds: 500 });
}

fn come(crowd: Crowd) {
    let backend = Backend::start(crowd.limit);
    let world = Arc::new(World::new(crowd, &backend.addresses));
    let worker = |index: usize| {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let worker = async { timeout(PATIENCE, world.worker(index, index as u64)).await };
            LocalSet::new().block_on(&runtime, worker).is_ok()
        })
    };
    let workers: Vec<_> = (0..WORKERS).map(worker).collect();
    let in_time: Vec<bool> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    let (answered, gave_up) = (world.answered.load(SeqCst), world.gave_up.load(SeqCst));
    assert!(in_time.iter().all(|well| *well), "in time: {in_time:?}; {answered} answered, {gave_up} left");
    assert_eq!(answered + gave_up, WORKERS * crowd.each * crowd.rounds);
    assert!(gave_up > 0 && answered > gave_up, "{answered} answered, {gave_up} left");
    check_what_is_left(&world, &backend.seen);
}

/// Never more than the limit, and no place is lost: all that is counted as open is at rest and can be closed.
fn check_what_is_left(world: &World, seen: &Seen) {
    let limit = world.crowd.limit;
    assert_eq!(seen.most_busy.load(SeqCst), limit, "all were in use at some time, and never more");
    assert!(seen.most_open.load(SeqCst) <= limit && world.service.open() <= limit, "{seen:?}");
    let totals = world.service.metrics().totals();
    assert_eq!((totals.waiting, totals.queue_refused), (0, 0));
    world.service.update(&View::fresh([]));
    (0..WORKERS).for_each(|worker| world.service.sweep(worker, world.clock.now()));
    assert_eq!(world.service.open(), 0);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let closed = async {
        while seen.open.load(SeqCst) > 0 {
            yield_now().await;
        }
    };
    assert!(runtime.block_on(async { timeout(PATIENCE, closed).await }).is_ok(), "{seen:?}");
}
