//! L2: instances that are left out: by all threads together, and by those that wait in the queue.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tollgate_core::clock::Clock;
use tollgate_core::facts::Address;
use tollgate_observe::metrics::Metrics;
use tollgate_registry::{Endpoint, State, View};
use tollgate_upstream::balance::Algorithm;
use tollgate_upstream::outlier::Outlier;
use tollgate_upstream::{
    Ask, Budget, Connection, Protocol, Refusal, Service, SessionSettings, Settings, Standing, Watch, WhenAllFail,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A service that ejects after one failure, for a minute.
fn service(connections: Option<u32>, ceiling: u32, when_all_fail: WhenAllFail, clock: &Clock) -> Arc<Service> {
    let outlier = Outlier {
        consecutive: 1,
        errors: None,
        success_rate: None,
        latency: None,
        jitter: 0.0,
        statuses: vec![502..=504],
        eject_for: MINUTE,
        longest: MINUTE * 5,
        ceiling,
    };
    let settings = Settings {
        connections,
        each: None,
        queue_size: 10,
        queue_timeout: MINUTE,
        smooth: None,
        adaptive: None,
        connect_timeout: MINUTE,
        idle_most: 8,
        idle_for: MINUTE,
        age: None,
        source: None,
        proxy_protocol: None,
        tls: None,
        protocol: Protocol::Http1,
        sessions: SessionSettings { streams: 100, head: 65_536 },
        watch: Watch { health: None, outlier: Some(outlier), when_all_fail },
        breaker: None,
    };
    let bells: Arc<[Notify]> = (0..2).map(|_| Notify::new()).collect();
    let (metrics, budget) = (Metrics::new(2).service("s"), Budget::new(2000, 3));
    Service::new("s", settings, budget, Algorithm::RoundRobin, metrics, bells, clock.clone())
}

fn failed(address: impl Into<Address>) -> Refusal {
    Refusal::Connect(address.into(), Arc::new(io::ErrorKind::ConnectionRefused.into()))
}

fn ask(clock: &Clock) -> Ask<'static> {
    let now = clock.now();
    Ask {
        worker: 0,
        key: None,
        client: None,
        tried: &[],
        fresh: false,
        criticality: tollgate_core::criticality::Criticality::Normal,
        only_once: true,
        trial: None,
        now,
        deadline: now + MINUTE,
    }
}

fn ejected(service: &Service) -> usize {
    service.status().0.iter().filter(|instance| instance.standing == Some(Standing::Ejected)).count()
}

#[test]
fn all_threads_together_keep_to_the_ceiling() {
    const THREADS: usize = 4;
    for _ in 0..100 {
        let clock = Clock::real();
        let service = service(None, 5000, WhenAllFail::Serve, &clock);
        // Many, so that there is much to count before one more is ejected, and somebody else may come in between.
        let addresses: Vec<SocketAddr> = (1..=200).map(|n| SocketAddr::from(([10, 0, 0, n], 80))).collect();
        service.update(&View::fresh(addresses.iter().map(|address| Endpoint::new(*address, 1))));
        let start = Barrier::new(THREADS);
        thread::scope(|scope| {
            for own in addresses.chunks(addresses.len() / THREADS) {
                let (service, start, clock) = (&service, &start, &clock);
                scope.spawn(move || {
                    start.wait();
                    own.iter().for_each(|address| service.judge_refusal(&failed(*address), clock.now()));
                });
            }
        });
        assert_eq!(ejected(&service), 100);
        let totals = service.metrics().watch().totals();
        assert_eq!((totals.ejections, totals.standing), ([100, 0, 0, 0], Some([100, 0, 0, 100])));
    }
}

#[tokio::test]
async fn whoever_waits_is_not_given_a_connection_to_an_instance_that_is_left_out() {
    let clock = Clock::real();
    let listeners = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let service = service(Some(1), 5000, WhenAllFail::Serve, &clock);
    service.update(&View::fresh(addresses.map(|address| Endpoint::new(address, 1))));
    let busy = service.connection(&ask(&clock)).await.unwrap();
    let bad = busy.address().clone();
    let Connection::Whole(busy) = busy else { panic!("HTTP/1.1 shares no connections") };
    let now = ask(&clock);
    let (next, ()) = tokio::join!(service.connection(&now), async {
        // The other one runs first, and waits in the queue by now.
        tokio::task::yield_now().await;
        service.judge_refusal(&failed(bad.clone()), clock.now());
        busy.release(clock.now());
    });
    assert_ne!(*next.unwrap().address(), bad);
}

#[tokio::test]
async fn an_ejected_instance_is_used_again_when_its_time_is_over() {
    let clock = Clock::fake(std::time::UNIX_EPOCH);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = service(None, 10_000, WhenAllFail::Refuse, &clock);
    service.update(&View::fresh([Endpoint::new(address, 1)]));
    service.judge_refusal(&failed(address), clock.now());
    assert!(matches!(service.connection(&ask(&clock)).await, Err(Refusal::AllOut)));
    clock.advance(MINUTE - Duration::from_secs(1));
    assert!(matches!(service.connection(&ask(&clock)).await, Err(Refusal::AllOut)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(*service.connection(&ask(&clock)).await.unwrap().address(), Address::Socket(address));
    // Not for as long as it was out: twice as long now.
    service.judge_refusal(&failed(address), clock.now());
    clock.advance(MINUTE);
    assert_eq!(ejected(&service), 1);
    clock.advance(MINUTE);
    assert_eq!(ejected(&service), 0);
}

#[tokio::test]
async fn instances_that_stay_keep_what_is_known_of_them() {
    let clock = Clock::real();
    let service = service(None, 5000, WhenAllFail::Serve, &clock);
    let endpoint = |n| Endpoint::new(SocketAddr::from(([10, 0, 0, n], 80)), 1);
    service.update(&View::fresh([endpoint(1), endpoint(2)]));
    service.judge_refusal(&failed(endpoint(1).address), clock.now());
    service.update(&View::fresh([endpoint(1), endpoint(3)]));
    assert_eq!(ejected(&service), 1);
    service.update(&View::fresh([endpoint(2), endpoint(3)]));
    assert_eq!(ejected(&service), 0);
    service.update(&View::fresh([endpoint(1), endpoint(3)]));
    assert_eq!(ejected(&service), 0, "who left is forgotten");
}

#[tokio::test]
async fn a_source_that_was_never_heard_takes_no_instance_away() {
    let clock = Clock::real();
    let service = service(None, 5000, WhenAllFail::Serve, &clock);
    let known = |service: &Arc<Service>| service.status().0.len();
    service.update(&View::fresh([Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 80)), 1)]));
    service.update(&View::pending());
    assert_eq!(known(&service), 1);
    let state = State::Stale { since: SystemTime::UNIX_EPOCH, error: "no such name".to_owned() };
    service.update(&View { endpoints: Vec::new(), state });
    assert_eq!(known(&service), 1);
    service.update(&View::fresh([]));
    assert_eq!(known(&service), 0, "a source that says so does");
    service.update(&View::fresh([Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 80)), 1)]));
    let state = State::Lapsed { since: SystemTime::UNIX_EPOCH, error: "silent".to_owned() };
    service.update(&View { endpoints: Vec::new(), state });
    assert_eq!(known(&service), 0, "so does one that was silent for too long");
}
