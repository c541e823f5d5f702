//! Five unequal instances behind every way to balance, in time that a loop counts: three that differ in how much they can do, one that is
//! slow, and one that is slow for a second of every four.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::ewma::{PeakEwma, Took};
use super::orca::{Of, Report, Reporting};
use super::tests::endpoints;
use super::*;
use crate::arranging::learnt;
use crate::learnt::Learnt;

/// Hands, and how long each request takes, in microseconds.
const INSTANCES: [(usize, u64); 5] = [(20, 5_000), (4, 5_000), (10, 10_000), (20, 60_000), (20, 5_000)];
const FLAPPING: usize = 4;
/// What a request takes at the flapping one while it is ill.
const ILL: u64 = 150_000;
/// One every 2.5 ms on average, for a minute.
const RATE: f64 = 400.0;
const END: u64 = 60_000_000;
/// By how much the 99th percentile of peak EWMA is better than that of turns.
const FACTOR: f64 = 10.0;

#[derive(Default)]
struct Instance {
    in_flight: u64,
    busy: usize,
    waiting: VecDeque<u64>,
    ewma: PeakEwma,
    learnt: Learnt,
    /// How busy it last said it is.
    reported: f64,
    served: u64,
}

/// Who chooses.
enum Chooses {
    /// The same all the time.
    Always(Arc<dyn Balance>),
    /// By what is learnt from reports, every second anew.
    Learns,
    /// Of two, the one that last said that it is less busy: how it could be done instead.
    LessBusy,
}

impl Chooses {
    fn now(&self, instances: &[Instance], at: Duration) -> Arc<dyn Balance> {
        match self {
            Self::Always(balance) => Arc::clone(balance),
            Self::Learns => {
                let reporting = Reporting { of: Of::Busiest, after: Duration::ZERO, expires: Duration::from_secs(180) };
                let endpoints: Vec<Endpoint> = endpoints(&[1; INSTANCES.len()]);
                let capacities: Vec<Option<f64>> =
                    instances.iter().map(|instance| instance.learnt.capacity(at, &reporting)).collect();
                let weights = learnt(&endpoints, &capacities);
                let candidate =
                    |(endpoint, weight)| Candidate { weight, ..candidates(std::slice::from_ref(endpoint))[0] };
                let candidates: Vec<Candidate<'_>> =
                    endpoints.iter().zip(weights.iter().copied()).map(candidate).collect();
                Algorithm::Load(reporting).build(&candidates, 0)
            }
            Self::LessBusy => Arc::new(LessBusy),
        }
    }
}

#[derive(Debug)]
struct LessBusy;

impl Balance for LessBusy {
    fn pick(&self, cx: &dyn PickCx) -> Option<usize> {
        let draw = || (cx.random() % INSTANCES.len() as u64) as usize;
        let (a, b) = (draw(), draw());
        Some(if cx.latency(b) < cx.latency(a) { b } else { a })
    }
}

struct Now<'a> {
    instances: &'a [Instance],
    chooses: &'a Chooses,
    at: Duration,
    random: &'a Cell<u64>,
}

impl PickCx for Now<'_> {
    fn available(&self, _: usize) -> bool {
        true
    }

    fn in_flight(&self, endpoint: usize) -> u64 {
        self.instances[endpoint].in_flight
    }

    fn latency(&self, endpoint: usize) -> Option<f64> {
        let instance = &self.instances[endpoint];
        match self.chooses {
            Chooses::LessBusy => Some(instance.reported),
            _ => instance.ewma.now(self.at, DECAY),
        }
    }

    fn random(&self) -> u64 {
        next(self.random)
    }

    fn hash_key(&self) -> Option<&[u8]> {
        None
    }
}

/// SplitMix64.
fn next(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    let z = (state.get() ^ (state.get() >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What requests took, in microseconds, sorted; and who served how many.
fn run(chooses: &Chooses) -> (Vec<u64>, Vec<u64>) {
    let random = Cell::new(42);
    let mut instances: Vec<Instance> = INSTANCES.iter().map(|_| Instance::default()).collect();
    // When something ends: time, instance, when the request came.
    let mut ends: BinaryHeap<Reverse<(u64, usize, u64)>> = BinaryHeap::new();
    let (mut took, mut comes, mut second) = (Vec::new(), 0, 0);
    let mut balance = chooses.now(&instances, Duration::ZERO);
    while comes < END || !ends.is_empty() {
        if comes < END && ends.peek().is_none_or(|Reverse((end, ..))| comes <= *end) {
            let at = Duration::from_micros(comes);
            if comes / 1_000_000 > second {
                second = comes / 1_000_000;
                balance = chooses.now(&instances, at);
            }
            let now = Now { instances: &instances, chooses, at, random: &random };
            let to = balance.pick(&now).unwrap();
            instances[to].learnt.sent();
            instances[to].in_flight += 1;
            instances[to].waiting.push_back(comes);
            begin(&mut instances[to], to, comes, &mut ends);
            // As strangers come: independent of each other.
            let uniform = (next(&random) >> 11) as f64 / (1_u64 << 53) as f64;
            comes += (-(1.0 - uniform).ln() / RATE * 1e6) as u64 + 1;
        } else if let Some(Reverse((end, at, came))) = ends.pop() {
            let instance = &mut instances[at];
            let answered = Took::Answered(Duration::from_micros(end - came));
            instance.ewma.take(answered, Duration::from_micros(end), DECAY);
            // As it was while it worked on this one.
            instance.reported = instance.busy as f64 / INSTANCES[at].0 as f64;
            instance.learnt.reported(Report { utilization: instance.reported, rate: None, errors: 0.0 });
            instance.in_flight -= 1;
            instance.busy -= 1;
            instance.served += 1;
            took.push(end - came);
            begin(instance, at, end, &mut ends);
        }
    }
    took.sort_unstable();
    (took, instances.iter().map(|instance| instance.served).collect())
}

fn begin(instance: &mut Instance, at: usize, now: u64, ends: &mut BinaryHeap<Reverse<(u64, usize, u64)>>) {
    let (hands, each) = INSTANCES[at];
    let is_ill = at == FLAPPING && now % 4_000_000 >= 3_000_000;
    while instance.busy < hands
        && let Some(came) = instance.waiting.pop_front()
    {
        instance.busy += 1;
        ends.push(Reverse((now + if is_ill { ILL } else { each }, at, came)));
    }
}

fn percentile(sorted: &[u64], part: f64) -> f64 {
    sorted[(sorted.len() as f64 * part) as usize] as f64 / 1000.0
}

#[test]
fn who_looks_at_how_fast_they_answer_keeps_clear_of_the_slow() {
    let always = |algorithm: Algorithm| Chooses::Always(algorithm.build(&candidates(&endpoints(&[1; 5])), 0));
    let p99 = |name: &str, chooses: &Chooses| {
        let (took, served) = run(chooses);
        let (p50, p99) = (percentile(&took, 0.5), percentile(&took, 0.99));
        (p99, format!("{name}: p50 {p50} ms, p99 {p99} ms, served {served:?}"), served)
    };
    let (turns, about_turns, _) = p99("round_robin", &always(Algorithm::RoundRobin));
    let (least, about_least, _) = p99("least_requests", &always(Algorithm::LeastRequests));
    let (latency, about_latency, _) = p99("latency", &always(Algorithm::Latency { decay: DECAY }));
    let (_, about_load, by_load) = p99("load", &Chooses::Learns);
    let (_, about_less, by_less) = p99("the less busy of two", &Chooses::LessBusy);
    let about = [about_turns, about_least, about_latency, about_load, about_less].join("\n");
    println!("{about}");
    assert!(latency * FACTOR <= turns, "{about}");
    assert!(latency < least && least <= turns, "{about}");
    // Work is spread by what each can do: the slow one gets less than it does from whoever only looks at the last report.
    let slow = |served: &[u64]| served[3] as f64 / served.iter().sum::<u64>() as f64;
    assert!(slow(&by_load) < 0.1 && slow(&by_load) < slow(&by_less), "{about}");
}
