//! What a service as a whole promises: whom it asks and whom it does not, and that nothing learnt is lost when its list changes.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use tollgate_observe::metrics::Metrics;
use tollgate_registry::{Load, View};

use super::*;
use crate::balance::orca::{Of, Report, Reporting};
use crate::balance::{Algorithm, DECAY};
use crate::breaker;
use crate::outlier::{Outlier, Verdict};
use crate::session::SessionSettings;
use crate::watch::Watch;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn service(balancing: Balancing, breaker: Option<breaker::Settings>, connections: Option<u32>) -> Arc<Service> {
    let outlier = Outlier {
        consecutive: 1,
        errors: None,
        success_rate: None,
        latency: None,
        jitter: 0.0,
        statuses: Vec::new(),
        eject_for: MINUTE,
        longest: MINUTE,
        ceiling: 10_000,
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
        watch: Watch { health: None, outlier: Some(outlier), when_all_fail: WhenAllFail::Refuse },
        breaker,
    };
    let bells: Arc<[Notify]> = (0..1).map(|_| Notify::new()).collect();
    let (metrics, clock) = (Metrics::new(1).service("s"), Clock::fake(std::time::UNIX_EPOCH));
    Service::new("s", settings, Budget::new(2000, 3), balancing, metrics, bells, clock)
}

fn endpoint(n: u8) -> Endpoint {
    Endpoint::new(SocketAddr::from(([10, 0, 0, n], 80)), 1)
}

fn ask<'a>(service: &Service, key: Option<&'a [u8]>, tried: &'a [Address]) -> Ask<'a> {
    let now = service.clock.now();
    let criticality = Criticality::Normal;
    let (fresh, only_once) = (false, true);
    let (worker, client, trial, deadline) = (0, None, None, now + MINUTE);
    Ask { worker, key, client, tried, fresh, criticality, only_once, trial, now, deadline }
}

fn by_load() -> Balancing {
    Algorithm::Load(Reporting { of: Of::Busiest, after: SECOND, expires: MINUTE }).into()
}

fn weights(service: &Service) -> Vec<u32> {
    service.instances.load().weights.to_vec()
}

#[test]
fn what_was_learnt_of_those_that_stay_counts_at_once_when_the_list_changes() {
    let service = service(by_load(), None, None);
    service.update(&View::fresh([endpoint(1), endpoint(2)]));
    assert_eq!(weights(&service), [1000, 1000]);
    for _ in 0..5 {
        for (instance, utilization) in service.instances.load().list.iter().zip([0.2, 0.8]) {
            instance.learnt.reported(Report { utilization, rate: Some(100.0), errors: 0.0 });
        }
        service.clock.advance(SECOND);
        service.reweigh(service.clock.now());
    }
    let learnt = weights(&service);
    assert!(learnt[0] > learnt[1] * 3, "{learnt:?}");
    service.update(&View::fresh([endpoint(1), endpoint(2), endpoint(3)]));
    let [first, second, third] = weights(&service)[..] else { panic!("three") };
    assert_eq!((vec![first, second], third), (learnt, 1000), "the new one counts as much as the others on average");
}

#[test]
fn reports_of_load_alone_rearrange_nothing() {
    let balancing = Balancing::from(Algorithm::ConsistentHash { bound: None });
    let service = service(balancing, None, None);
    service.update(&View::fresh([endpoint(1), endpoint(2)]));
    let before = service.instances.load_full();
    let busy = Endpoint { load: Some(Load::default()), ..endpoint(1) };
    service.update(&View::fresh([busy.clone(), endpoint(2)]));
    assert_eq!(service.instances.load().endpoints[0], busy);
    // Somebody is left out, and comes back: what was built of keys and instances stays.
    let stands = &before.list[0].stands;
    stands.is_ill();
    service.rearrange(service.clock.now());
    stands.is_well();
    service.rearrange(service.clock.now());
    assert!(before.tiers.is_same(&service.instances.load().tiers));
}

#[test]
fn an_attempt_is_counted_once_however_often_it_looks_for_an_instance() {
    let service = service(Balancing::default(), None, Some(1));
    service.update(&View::fresh([Endpoint { group: 0, ..endpoint(1) }, Endpoint { group: 1, ..endpoint(2) }]));
    service.instances.load().list[0].stands.is_ill();
    service.rearrange(service.clock.now());
    let spilled = || service.metrics().totals().spilled;
    let one = ask(&service, None, &[]);
    let found = service.find(&one).unwrap();
    assert!(matches!(found, Found::Place(..)));
    assert_eq!(spilled(), [0, 1, 0]);
    // Whoever finds no room looks again, and is counted when there is.
    (0..3).for_each(|_| assert!(matches!(service.find(&one), Ok(Found::Full))));
    assert_eq!(spilled(), [0, 1, 0]);
    drop(found);
    assert!(matches!(service.find(&one), Ok(Found::Place(..))));
    assert_eq!(spilled(), [0, 2, 0]);
}

fn breaks_at_once() -> breaker::Settings {
    let (open, longest) = (SECOND, SECOND);
    breaker::Settings { failures: None, consecutive: 1, open, longest, trials: 1, statuses: Vec::new(), slow: None }
}

#[tokio::test]
async fn a_trial_that_waits_for_a_connection_keeps_no_other_from_being_made() {
    let service = service(Balancing::default(), Some(breaks_at_once()), Some(1));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    service.update(&View::fresh([Endpoint::new(listener.local_addr().unwrap(), 1)]));
    let breaker = Arc::clone(service.breaker().unwrap());
    let Connection::Whole(busy) = service.connection(&ask(&service, None, &[])).await.unwrap() else { panic!() };
    breaker.enter(service.clock.now()).unwrap().told(Verdict::Failed, service.clock.now());
    service.clock.advance(SECOND);
    let waits = breaker.enter(service.clock.now()).unwrap();
    let waiting = Ask { trial: waits.round(), ..ask(&service, None, &[]) };
    let (refused, ()) = tokio::join!(service.connection(&waiting), async {
        tokio::task::yield_now().await;
        let trial = breaker.enter(service.clock.now()).expect("the place of a trial is free while that waits");
        assert!(breaker.enter(service.clock.now()).is_err(), "there is one at a time");
        // It is no better: who waited is told so.
        trial.told(Verdict::Failed, service.clock.now());
        busy.release(service.clock.now());
    });
    assert!(matches!(refused, Err(Refusal::LeftAlone(open)) if open.retry == SECOND), "{refused:?}");
    drop(waits);
    service.clock.advance(SECOND);
    let one = breaker.enter(service.clock.now()).unwrap();
    assert!(breaker.enter(service.clock.now()).is_err(), "nothing was counted twice");
    // The connection was not lost with the request that was refused.
    let rested = Ask { trial: one.round(), ..ask(&service, None, &[]) };
    assert!(matches!(service.connection(&rested).await.unwrap(), Connection::Whole(whole) if whole.reused));
}

/// An instance: its group, its zone, its weight, whether it is ejected, whether its checks fail.
type Written = (u8, &'static str, u32, bool, bool);

fn written() -> impl Strategy<Value = Written> {
    (0_u8..3, prop::sample::select(vec!["", "a", "b"]), 0_u32..4, any::<bool>(), prop::bool::weighted(0.2))
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    let load = Reporting { of: Of::Busiest, after: SECOND, expires: MINUTE };
    prop::sample::select(vec![
        Algorithm::RoundRobin,
        Algorithm::LeastRequests,
        Algorithm::Latency { decay: DECAY },
        Algorithm::Load(load),
        Algorithm::ConsistentHash { bound: None },
        Algorithm::ConsistentHash { bound: Some(125) },
    ])
}

/// The groups that are in panic: too few of each are well, and all together cannot take everything.
fn in_panic(written: &[Written], panic: u32) -> Vec<u8> {
    let groups: Vec<u8> = (0..3).collect();
    let well = |group: &u8| {
        let own = || written.iter().filter(|(of, ..)| of == group);
        let is_in = |(.., is_ejected, is_ill): &&Written| !is_ejected && !is_ill;
        let all: u32 = own().map(|(_, _, weight, ..)| weight).sum();
        let of_well: u32 = own().filter(is_in).map(|(_, _, weight, ..)| weight).sum();
        (all > 0).then(|| f64::from(of_well) / f64::from(all))
    };
    let can_take: f64 = groups.iter().filter_map(well).map(|well| (well * 1.4).min(1.0)).sum();
    let is_low = |group: &u8| well(group).is_some_and(|well| well < f64::from(panic) / 10_000.0);
    groups.into_iter().filter(|group| can_take < 1.0 && is_low(group)).collect()
}

proptest! {
    #[test]
    fn nobody_who_is_left_out_is_asked_outside_a_panic_and_somebody_is_while_anybody_is_well(
        written in vec(written(), 1..25),
        algorithm in algorithms(),
        panic in prop::sample::select(vec![0_u32, 3000, 5000, 10_000]),
        zone in prop::sample::select(vec![None, Some("a")]),
        slow_start in prop::sample::select(vec![None, Some(MINUTE)]),
        tried in vec(0_usize..25, 0..4),
        key in vec(any::<u8>(), 0..4),
    ) {
        let zone = zone.map(Arc::from);
        let service = service(Balancing { algorithm, zone, panic, slow_start, ..Balancing::default() }, None, None);
        let of = |(n, (group, zone, weight, ..)): (usize, &Written)| {
            let zone = (!zone.is_empty()).then(|| Arc::from(*zone));
            Endpoint { group: *group, zone, weight: *weight, ..endpoint(n as u8) }
        };
        service.update(&View::fresh(written.iter().enumerate().map(of)));
        let now = service.clock.now();
        for ((.., is_ejected, is_ill), instance) in written.iter().zip(&service.instances.load().list) {
            is_ejected.then(|| instance.stands.eject(now + MINUTE));
            is_ill.then(|| instance.stands.is_ill());
        }
        service.rearrange(now);
        let (panics, instances) = (in_panic(&written, panic), service.instances.load());
        let tried: Vec<Address> = tried.iter().filter_map(|at| Some(instances.list.get(*at)?.address.clone())).collect();
        let is_in = |at: usize| !written[at].3 && !written[at].4;
        let anybody = (0..written.len()).any(|at| written[at].2 > 0 && (is_in(at) || panics.contains(&written[at].0)));
        for nth in 0..30_u8 {
            let key = [&key[..], &[nth]].concat();
            let one = ask(&service, Some(&key), &tried);
            let picked = instances.pick(&service, &one, service.wants(&one));
            prop_assert_eq!(picked.is_some(), anybody);
            let Some(picked) = picked else { break };
            let at = instances.list.iter().position(|listed| Arc::ptr_eq(listed, picked.instance)).unwrap();
            prop_assert!(written[at].2 > 0, "without a weight");
            prop_assert!(is_in(at) || panics.contains(&written[at].0), "{at} is left out, panic in {panics:?}");
        }
    }
}
