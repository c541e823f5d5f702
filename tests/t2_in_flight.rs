//! T2: so many requests in flight, for each caller and for all together; whatever becomes of one, its place is free again.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use serde_json::Value;
use tollgate_testkit::http2::FrameClient;
use tollgate_testkit::{Gate, Gateway, RawClient, Recorder, Response, Script, Step, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const HEAD: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 2\n";

/// A gateway before a service that answers `/slow` once the gate is open, with much at `/large`, and never at `/never`.
struct Bench {
    backend: Recorder,
    gateway: Gateway,
    gate: Gate,
}

impl Bench {
    fn new(config: &str) -> Self {
        let (gate, large) = (Gate::new(), "x".repeat(16 << 20));
        let own = gate.clone();
        let backend = Recorder::answering(move |taken| match taken.target.as_str() {
            "/slow" => Script(vec![Step::ReadRequest, Step::Wait(own.clone())])
                .then(Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())),
            "/large" => Script::ok(taken, &large),
            "/never" => Script(vec![Step::ReadRequest, Step::Silence]),
            "/cut" => Script(vec![
                Step::ReadRequest,
                Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok".to_vec()),
                Step::Reset,
            ]),
            "/ws" => Script::reply(AGREED).then(Step::Silence),
            _ => Script::ok(taken, "ok"),
        });
        let gateway =
            Gateway::start(TOLLGATE, &format!("{HEAD}{config}"), &[("backend", backend.address().to_string())]);
        Self { backend, gateway, gate }
    }

    fn reload(&self, config: &str) {
        self.gateway.reload(&format!("{HEAD}{config}"), &[("backend", self.backend.address().to_string())]);
    }

    /// A request that is on its way, and known to have reached the service.
    fn begin(&self, target: &str, tenant: &str) -> RawClient {
        let before = self.reached();
        let mut client = self.gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: g\r\nX-Tenant: {tenant}\r\n\r\n"));
        wait_until("the request reaches the service", || self.reached() > before);
        client
    }

    fn reached(&self) -> usize {
        let sent = |bytes: &[u8]| bytes.windows(5).filter(|text| *text == b"GET /").count();
        self.backend.recorded().iter().map(|connection| sent(&connection.bytes)).sum()
    }

    fn ask(&self, tenant: &str) -> Response {
        self.gateway.client().call(&format!("GET / HTTP/1.1\r\nHost: g\r\nX-Tenant: {tenant}\r\n\r\n"))
    }

    fn is_full(&self) -> bool {
        self.ask("a").status == 429
    }

    fn becomes_free(&self, why: &str) {
        wait_until(why, || self.ask("a").status == 200);
    }
}

const ONE: &str = "routes: { /**: { to: \"{{backend}}\", in_flight: 1 per header X-Tenant } }\n";

#[test]
fn a_caller_has_so_many_in_flight_and_others_do_not_suffer() {
    let bench = Bench::new("routes: { /**: { to: \"{{backend}}\", in_flight: 2 per header X-Tenant } }\n");
    let mut held = [bench.begin("/slow", "a"), bench.begin("/slow", "a")];
    let refused = bench.ask("a");
    let problem: Value = serde_json::from_str(&refused.text()).unwrap();
    assert_eq!((refused.status, refused.one("retry-after").as_deref()), (429, Some("1")));
    assert_eq!(problem["type"], "urn:tollgate:problem:in_flight/exceeded");
    assert_eq!(problem["limit"], "2 per header X-Tenant");
    assert_eq!(bench.ask("b").status, 200);
    assert_eq!(bench.reached(), 3, "what is refused reaches no service");
    let line = bench.gateway.access_line("who was refused", |line| line["problem"] == "in_flight/exceeded");
    assert_eq!(line["cause"], "`2 per header X-Tenant`: 2 are in flight");
    bench.gateway.await_metric("tollgate_problems_total{api=\"\",slug=\"in_flight/exceeded\"}", |count| count == 1.0);
    bench.gate.open();
    assert!(held.iter_mut().all(|client| client.response("GET").unwrap().status == 200));
    bench.becomes_free("the answers were the end of them");
}

#[test]
fn all_together_have_so_many_and_that_is_nobodys_fault() {
    let bench = Bench::new(
        "apis: { shop: { defaults: { in_flight: [9 per ip, 2 per api] }, routes: { /**: \"{{backend}}\", /b: \"{{backend}}\" } } }\n",
    );
    let _held = [bench.begin("/slow", "a"), bench.begin("/slow", "b")];
    let refused = bench.gateway.client().call("GET /b HTTP/1.1\r\nHost: g\r\n\r\n");
    assert_eq!((refused.status, refused.one("retry-after").as_deref()), (503, Some("1")));
    assert!(refused.text().contains("in_flight/full"), "{}", refused.text());
    bench.gateway.await_metric("tollgate_problems_total{api=\"shop\",slug=\"in_flight/full\"}", |count| count == 1.0);
    bench.gate.open();
    bench.becomes_free("the answers were the end of them");
}

#[test]
fn who_leaves_is_cut_or_waits_in_vain_gives_its_place_back() {
    let bench = Bench::new(
        "defaults: { in_flight: 1 per header X-Tenant }\n\
         routes: { /**: \"{{backend}}\", /never: { to: \"{{backend}}\", timeout: 300ms } }\n",
    );
    let left = bench.begin("/slow", "a");
    assert!(bench.is_full());
    left.reset();
    bench.becomes_free("the client is gone");
    let mut cut = bench.begin("/cut", "a");
    cut.response("GET").unwrap_err();
    bench.becomes_free("the service broke off");
    let ask = |client: &mut RawClient| client.call("GET /never HTTP/1.1\r\nHost: g\r\nX-Tenant: a\r\n\r\n").status;
    assert_eq!((ask(&mut bench.gateway.client()), ask(&mut bench.gateway.client())), (504, 504));
}

#[test]
fn an_answer_that_nobody_reads_is_in_flight_until_its_last_byte() {
    let bench = Bench::new(ONE);
    let mut slow = bench.begin("/large", "a").patience(std::time::Duration::from_secs(60));
    slow.head().unwrap();
    assert!(bench.is_full(), "much of it is not out yet");
    slow.skip(16 << 20);
    bench.becomes_free("all of it is out");
}

#[test]
fn streams_count_as_requests_and_end_with_their_connection() {
    let bench = Bench::new("routes: { /**: { to: \"{{backend}}\", in_flight: 2 per ip } }\n");
    let mut client = FrameClient::open(bench.gateway.address(), &[]);
    client.get(1, "/slow");
    client.get(3, "/slow");
    wait_until("both are with the service", || bench.reached() == 2);
    client.get(5, "/");
    assert_eq!(client.answer(5).status, 429);
    assert!(bench.is_full(), "connections do not matter");
    client.reset();
    bench.becomes_free("the streams went with their connection");
}

#[test]
fn a_websocket_counts_for_as_long_as_it_lives() {
    let bench = Bench::new("routes: { /**: { to: \"{{backend}}\", in_flight: 1 per ip } }\n");
    let mut client = bench.gateway.client();
    client.send(UPGRADE);
    assert!(client.head().unwrap().starts_with("HTTP/1.1 101"));
    assert!(bench.is_full());
    drop(client);
    bench.becomes_free("it is closed");
}

#[test]
fn a_reload_changes_the_number_and_forgets_nobody() {
    let bench = Bench::new(ONE);
    let _held = bench.begin("/slow", "a");
    assert!(bench.is_full());
    bench.reload("routes: { /**: { to: \"{{backend}}\", in_flight: 2 per header X-Tenant } }\n");
    let second = bench.begin("/slow", "a");
    assert!(bench.is_full(), "the one of before counts");
    bench.reload(ONE);
    second.reset();
    bench.gateway.await_metric("tollgate_requests_in_flight{api=\"\",route=\"/**\"}", |count| count == 1.0);
    assert!(bench.is_full(), "one is as many as there may be");
    bench.gate.open();
    bench.becomes_free("both are over");
}

#[test]
fn a_storm_of_clients_that_leave_at_any_time_leaves_nothing_behind() {
    let bench = Bench::new("routes: { /**: { to: \"{{backend}}\", in_flight: [3 per header X-Tenant, 1000] } }\n");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                for n in 0..100 {
                    let target = ["/slow", "/", "/large", "/cut"][(thread + n) % 4];
                    let mut client = bench.gateway.client();
                    client.send(format!("GET {target} HTTP/1.1\r\nHost: g\r\nX-Tenant: a\r\n\r\n"));
                    if n % 3 == 0 || target == "/slow" {
                        client.reset();
                    } else if n % 3 == 1 && target == "/" {
                        let _ = client.response("GET");
                    }
                }
            });
        }
    });
    bench.gateway.await_metric("tollgate_requests_in_flight{api=\"\",route=\"/**\"}", |count| count == 0.0);
    let _held = [bench.begin("/slow", "a"), bench.begin("/slow", "a"), bench.begin("/slow", "a")];
    assert!(bench.is_full());
}

#[test]
fn a_shadow_refuses_nobody_and_is_counted() {
    let bench = Bench::new("routes: { /**: { to: \"{{backend}}\", in_flight: { most: 1, shadow: true } } }\n");
    let _held = bench.begin("/slow", "a");
    assert_eq!(bench.ask("a").status, 200);
    bench.gateway.await_metric("tollgate_shadowed_total{api=\"\",slug=\"in_flight/full\"}", |count| count == 1.0);
}
