//! T6: requests go on evenly spaced, so that a service never gets them faster than it bears.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::thread;
use std::time::Duration;

use serde_json::Value;
use tollgate_testkit::load::{Fares, Kind, Legacy, Work};
use tollgate_testkit::{Gateway, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const HEAD: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 2\n";
const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    backend: Legacy,
    gateway: Gateway,
}

impl Bench {
    fn new(config: &str) -> Self {
        let backend = Legacy::start(Work::none());
        let values = [("backend", backend.address().to_string())];
        let gateway = Gateway::start(TOLLGATE, &format!("{HEAD}{config}"), &values);
        Self { backend, gateway }
    }

    fn reload(&self, config: &str) {
        self.gateway.reload(&format!("{HEAD}{config}"), &[("backend", self.backend.address().to_string())]);
    }

    /// So many requests a second for each path, for so long.
    fn burst(&self, paths: &[&str], rate: u32, seconds: u32) -> Fares {
        let during = (Duration::ZERO, SECOND * seconds);
        let kind = |path: &&str| Kind { name: "any", path: (*path).to_owned(), rate, during };
        Fares::of(self.gateway.address(), &paths.iter().map(kind).collect::<Vec<_>>(), SECOND * 10)
    }

    /// How many arrived in each 100 ms.
    fn arrivals(&self) -> Vec<usize> {
        let all = self.backend.arrivals();
        let mut counts = Vec::new();
        for at in &all {
            let place = usize::try_from(at.duration_since(all[0]).as_millis() / 100).unwrap();
            counts.resize(counts.len().max(place + 1), 0);
            counts[place] += 1;
        }
        counts
    }
}

fn status(fares: &Fares, status: u16) -> usize {
    fares.0.iter().filter(|one| one.status == status).count()
}

#[test]
fn a_service_never_sees_more_over_all_routes_and_workers() {
    let bench = Bench::new(
        "services: { stock: { to: \"{{backend}}\", smooth: 50/s queue 60 } }\nroutes: { /a: stock, /b: stock }\n",
    );
    // Until the queue is full, and on.
    let fares = bench.burst(&["/a", "/b"], 100, 3);
    let counts = bench.arrivals();
    // 5 belong there; a timer, or a machine that has other work, may move a few.
    assert!(counts.iter().all(|count| *count <= 7), "{counts:?}");
    let (served, refused) = (status(&fares, 200), status(&fares, 503));
    assert_eq!(served + refused, 600, "nobody is left without an answer");
    // 3 s of 50, and those that waited at the end.
    assert!((205..=213).contains(&served), "{served}");
    assert_eq!(bench.backend.arrivals().len(), served);
    for path in ["/a", "/b"] {
        assert!(bench.gateway.client().get(path).status == 200);
    }
    assert_eq!(bench.gateway.metric("tollgate_smooth_refused_total{service=\"stock\"}"), refused as f64);
    assert_eq!(bench.gateway.metric("tollgate_smooth_waiting{service=\"stock\"}"), 0.0);
}

#[test]
fn who_is_too_many_is_told_when_to_come_again() {
    let bench = Bench::new(
        "services: { stock: { to: \"{{backend}}\", smooth: 1/10s queue 0 } }\n\
         routes:\n  /a: stock\n  /b: { to: stock, fallback: 200 later }\n  /own: { to: \"{{backend}}\", smooth: 1/10s queue 0 }\n",
    );
    for (path, slug) in [("/a", "upstream/rate"), ("/own", "smooth/exceeded")] {
        assert_eq!(bench.gateway.client().get(path).status, 200);
        let refused = bench.gateway.client().get(path);
        let problem: Value = serde_json::from_str(&refused.text()).unwrap();
        assert_eq!((refused.status, &problem["type"]), (503, &format!("urn:tollgate:problem:{slug}").into()));
        let wait: u64 = refused.one("retry-after").unwrap().parse().unwrap();
        assert!((8..=10).contains(&wait), "{wait}");
    }
    assert_eq!(bench.gateway.client().get("/b").text(), "later", "a fallback stands in");
    assert_eq!(bench.backend.arrivals().len(), 2);
}

#[test]
fn a_turn_that_would_come_too_late_is_no_turn() {
    let bench = Bench::new(
        "services: { stock: { to: \"{{backend}}\", smooth: 2/s } }\nroutes: { /a: { to: stock, timeout: 1200ms } }\n",
    );
    let fares = bench.burst(&["/a"], 100, 1);
    let late = fares.0.iter().filter(|one| one.status == 503 && one.took > SECOND / 4).count();
    assert_eq!(late, 0, "who is refused is refused at once");
    assert!((3..=5).contains(&status(&fares, 200)), "{}", status(&fares, 200));
}

#[test]
fn a_reload_lets_nobody_pass_who_would_have_had_to_wait() {
    let config = |more: &str| {
        format!(
            "services: {{ stock: {{ to: \"{{{{backend}}}}\", smooth: 10/s{more} }} }}\nroutes: {{ /a: stock, /b: {{ to: stock, smooth: 5/s }} }}\n"
        )
    };
    let bench = Bench::new(&config(""));
    thread::scope(|scope| {
        let burst = scope.spawn(|| bench.burst(&["/a"], 40, 3));
        for number in 0..4 {
            wait_until("some more arrive", || bench.backend.arrivals().len() >= 5 * (number + 1));
            // The service itself is made anew by every other.
            bench.reload(&config(if number % 2 == 0 { ", connections: 100" } else { "" }));
        }
        let fares = burst.join().unwrap();
        assert_eq!(status(&fares, 200) + status(&fares, 503), 120);
    });
    let counts = bench.arrivals();
    assert!(counts.iter().all(|count| *count <= 3), "{counts:?}");
    let seconds: Vec<usize> = counts.chunks_exact(10).map(|ten| ten.iter().sum()).collect();
    assert!(seconds.iter().all(|count| *count <= 12), "{seconds:?}");
}

#[test]
fn a_route_is_smoothed_and_others_are_not() {
    let bench = Bench::new(
        "apis:\n  shop:\n    hosts: [gateway.test]\n    defaults: { smooth: 20/s queue 200 }\n    routes:\n      \
         /a: { to: \"{{backend}}\" }\n      /b: { to: \"{{backend}}\" }\n      /free: { to: \"{{backend}}\", smooth: none }\n",
    );
    let fares = bench.burst(&["/a", "/b"], 25, 2);
    assert_eq!(status(&fares, 200), 100, "all wait for their turn");
    let counts = bench.arrivals();
    assert!(counts.iter().all(|count| *count <= 4), "{counts:?}");
    assert!(counts.len() >= 47, "100 at 20/s take 5 s: {}", counts.len());
    let free = bench.burst(&["/free"], 100, 1);
    assert!(free.0.iter().all(|one| one.status == 200 && one.took < SECOND / 2));
}
