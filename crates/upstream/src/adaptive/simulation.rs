//! A service that can do 200 requests a second, offered 600: with adaptive concurrency in front of it, and without. In time that a loop counts.

use std::collections::VecDeque;
use std::time::Duration;

use tollgate_core::criticality::Criticality::{self, High, Low, Normal};

use super::gradient::{Gradient, Limits, TOLERANCE, Window};
use super::line::Line;
use super::samples::Samples;

/// Hands of the service, and what each request takes.
const HANDS: usize = 10;
const EACH: u64 = 50;
/// With so many in its queue each takes twice as long.
const SLOWS: u64 = 100;
/// How long a client waits.
const PATIENCE: u64 = 1000;
/// How long one waits in line.
const WAIT: u64 = 200;
/// Until when 600 requests a second come; after that, 50.
const BURST: u64 = 20_000;
const END: u64 = 30_000;

#[derive(Clone, Copy)]
struct Request {
    criticality: Criticality,
    came: u64,
    sent: u64,
}

/// What became of requests, by when they came.
#[derive(Default)]
struct Seen {
    offered: Vec<(u64, Criticality)>,
    served: Vec<(Request, u64)>,
    limits: Vec<u32>,
}

/// The service: it does not notice that clients have gone.
#[derive(Default)]
struct Service {
    queue: VecDeque<Request>,
    /// What is worked on, and until when.
    hands: Vec<(Request, u64)>,
}

impl Service {
    fn tick(&mut self, now: u64) -> Vec<Request> {
        let done = self.hands.extract_if(.., |(_, until)| *until <= now).map(|(request, _)| request).collect();
        while self.hands.len() < HANDS
            && let Some(next) = self.queue.pop_front()
        {
            let takes = EACH + EACH * self.queue.len() as u64 / SLOWS;
            self.hands.push((next, now + takes));
        }
        done
    }
}

/// What stands before it.
struct Gate {
    gradient: Gradient,
    line: Line<Request>,
    samples: Samples,
    under_way: Vec<Request>,
    peak: usize,
    moves_at: u64,
}

impl Gate {
    fn new() -> Self {
        let gradient = Gradient::new(Limits { min: 4, max: 1000, initial: 20 });
        let (line, samples) = (Line::new(100), Samples::default());
        Self { gradient, line, samples, under_way: Vec::new(), peak: 0, moves_at: 100 }
    }

    fn done(&mut self, request: &Request, now: u64) {
        let known =
            self.under_way.iter().position(|one| one.came == request.came && one.criticality == request.criticality);
        if let Some(known) = known {
            self.under_way.swap_remove(known);
            self.samples.add(Duration::from_millis(now - request.sent));
        }
    }

    /// Those whose clients have gone count as answered late.
    fn give_up(&mut self, now: u64) {
        let slow = self.gradient.alone().map(|alone| alone.mul_f64(TOLERANCE));
        for gone in self.under_way.extract_if(.., |one| now - one.came >= PATIENCE) {
            let took = Duration::from_millis(now - gone.sent);
            if slow.is_some_and(|slow| took > slow) {
                self.samples.add(took);
            }
        }
    }

    fn let_in(&mut self, now: u64) -> Vec<Request> {
        let mut passed = Vec::new();
        while self.under_way.len() < self.gradient.in_force() as usize
            && let Some(next) = self.line.next()
        {
            if now - next.came <= WAIT {
                let next = Request { sent: now, ..next };
                self.under_way.push(next);
                passed.push(next);
            }
        }
        self.peak = self.peak.max(self.under_way.len());
        passed
    }

    fn adjust(&mut self, now: u64) {
        if now < self.moves_at {
            return;
        }
        let (count, median) = self.samples.take(10);
        if count >= 10 {
            let (at, peak) = (Duration::from_millis(now), u32::try_from(self.peak).unwrap());
            self.gradient.observe(&Window { at, median, peak });
            (self.peak, self.moves_at) = (self.under_way.len(), now + 100);
        }
    }
}

fn run(mut gate: Option<Gate>) -> Seen {
    let (mut seen, mut service) = (Seen::default(), Service::default());
    for now in 0..END {
        for request in service.tick(now) {
            if let Some(gate) = &mut gate {
                gate.done(&request, now);
            }
            if now - request.came < PATIENCE {
                seen.served.push((request, now));
            }
        }
        // One of 10 ms, two of 10 ms, three of 10 ms: 100, 200 and 300 a second.
        let arrivals: &[Criticality] = match now % 10 {
            0 if now < BURST => &[High],
            2 | 7 if now < BURST => &[Normal],
            1 | 4 | 8 if now < BURST => &[Low],
            0 if now % 20 == 0 => &[Normal],
            _ => &[],
        };
        for criticality in arrivals {
            seen.offered.push((now, *criticality));
            let request = Request { criticality: *criticality, came: now, sent: now };
            match &mut gate {
                Some(gate) => drop(gate.line.join(request, *criticality, |one| now - one.came > WAIT)),
                None => service.queue.push_back(request),
            }
        }
        if let Some(gate) = &mut gate {
            gate.give_up(now);
            gate.adjust(now);
            service.queue.extend(gate.let_in(now));
            seen.limits.push(gate.gradient.in_force());
        }
    }
    seen
}

impl Seen {
    fn success(&self, of: Criticality, from: u64, to: u64) -> f64 {
        let is_of = |came: u64, criticality: Criticality| criticality == of && (from..to).contains(&came);
        let offered = self.offered.iter().filter(|(came, criticality)| is_of(*came, *criticality)).count();
        let served = self.served.iter().filter(|(one, _)| is_of(one.came, one.criticality)).count();
        served as f64 / offered as f64
    }

    /// Served in a second, by when they were.
    fn goodput(&self, from: u64, to: u64) -> f64 {
        self.served.iter().filter(|(_, at)| (from..to).contains(at)).count() as f64 * 1000.0 / (to - from) as f64
    }
}

#[test]
fn what_matters_most_is_served_and_the_service_stays_at_work() {
    let seen = run(Some(Gate::new()));
    assert!(seen.success(High, 0, BURST) >= 0.99, "{}", seen.success(High, 0, BURST));
    let goodput = seen.goodput(1000, BURST);
    assert!(goodput >= 0.9 * 200.0, "{goodput}");
    assert!(seen.success(Low, 1000, BURST) < 0.1, "the others had what was left");
    assert!(seen.success(Normal, 1000, BURST) > 0.35, "{}", seen.success(Normal, 1000, BURST));
    // Ten hands: never far more than they can do.
    let settled = &seen.limits[5000..];
    assert!(settled.iter().all(|limit| *limit <= 40), "{:?}", settled.iter().max());
    assert!(seen.success(Normal, BURST + 1000, END - 1000) >= 1.0, "recovered a second after the burst");
}

#[test]
fn without_it_the_same_service_collapses() {
    let seen = run(None);
    let goodput = seen.goodput(5000, BURST);
    assert!(goodput < 20.0, "answers come when nobody waits for them any more: {goodput}");
    assert!(seen.success(High, 5000, BURST) < 0.1);
    assert!(seen.success(Normal, BURST + 1000, BURST + 6000) < 0.1, "and still do when the burst is over");
}
