//! What holds for every way to choose, and what each promises about shares.

use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const RING: Algorithm = Algorithm::ConsistentHash { bound: None };
const ALL: [Algorithm; 5] = [
    Algorithm::RoundRobin,
    Algorithm::LeastRequests,
    Algorithm::Latency { decay: DECAY },
    RING,
    Algorithm::ConsistentHash { bound: Some(125) },
];

fn build(algorithm: &Algorithm, endpoints: &[Endpoint]) -> Arc<dyn Balance> {
    algorithm.build(&candidates(endpoints), 0)
}

struct Moment<'a> {
    available: &'a dyn Fn(usize) -> bool,
    in_flight: &'a dyn Fn(usize) -> u64,
    total: &'a dyn Fn() -> u64,
    latency: &'a dyn Fn(usize) -> Option<f64>,
    is_choosy: bool,
    random: Cell<u64>,
    key: Option<Vec<u8>>,
}

impl<'a> Moment<'a> {
    fn new(seed: u64) -> Self {
        let random = Cell::new(seed);
        let (in_flight, latency) = (&|_| 0, &|_| None);
        Self { available: &|_| true, in_flight, total: &|| 0, latency, is_choosy: false, random, key: None }
    }

    fn only(available: &'a dyn Fn(usize) -> bool) -> Self {
        Self { available, ..Self::new(7) }
    }
}

impl PickCx for Moment<'_> {
    fn available(&self, endpoint: usize) -> bool {
        (self.available)(endpoint)
    }

    fn in_flight(&self, endpoint: usize) -> u64 {
        (self.in_flight)(endpoint)
    }

    fn total_in_flight(&self) -> u64 {
        (self.total)()
    }

    fn latency(&self, endpoint: usize) -> Option<f64> {
        (self.latency)(endpoint)
    }

    fn is_choosy(&self) -> bool {
        self.is_choosy
    }

    /// SplitMix64.
    fn random(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let z = self.random.get();
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn hash_key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
}

pub(super) fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    let endpoint = |(n, weight): (usize, &u32)| {
        Endpoint::new(std::net::SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80)), *weight)
    };
    weights.iter().enumerate().map(endpoint).collect()
}

fn shares(balance: &dyn Balance, moment: &Moment, picks: usize, count: usize) -> Vec<f64> {
    let mut shares = vec![0.0; count];
    for _ in 0..picks {
        shares[balance.pick(moment).unwrap()] += 1.0 / picks as f64;
    }
    shares
}

#[test]
fn nothing_to_choose_from_gives_nothing() {
    for algorithm in ALL {
        assert_eq!(build(&algorithm, &[]).pick(&Moment::new(1)), None, "{algorithm:?}");
        assert_eq!(build(&algorithm, &endpoints(&[1, 2])).pick(&Moment::only(&|_| false)), None, "{algorithm:?}");
    }
}

#[test]
fn weight_zero_takes_no_traffic_not_even_alone() {
    for algorithm in ALL {
        let some = shares(&*build(&algorithm, &endpoints(&[0, 1, 0])), &Moment::new(1), 100, 3);
        assert!(some[0] == 0.0 && some[2] == 0.0, "{algorithm:?} {some:?}");
        let only_zero_left = build(&algorithm, &endpoints(&[0, 1])).pick(&Moment::only(&|e| e == 0));
        assert_eq!(only_zero_left, None, "{algorithm:?}");
        assert_eq!(build(&algorithm, &endpoints(&[0, 0])).pick(&Moment::new(1)), None, "{algorithm:?}");
    }
}

#[test]
fn idle_endpoints_are_chosen_by_weight() {
    let weights = [1, 2, 5, 12];
    for algorithm in ALL {
        let shares = shares(&*build(&algorithm, &endpoints(&weights)), &Moment::new(1), 40_000, 4);
        for (share, weight) in shares.iter().zip(weights) {
            let exact = f64::from(weight) / 20.0;
            assert!((share - exact).abs() <= 0.01, "{algorithm:?} {shares:?}");
        }
    }
}

#[test]
fn round_robin_shares_out_the_turns_of_one_that_is_away_evenly() {
    let balance = build(&Algorithm::RoundRobin, &endpoints(&[1, 1, 1]));
    let shares = shares(&*balance, &Moment::only(&|e| e != 1), 1000, 3);
    assert!((shares[0] - 0.5).abs() < 0.01 && shares[1] == 0.0, "{shares:?}");
}

#[test]
fn round_robin_finds_the_one_that_is_rare_in_its_order() {
    let balance = build(&Algorithm::RoundRobin, &endpoints(&[1000, 1000, 1000, 1]));
    assert_eq!(balance.pick(&Moment::only(&|e| e == 3)), Some(3));
}

#[test]
fn workers_share_one_round() {
    let balance = build(&Algorithm::RoundRobin, &endpoints(&[1, 1]));
    let served: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let worker = || scope.spawn(|| shares(&*balance, &Moment::new(1), 5000, 2));
        let workers = [worker(), worker()];
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let first: f64 = served.iter().map(|shares| shares[0]).sum();
    assert!((first - 1.0).abs() < 1e-9, "{served:?}");
}

#[test]
fn least_requests_keeps_requests_per_weight_even() {
    let weights = [1, 1, 2, 4];
    let balance = build(&Algorithm::LeastRequests, &endpoints(&weights));
    let busy = std::cell::RefCell::new([0_u64; 4]);
    let in_flight = |e: usize| busy.borrow()[e];
    let moment = Moment { in_flight: &in_flight, ..Moment::new(3) };
    for _ in 0..8000 {
        let picked = balance.pick(&moment).unwrap();
        busy.borrow_mut()[picked] += 1;
    }
    for (busy, weight) in busy.borrow().iter().zip(weights) {
        // A single choice by weight would stray by some 30 requests per weight here.
        assert!((busy / u64::from(weight)).abs_diff(1000) <= 8, "{busy} for {weight}");
    }
}

#[test]
fn least_requests_prefers_the_idle_of_two() {
    let balance = build(&Algorithm::LeastRequests, &endpoints(&[1, 1]));
    let moment = Moment { in_flight: &|e| if e == 0 { 5 } else { 0 }, ..Moment::new(3) };
    assert!((0..100).all(|_| balance.pick(&moment) == Some(1)));
}

fn owners(endpoints: &[Endpoint], keys: usize) -> HashMap<usize, Endpoint> {
    let ring = build(&RING, endpoints);
    let owner = |key: usize| {
        let moment = Moment { key: Some(format!("key {key}").into_bytes()), ..Moment::new(0) };
        (key, endpoints[ring.pick(&moment).unwrap()].clone())
    };
    (0..keys).map(owner).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nobody_picks_one_that_is_unavailable_or_misses_one_that_is_not(
        weights in prop::collection::vec(0_u32..=1000, 1..12),
        up in prop::collection::vec(any::<bool>(), 12),
        seed in any::<u64>(),
    ) {
        let counts = |e: usize| weights[e] > 0 || weights.iter().all(|w| *w == 0);
        for algorithm in ALL {
            let balance = build(&algorithm, &endpoints(&weights));
            let available = |e: usize| up[e];
            let moment = Moment { available: &available, ..Moment::new(seed) };
            let somebody = (0..weights.len()).any(|e| up[e] && counts(e));
            for _ in 0..40 {
                let picked = balance.pick(&moment);
                prop_assert_eq!(picked.is_some(), somebody, "{:?}", algorithm);
                prop_assert!(picked.is_none_or(|e| up[e] && counts(e)), "{:?}", algorithm);
            }
        }
    }

    #[test]
    fn one_that_comes_or_goes_moves_little_more_than_its_own_share(
        weights in prop::collection::vec(1_u32..=4, 2..40),
        position in any::<prop::sample::Index>(),
    ) {
        let all = endpoints(&weights);
        let one = all[position.index(all.len())].clone();
        let rest: Vec<_> = all.iter().filter(|e| **e != one).cloned().collect();
        let (with, without) = (owners(&all, 4000), owners(&rest, 4000));
        let moved = with.iter().filter(|(key, owner)| without[key] != **owner).count() as f64 / 4000.0;
        let share = f64::from(one.weight) / f64::from(weights.iter().sum::<u32>());
        // Three times the standard deviation of 4000 keys, and what others move for the table's sake.
        prop_assert!(moved <= share + 0.03 + 0.05, "moved {moved}, share {share}");
    }

    #[test]
    fn the_order_in_which_endpoints_are_named_does_not_matter_to_the_ring(
        weights in prop::collection::vec(1_u32..=4, 2..10),
    ) {
        let all = endpoints(&weights);
        let reversed: Vec<_> = all.iter().rev().cloned().collect();
        prop_assert_eq!(owners(&all, 200), owners(&reversed, 200));
    }

    #[test]
    fn an_endpoint_away_leaves_the_keys_of_the_others_alone(
        weights in prop::collection::vec(1_u32..=4, 2..10),
        away in any::<prop::sample::Index>(),
    ) {
        let all = endpoints(&weights);
        let (ring, away) = (build(&RING, &all), away.index(all.len()));
        let available = |e: usize| e != away;
        for (key, owner) in owners(&all, 200) {
            let key = Some(format!("key {key}").into_bytes());
            let picked = ring.pick(&Moment { available: &available, key, ..Moment::new(0) }).unwrap();
            prop_assert!(picked != away && (owner == all[away] || owner == all[picked]));
        }
    }
}

#[test]
fn the_faster_one_of_two_is_asked_and_a_queue_makes_slow() {
    let balance = build(&Algorithm::Latency { decay: DECAY }, &endpoints(&[1, 1]));
    let latency = |e| Some(if e == 0 { 0.060 } else { 0.005 });
    let moment = Moment { latency: &latency, ..Moment::new(3) };
    assert!((0..100).all(|_| balance.pick(&moment) == Some(1)));
    let busy = Moment { latency: &latency, in_flight: &|e| if e == 1 { 12 } else { 0 }, ..Moment::new(3) };
    assert!((0..100).all(|_| balance.pick(&busy) == Some(0)), "thirteen times 5 ms are more than 60");
}

#[test]
fn of_whom_nothing_is_known_is_neither_flooded_nor_left_out() {
    let balance = build(&Algorithm::Latency { decay: DECAY }, &endpoints(&[1, 1]));
    let moment = Moment { latency: &|e| (e == 0).then_some(0.001), ..Moment::new(3) };
    let idle = shares(&*balance, &moment, 1000, 2);
    assert!((idle[0] - 0.5).abs() < 0.06, "{idle:?}");
    let busy = Moment { latency: moment.latency, in_flight: &|e| if e == 1 { 1 } else { 0 }, ..Moment::new(3) };
    assert!((0..100).all(|_| balance.pick(&busy) == Some(0)));
}

#[test]
fn a_bound_keeps_a_key_that_everybody_asks_for_from_one_endpoint() {
    let weights = [1, 1, 2, 4];
    let balance = build(&Algorithm::ConsistentHash { bound: Some(125) }, &endpoints(&weights));
    let busy = std::cell::RefCell::new([0_u64; 4]);
    let (in_flight, total) = (|e: usize| busy.borrow()[e], || busy.borrow().iter().sum());
    let moment = Moment { in_flight: &in_flight, total: &total, key: Some(b"all".to_vec()), ..Moment::new(1) };
    for n in 1..=800_u64 {
        let picked = balance.pick(&moment).unwrap();
        busy.borrow_mut()[picked] += 1;
        let most = (n as f64 * 1.25 * f64::from(weights[picked]) / 8.0).ceil();
        assert!(busy.borrow()[picked] as f64 <= most, "{picked}: {busy:?}");
    }
    assert!(busy.borrow().iter().all(|busy| *busy > 0), "{busy:?}");
}

#[test]
fn whoever_is_choosy_does_not_look_for_long() {
    let endpoints = endpoints(&[1; 1000]);
    for algorithm in ALL {
        let looks = Cell::new(0);
        let available = |_| {
            looks.set(looks.get() + 1);
            false
        };
        let moment = Moment { is_choosy: true, ..Moment::only(&available) };
        assert_eq!(build(&algorithm, &endpoints).pick(&moment), None);
        assert!(looks.get() <= 64, "{algorithm:?}: {}", looks.get());
    }
}

/// Prints what building and picking cost: `cargo test --release -p tollgate-upstream costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn costs() {
    let clock = tollgate_core::clock::Clock::real();
    for count in [10, 1000, 10_000] {
        for (kind, weight) in [("equal", 1_u32), ("unequal", 7)] {
            let weights: Vec<u32> = (0..count).map(|n| 1 + n as u32 % weight).collect();
            let endpoints = endpoints(&weights);
            for algorithm in ALL {
                let began = clock.now();
                let balance = build(&algorithm, &endpoints);
                let built = clock.now() - began;
                let latency = |e: usize| Some(e as f64);
                for (out, available) in [("none", (&|_| true) as &dyn Fn(usize) -> bool), ("half", &|e| e % 2 == 0)] {
                    let moment = Moment { latency: &latency, available, ..Moment::new(1) };
                    let began = clock.now();
                    (0..200_000).for_each(|_| assert!(std::hint::black_box(balance.pick(&moment)).is_some()));
                    let each = (clock.now() - began) / 200_000;
                    println!(
                        "{count:>6} {kind:<8} {out} out: {each:>8.0?} a pick, built in {built:>8.0?}: {algorithm:?}"
                    );
                }
            }
        }
    }
}
