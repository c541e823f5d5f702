//! L1, L2: connections to a service, their limit and its queue, on real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixSocket, UnixStream};
use tokio::sync::Notify;
use tollgate_core::clock::Clock;
use tollgate_core::facts::{Address, Conn};
use tollgate_net::proxy_protocol::Version;
use tollgate_net::{Socket, Stream};
use tollgate_observe::metrics::Metrics;
use tollgate_registry::{Endpoint, View};
use tollgate_upstream::balance::Algorithm;
use tollgate_upstream::{Ask, Budget, Connection, Protocol, Refusal, Service, SessionSettings, Settings, Watch, Whole};

const WORKERS: usize = 2;

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
        protocol: Protocol::Http1,
        sessions: SessionSettings { streams: 100, head: 65_536 },
        watch: Watch::default(),
        breaker: None,
    }
}

fn world(settings: Settings, addresses: &[SocketAddr]) -> World {
    let addresses: Vec<Address> = addresses.iter().map(|address| (*address).into()).collect();
    world_at(settings, &addresses, Clock::real())
}

fn world_at(settings: Settings, addresses: &[Address], clock: Clock) -> World {
    let bells = (0..WORKERS).map(|_| Notify::new()).collect::<Arc<[Notify]>>();
    let metrics = Metrics::new(WORKERS).service("s");
    let budget = Budget::new(2000, 3);
    let service =
        Service::new("s", settings, budget, Algorithm::RoundRobin, metrics, Arc::clone(&bells), clock.clone());
    let endpoints = addresses.iter().map(|address| Endpoint::new(address.clone(), 1));
    service.update(&View::fresh(endpoints));
    World { service, clock, bells }
}

impl World {
    async fn ask(&self, worker: usize) -> Result<Whole, Refusal> {
        self.ask_for(worker, None).await
    }

    async fn ask_for(&self, worker: usize, client: Option<&Arc<Conn>>) -> Result<Whole, Refusal> {
        let now = self.clock.now();
        let ask = Ask {
            worker,
            key: None,
            client,
            tried: &[],
            fresh: false,
            criticality: tollgate_core::criticality::Criticality::Normal,
            only_once: true,
            trial: None,
            now,
            deadline: now + Duration::from_secs(10),
        };
        match self.service.connection(&ask).await? {
            Connection::Whole(whole) => Ok(whole),
            Connection::Shared(share) => panic!("{share:?}"),
        }
    }
}

fn tcp(connection: &Whole) -> &TcpStream {
    match &connection.stream {
        Stream::Plain(Socket::Tcp(stream)) => stream,
        other => panic!("{other:?}"),
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_released_connection_is_used_again() {
    let (_listener, address) = listen().await;
    let world = world(settings(), &[address]);
    let first = world.ask(0).await.unwrap();
    let port = tcp(&first).local_addr().unwrap();
    first.release(world.clock.now());
    let second = world.ask(0).await.unwrap();
    assert!(second.reused);
    assert_eq!(tcp(&second).local_addr().unwrap(), port);
    assert_eq!(world.service.open(), 1);
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_at_rest_is_not_used_again() {
    let (listener, address) = listen().await;
    let world = world(settings(), &[address]);
    let first = world.ask(0).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    let local = tcp(&first).local_addr().unwrap();
    drop(peer);
    tcp(&first).readable().await.unwrap();
    first.release(world.clock.now());
    let second = world.ask(0).await.unwrap();
    assert!(!second.reused);
    assert_ne!(tcp(&second).local_addr().unwrap(), local);
}

#[tokio::test]
async fn connections_rest_with_the_worker_that_made_them() {
    let (_listener, address) = listen().await;
    let world = world(settings(), &[address]);
    world.ask(0).await.unwrap().release(world.clock.now());
    assert!(!world.ask(1).await.unwrap().reused);
}

#[tokio::test]
async fn a_request_beyond_the_limit_waits_and_gets_the_next_released_connection() {
    let (_listener, address) = listen().await;
    let world = world(Settings { connections: Some(1), ..settings() }, &[address]);
    let busy = world.ask(0).await.unwrap();
    let local = tcp(&busy).local_addr().unwrap();
    let (waiting, ()) = tokio::join!(world.ask(0), async {
        tokio::task::yield_now().await;
        busy.release(world.clock.now());
    });
    let got = waiting.unwrap();
    assert_eq!(tcp(&got).local_addr().unwrap(), local);
    assert_eq!(world.service.open(), 1, "never more than the limit");
}

#[tokio::test]
async fn a_closed_connection_gives_its_place_to_another_worker() {
    let (_listener, address) = listen().await;
    let world = world(Settings { connections: Some(1), ..settings() }, &[address]);
    let busy = world.ask(0).await.unwrap();
    let (waiting, ()) = tokio::join!(world.ask(1), async {
        tokio::task::yield_now().await;
        drop(busy);
    });
    let got = waiting.unwrap();
    assert!(!got.reused);
    assert_eq!(world.service.open(), 1);
}

#[tokio::test]
async fn a_starving_worker_makes_others_close_what_rests() {
    let (_listener, address) = listen().await;
    let world = world(Settings { connections: Some(1), ..settings() }, &[address]);
    world.ask(0).await.unwrap().release(world.clock.now());
    let (got, ()) = tokio::join!(world.ask(1), async {
        world.bells[0].notified().await;
        world.service.sweep(0, world.clock.now());
    });
    let got = got.unwrap();
    assert!(!got.reused);
    assert_eq!(world.service.open(), 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (_listener, address) = listen().await;
    let world = world(Settings { connections: Some(1), queue_size: 0, ..settings() }, &[address]);
    let _busy = world.ask(0).await.unwrap();
    assert!(matches!(world.ask(0).await, Err(Refusal::Limit)));
    assert_eq!(world.service.metrics().totals().queue_refused, 1);
}

#[tokio::test]
async fn what_rests_at_one_instance_makes_way_for_another() {
    let ((_a, first), (_b, second)) = (listen().await, listen().await);
    let world = world(Settings { connections: Some(1), queue_size: 0, ..settings() }, &[first, second]);
    for _ in 0..4 {
        world.ask(0).await.unwrap().release(world.clock.now());
    }
    assert_eq!((world.service.open(), world.service.metrics().totals().queue_refused), (1, 0));
}

#[tokio::test]
async fn what_rests_on_another_worker_makes_way_though_nobody_may_queue() {
    let (_listener, address) = listen().await;
    let world = world(Settings { connections: Some(1), queue_size: 0, ..settings() }, &[address]);
    world.ask(0).await.unwrap().release(world.clock.now());
    let (got, ()) = tokio::join!(world.ask(1), async {
        world.bells[0].notified().await;
        world.service.sweep(0, world.clock.now());
    });
    assert!(!got.unwrap().reused);
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_is_not_handed_to_who_waits() {
    let (listener, address) = listen().await;
    let world = world(Settings { connections: Some(1), ..settings() }, &[address]);
    let busy = world.ask(0).await.unwrap();
    let local = tcp(&busy).local_addr().unwrap();
    let (waiting, ()) = tokio::join!(world.ask(0), async {
        drop(listener.accept().await.unwrap());
        tcp(&busy).readable().await.unwrap();
        busy.release(world.clock.now());
    });
    assert_ne!(tcp(&waiting.unwrap()).local_addr().unwrap(), local);
}

#[tokio::test]
async fn the_queue_has_a_time() {
    let (_listener, address) = listen().await;
    let quick = Settings { connections: Some(1), queue_timeout: Duration::from_millis(20), ..settings() };
    let world = world(quick, &[address]);
    let _busy = world.ask(0).await.unwrap();
    assert!(matches!(world.ask(0).await, Err(Refusal::Limit)));
    assert_eq!(world.service.metrics().totals().waiting, 0);
}

#[tokio::test]
async fn who_gave_up_waiting_does_not_lose_the_turn_for_others() {
    let (_listener, address) = listen().await;
    let world = world(Settings { connections: Some(1), ..settings() }, &[address]);
    let busy = world.ask(0).await.unwrap();
    let mut impatient = Box::pin(world.ask(0));
    let mut patient = Box::pin(world.ask(1));
    for waiting in [&mut impatient, &mut patient] {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
        assert!(polled);
    }
    drop(busy);
    // The turn was granted to the first in the queue, who leaves without taking it.
    drop(impatient);
    assert!(patient.await.is_ok());
}

#[tokio::test]
async fn each_instance_has_a_limit_of_its_own() {
    let ((_a, first), (_b, second)) = (listen().await, listen().await);
    let world = world(Settings { each: Some(1), queue_size: 0, ..settings() }, &[first, second]);
    let (one, two) = (world.ask(0).await.unwrap(), world.ask(0).await.unwrap());
    assert_ne!(one.address(), two.address());
    assert!(matches!(world.ask(0).await, Err(Refusal::Limit)));
}

#[tokio::test]
async fn an_instance_that_left_the_list_is_asked_no_more_and_its_connections_close() {
    let ((_a, first), (_b, second)) = (listen().await, listen().await);
    let world = world(settings(), &[first]);
    let (busy, resting) = (world.ask(0).await.unwrap(), world.ask(0).await.unwrap());
    resting.release(world.clock.now());
    world.service.update(&View::fresh([Endpoint::new(second, 1)]));
    assert_eq!(world.ask(0).await.unwrap().address(), &second.into());
    busy.release(world.clock.now());
    world.service.sweep(0, world.clock.now());
    assert_eq!(world.service.open(), 0);
}

#[tokio::test]
async fn an_unreachable_instance_is_told_by_its_address() {
    let (listener, address) = listen().await;
    drop(listener);
    let world = world(settings(), &[address]);
    assert!(matches!(world.ask(0).await, Err(Refusal::Connect(at, _)) if at == address.into()));
    assert_eq!(world.service.open(), 0, "a failed connect leaves no place behind");
}

#[tokio::test]
async fn a_connection_that_is_too_old_rests_no_more_and_is_not_woken() {
    let (_listener, address) = listen().await;
    let (age, clock) = (Duration::from_secs(60), Clock::fake(std::time::UNIX_EPOCH));
    let settings = Settings { age: Some(age), idle_for: age * 100, ..settings() };
    let world = world_at(settings, &[address.into()], clock.clone());
    world.ask(0).await.unwrap().release(clock.now());
    clock.advance(age / 2);
    let young = world.ask(0).await.unwrap();
    assert!(young.reused);
    clock.advance(age / 2);
    young.release(clock.now());
    assert_eq!(world.service.open(), 0, "its last request over, it is closed");
    world.ask(0).await.unwrap().release(clock.now());
    clock.advance(age);
    assert!(!world.ask(0).await.unwrap().reused, "not woken");
    world.ask(0).await.unwrap().release(clock.now());
    clock.advance(age);
    world.service.sweep(0, clock.now());
    assert_eq!(world.service.open(), 0, "closed at rest");
}

fn client(port: u16) -> Arc<Conn> {
    Arc::new(Conn::new(([192, 0, 2, 1], port).into(), ([192, 0, 2, 2], 443).into(), 0))
}

#[tokio::test]
async fn a_connection_that_was_told_its_client_serves_no_other() {
    let (_listener, address) = listen().await;
    let told = Settings { proxy_protocol: Some(Version::V1), ..settings() };
    let world = world(told, &[address]);
    // As alike as can be: a client that comes back from the same port is another one.
    let (one, other) = (client(40_000), client(40_000));
    let first = world.ask_for(0, Some(&one)).await.unwrap();
    let port = tcp(&first).local_addr().unwrap();
    first.release(world.clock.now());
    assert!(!world.ask_for(0, Some(&other)).await.unwrap().reused);
    assert!(!world.ask(0).await.unwrap().reused, "nor the gateway itself");
    let again = world.ask_for(0, Some(&one)).await.unwrap();
    assert!(again.reused);
    assert_eq!(tcp(&again).local_addr().unwrap(), port);
    again.release(world.clock.now());
    world.service.sweep(0, world.clock.now());
    assert_eq!(world.service.open(), 1);
    drop(one);
    world.service.sweep(0, world.clock.now());
    assert_eq!(world.service.open(), 0, "its client is gone");
}

#[tokio::test]
async fn what_rests_for_another_client_makes_room() {
    let (_listener, address) = listen().await;
    let told = Settings { proxy_protocol: Some(Version::V2), idle_most: 2, ..settings() };
    let limited = world(Settings { connections: Some(1), queue_size: 0, ..told.clone() }, &[address]);
    let (one, other) = (client(1), client(2));
    limited.ask_for(0, Some(&one)).await.unwrap().release(limited.clock.now());
    let busy = limited.ask_for(0, Some(&other)).await.unwrap();
    assert!(matches!(limited.ask_for(0, Some(&one)).await, Err(Refusal::Limit)), "what is busy does not");
    drop(busy);
    let world = world(told, &[address]);
    let clients: Vec<Arc<Conn>> = (1..=3).map(client).collect();
    for client in &clients {
        world.ask_for(0, Some(client)).await.unwrap().release(world.clock.now());
    }
    assert_eq!(world.service.open(), 2, "no more than may rest");
    assert!(world.ask_for(0, Some(&clients[2])).await.unwrap().reused, "the last one found room");
    assert!(!world.ask_for(0, Some(&clients[0])).await.unwrap().reused);
}

#[tokio::test]
async fn a_unix_socket_whose_queue_is_full_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let listener = socket.listen(0).unwrap();
    let mut queued = Vec::new();
    let full = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => queued.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock, "the system does not wait");
    let world = world_at(settings(), &[Address::Unix(path.as_path().into())], Clock::real());
    let (connected, _) = tokio::join!(world.ask(0), async {
        tokio::task::yield_now().await;
        listener.accept().await.unwrap()
    });
    assert!(matches!(connected.unwrap().stream, Stream::Plain(Socket::Unix(_))));
    drop(listener);
    assert!(matches!(world.ask(0).await, Err(Refusal::Connect(Address::Unix(at), _)) if *at == *path));
}
