//! L2, E1: HTTP/2 to instances: who shares a connection with whom, and when it is left alone. The instance speaks HTTP/2
//! by the crate h2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::Reason;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tollgate_core::clock::Clock;
use tollgate_core::facts::Address;
use tollgate_observe::metrics::Metrics;
use tollgate_registry::{Endpoint, View};
use tollgate_upstream::balance::Algorithm;
use tollgate_upstream::{Ask, Budget, Connection, Protocol, Refusal, Service, SessionSettings, Settings, Share, Watch};

/// An instance that answers nothing, and counts its connections.
struct Instance {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Tells every connection to go away.
    leave: Arc<Notify>,
}

impl Instance {
    async fn start(streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, leave) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let (counted, told) = (Arc::clone(&connections), Arc::clone(&leave));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, streams, Arc::clone(&told)));
            }
        });
        Self { address, connections, leave }
    }
}

async fn serve(stream: TcpStream, streams: u32, leave: Arc<Notify>) {
    let mut builder = h2::server::Builder::new();
    let mut connection = builder.max_concurrent_streams(streams).handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let mut open = Vec::new();
    loop {
        tokio::select! {
            request = connection.accept() => match request {
                Some(request) => open.push(request.unwrap()),
                None => break,
            },
            () = leave.notified() => connection.abrupt_shutdown(Reason::NO_ERROR),
        }
    }
}

struct World {
    service: Arc<Service>,
    clock: Clock,
    bells: Arc<[Notify]>,
}

fn settings() -> Settings {
    Settings {
        connections: None,
        each: None,
        queue_size: 10,
        queue_timeout: Duration::from_secs(5),
        smooth: None,
        adaptive: None,
        connect_timeout: Duration::from_secs(5),
        idle_most: 8,
        idle_for: Duration::from_secs(60),
        age: None,
        source: None,
        proxy_protocol: None,
        tls: None,
        watch: Watch::default(),
        breaker: None,
        protocol: Protocol::Http2,
        sessions: SessionSettings { streams: 3, head: 65_536 },
    }
}

fn world(settings: Settings, address: SocketAddr) -> World {
    let (clock, bells) = (Clock::real(), Arc::<[Notify]>::from([Notify::new(), Notify::new()]));
    let metrics = Metrics::new(2).service("s");
    let budget = Budget::new(2000, 3);
    let service =
        Service::new("s", settings, budget, Algorithm::RoundRobin, metrics, Arc::clone(&bells), clock.clone());
    service.update(&View::fresh([Endpoint::new(address, 1)]));
    World { service, clock, bells }
}

impl World {
    async fn ask(&self) -> Result<Share, Refusal> {
        self.ask_on(0).await
    }

    async fn ask_on(&self, worker: usize) -> Result<Share, Refusal> {
        let (now, key) = (self.clock.now(), None);
        let deadline = now + Duration::from_secs(10);
        let ask = Ask {
            worker,
            key,
            client: None,
            tried: &[],
            fresh: false,
            criticality: tollgate_core::criticality::Criticality::Normal,
            only_once: true,
            trial: None,
            now,
            deadline,
        };
        match self.service.connection(&ask).await? {
            Connection::Shared(share) => Ok(share),
            Connection::Whole(whole) => panic!("{whole:?}"),
        }
    }
}

/// Until this is so.
async fn until(mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap();
}

#[tokio::test]
async fn requests_that_come_together_wait_for_one_connection_and_share_it() {
    let instance = Instance::start(100).await;
    let world = world(settings(), instance.address);
    let (a, b, c) = tokio::join!(world.ask(), world.ask(), world.ask());
    let shares = [a.unwrap(), b.unwrap(), c.unwrap()];
    assert!(shares.iter().all(|share| !share.reused), "none of them may be taken for stale");
    assert_eq!((world.service.open(), instance.connections.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_full_connection_is_joined_by_another_and_room_is_used_again() {
    let instance = Instance::start(100).await;
    let world = world(settings(), instance.address);
    let mut shares = Vec::new();
    for _ in 0..4 {
        shares.push(world.ask().await.unwrap());
    }
    assert_eq!(world.service.open(), 2, "three streams are the limit");
    shares.clear();
    let _again = world.ask().await.unwrap();
    assert_eq!(world.service.open(), 2);
}

#[tokio::test]
async fn what_an_instance_allows_goes_before_what_is_set() {
    let instance = Instance::start(1).await;
    let world = world(settings(), instance.address);
    let first = world.ask().await.unwrap();
    assert_eq!(first.lease.allows_connect().await, Some(false), "by now its settings are known");
    let _second = world.ask().await.unwrap();
    assert_eq!(world.service.open(), 2);
}

#[tokio::test]
async fn at_the_connection_limit_a_request_waits_for_a_stream() {
    let instance = Instance::start(100).await;
    let sessions = SessionSettings { streams: 1, head: 65_536 };
    let world = world(Settings { connections: Some(1), sessions, ..settings() }, instance.address);
    let busy = world.ask().await.unwrap();
    let (got, ()) = tokio::join!(world.ask(), async {
        tokio::task::yield_now().await;
        drop(busy);
    });
    assert!(got.is_ok());
    assert_eq!(instance.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_was_told_to_go_away_is_not_used_again() {
    let instance = Instance::start(100).await;
    let world = world(settings(), instance.address);
    drop(world.ask().await.unwrap());
    instance.leave.notify_one();
    until(|| world.service.open() == 0).await;
    assert!(!world.ask().await.unwrap().reused);
}

#[tokio::test]
async fn a_connection_that_carries_nothing_for_long_is_closed() {
    let instance = Instance::start(100).await;
    let world = world(settings(), instance.address);
    let share = world.ask().await.unwrap();
    let much_later = world.clock.now() + Duration::from_secs(3600);
    world.service.sweep(0, much_later);
    assert_eq!(world.service.open(), 1, "it carries a request");
    drop(share);
    world.service.sweep(0, much_later);
    until(|| world.service.open() == 0).await;
}

#[tokio::test]
async fn all_who_wait_for_a_connection_hear_that_there_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let world = world(settings(), address);
    let (a, b) = tokio::join!(world.ask(), world.ask());
    assert!(matches!(a, Err(Refusal::Connect(at, _)) if at == Address::Socket(address)));
    let is_connect = |refusal: &Refusal| matches!(refusal, Refusal::Connect(at, _) if *at == Address::Socket(address));
    assert!(matches!(b, Err(Refusal::Joined(refusal)) if is_connect(&refusal)), "it did not try itself");
}

#[tokio::test]
async fn who_leaves_while_it_connects_lets_others_connect() {
    let instance = Instance::start(100).await;
    let world = world(settings(), instance.address);
    let mut first = Box::pin(world.ask());
    let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    let (second, ()) = tokio::join!(world.ask(), async {
        tokio::task::yield_now().await;
        drop(first);
    });
    assert!(!second.unwrap().reused);
}

#[tokio::test]
async fn a_peer_that_does_not_answer_when_asked_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = world(Settings { connect_timeout: Duration::from_millis(200), ..settings() }, address);
    let (share, silent) = tokio::join!(world.ask(), listener.accept());
    let (share, _silent) = (share.unwrap(), silent.unwrap());
    assert_eq!(share.lease.allows_connect().await, None, "it ends without having said anything");
    assert_eq!(world.service.open(), 0);
}

#[tokio::test]
async fn room_on_a_connection_is_used_while_others_wait_for_another() {
    let instance = Instance::start(100).await;
    let world = world(Settings { connections: Some(1), ..settings() }, instance.address);
    let _busy = world.ask().await.unwrap();
    let mut elsewhere = Box::pin(world.ask_on(1));
    let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(elsewhere.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "another worker has no connection, and there may be no second one");
    assert!(world.ask().await.is_ok(), "a stream takes nothing from it");
    assert_eq!(world.service.open(), 1);
}

#[tokio::test]
async fn a_connection_that_carries_nothing_makes_way_for_another_worker_at_once() {
    let instance = Instance::start(100).await;
    let world = world(Settings { connections: Some(1), queue_size: 0, ..settings() }, instance.address);
    drop(world.ask().await.unwrap());
    let (got, ()) = tokio::join!(world.ask_on(1), async {
        world.bells[0].notified().await;
        world.service.sweep(0, world.clock.now());
    });
    assert!(got.is_ok());
    until(|| instance.connections.load(Ordering::SeqCst) == 2).await;
}
