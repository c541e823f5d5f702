//! T1: so many requests in a time, for each caller. Counted by the backend, not by the gateway.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "python.rs"]
mod python;

use std::thread;

use serde_json::Value;
use tollgate_testkit::{Gateway, Recorder, Response, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

struct Bench {
    backend: Recorder,
    gateway: Gateway,
}

const HEAD: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 2\n";

impl Bench {
    fn new(config: &str) -> Self {
        let backend = Recorder::start();
        let values = [("backend", backend.address().to_string())];
        let gateway = Gateway::start(TOLLGATE, &format!("{HEAD}{config}"), &values);
        Self { backend, gateway }
    }

    fn reload(&self, config: &str) {
        self.gateway.reload(&format!("{HEAD}{config}"), &[("backend", self.backend.address().to_string())]);
    }

    fn ask(&self, target: &str, tenant: &str) -> Response {
        self.gateway.client().call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\nX-Tenant: {tenant}\r\n\r\n"))
    }

    /// How many of so many requests pass.
    fn passed(&self, target: &str, tenant: &str, times: usize) -> usize {
        (0..times).filter(|_| self.ask(target, tenant).status == 200).count()
    }

    fn served(&self) -> usize {
        let sent = |bytes: &[u8]| bytes.windows(5).filter(|text| *text == b"GET /").count();
        self.backend.recorded().iter().map(|connection| sent(&connection.bytes)).sum()
    }
}

#[test]
fn who_comes_too_often_is_told_when_to_come_again() {
    let bench = Bench::new("routes: { /**: { to: \"{{backend}}\", limit: 3/h per header X-Tenant } }\n");
    let first = bench.ask("/", "a");
    assert_eq!(
        (first.status, first.one("ratelimit").as_deref()),
        (200, Some("\"3/h per header X-Tenant\";r=2;t=1200"))
    );
    assert_eq!(first.one("ratelimit-policy").as_deref(), Some("\"3/h per header X-Tenant\";q=3;w=3600"));
    assert_eq!(bench.passed("/", "a", 5), 2);
    let refused = bench.ask("/", "a");
    let problem: Value = serde_json::from_str(&refused.text()).unwrap();
    assert_eq!((refused.status, &problem["type"]), (429, &"urn:tollgate:problem:limit/exceeded".into()));
    assert_eq!(problem["limit"], "3/h per header X-Tenant");
    let wait: u64 = refused.one("retry-after").unwrap().parse().unwrap();
    assert!((1150..=1200).contains(&wait), "{wait}");
    assert_eq!(bench.passed("/", "b", 5), 3, "another tenant has its own");
    assert_eq!(bench.served(), 6, "what is refused reaches no service");
}

#[test]
fn what_answers_tell_is_read_by_others() {
    let bench = Bench::new(
        "routes: { /**: { to: \"{{backend}}\", limit: [{ rate: 5/s, name: 'a \"b\" \\c é' }, 100/day, 7/min exact] } }\n",
    );
    let answer = bench.ask("/", "a");
    let lines = [answer.all("ratelimit-policy").join(", "), answer.all("ratelimit").join(", ")];
    let told = python::output("structured.py", &lines.each_ref().map(String::as_str));
    let [policies, left] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert!(policies.contains("('a \"b\" \\\\c ?', {'q': 5, 'w': 1})"), "{policies}");
    assert!(policies.contains("('100/day', {'q': 100, 'w': 86400})"), "{policies}");
    assert!(left.contains("('7/min exact', {'r': 6, 't': 62})"), "{left}");
}

#[test]
fn however_many_come_at_once_never_more_pass() {
    let bench = Bench::new(
        "routes:\n  /bucket: { to: \"{{backend}}\", limit: 50/h }\n  /exact: { to: \"{{backend}}\", limit: 50/h exact }\n  \
         /calendar: { to: \"{{backend}}\", limit: 50/month }\n",
    );
    for target in ["/bucket", "/exact", "/calendar"] {
        let _ = bench.backend.take();
        let passed: usize = thread::scope(|scope| {
            let clients = [(); 8].map(|()| {
                scope.spawn(|| {
                    let mut client = bench.gateway.client();
                    (0..40).filter(|_| client.get(target).status == 200).count()
                })
            });
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert_eq!((passed, bench.served()), (50, 50), "{target}");
    }
}

#[test]
fn it_counts_where_it_stands() {
    let bench = Bench::new(
        "defaults: { limit: 12/h }\napis:\n  shop:\n    hosts: [g]\n    defaults: { limit: [5/h, 3/h per route] }\n    routes:\n      \
         /a: { to: \"{{backend}}\" }\n      /b: { to: \"{{backend}}\" }\n      /c: { to: \"{{backend}}\", limit: 1/h }\n      \
         /free: { to: \"{{backend}}\", limit: none }\n",
    );
    assert_eq!(bench.passed("/a", "", 5), 3, "of the route");
    assert_eq!((bench.passed("/c", "", 3), bench.passed("/b", "", 3)), (1, 1), "of the api");
    assert_eq!(bench.passed("/free", "", 20), 20);
    // What one of them refuses is no loss for the others.
    assert_eq!(bench.ask("/b", "").all("ratelimit"), ["\"5/h\";r=0;t=3600", "\"12/h\";r=7;t=1500"]);
}

#[test]
fn counts_outlive_a_reload_and_other_numbers_hold_at_once() {
    let config = |limit: &str| format!("routes: {{ /**: {{ to: \"{{{{backend}}}}\", limit: {limit} }} }}\n");
    let bench = Bench::new(&config("4/month per header X-Tenant"));
    assert_eq!(bench.passed("/", "a", 5), 4);
    bench.reload(&format!("{}state: {{ counters: 5000 }}\n", config("4/month per header X-Tenant")));
    assert_eq!(bench.passed("/", "a", 1), 0);
    bench.reload(&config("6/month per header X-Tenant"));
    assert_eq!(bench.passed("/", "a", 5), 2);
    bench.reload(&config("2/month per header X-Tenant"));
    assert_eq!((bench.passed("/", "a", 2), bench.passed("/", "b", 5)), (0, 2));
}

#[test]
fn a_shadow_is_seen_in_metrics_and_refusals_are_told_by_api_and_limit() {
    let bench = Bench::new(
        "apis:\n  shop:\n    routes:\n      /shadow: { to: \"{{backend}}\", limit: { rate: 1/h, shadow: true } }\n      \
         /real: { to: \"{{backend}}\", limit: 1/h }\n",
    );
    assert_eq!((bench.passed("/shadow", "", 4), bench.passed("/real", "", 4)), (4, 1));
    let of = |name: &str| format!("tollgate_{name}_total{{api=\"shop\",slug=\"limit/exceeded\"}}");
    bench.gateway.await_metric(&of("shadowed"), |count| count == 3.0);
    bench.gateway.await_metric(&of("problems"), |count| count == 3.0);
    let with = |name: &str| bench.gateway.access_log().iter().filter(|line| line[name] == "limit/exceeded").count();
    wait_until("the log tells of both", || (with("shadow"), with("problem")) == (3, 3));
    assert!(bench.gateway.log().contains("limit/exceeded"), "a security event tells who");
}
