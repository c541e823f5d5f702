//! L1: which instance takes a request, and how many connections a service is given.

use std::collections::BTreeMap;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::recorder::Taken;
use tollgate_testkit::{Gate, Gateway, RawClient, Recorder, Script, Step};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// Instances `a`, `b`, `c` … that answer with their names; `/wait` waits at the gate first.
struct Bench {
    instances: Vec<Recorder>,
    gateway: Gateway,
    gate: Gate,
}

impl Bench {
    /// Everything goes to the service `s`, of which this is the rest after `to`; `{a}`, `{b}` … are its instances.
    fn new(to: &str, rest: &str) -> Self {
        Self::on(2, to, rest)
    }

    /// The same, on so many workers.
    fn on(workers: usize, to: &str, rest: &str) -> Self {
        let gate = Gate::new();
        let instance = |name: char| {
            let gate = gate.clone();
            Recorder::answering(move |taken: &Taken| {
                let mut script = Script::ok(taken, &name.to_string());
                if taken.target.starts_with("/wait") {
                    script.0.insert(1, Step::Wait(gate.clone()));
                }
                script
            })
        };
        let names: Vec<char> = ('a'..='z').filter(|name| to.contains(&format!("{{{name}}}"))).collect();
        let instances: Vec<Recorder> = names.iter().map(|name| instance(*name)).collect();
        let to = names.iter().zip(&instances).fold(to.to_owned(), |to, (name, instance)| {
            to.replace(&format!("{{{name}}}"), &instance.address().to_string())
        });
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: {workers}\n\
             services: {{ s: {{ to: [{to}], {rest} }} }}\nroutes: {{ /**: s }}\n"
        );
        Self { instances, gateway: Gateway::start(TOLLGATE, &config, &[]), gate }
    }

    /// A client whose request for `/wait` has reached an instance, the `nth` that did.
    fn waiting(&self, nth: usize) -> RawClient {
        let mut client = self.gateway.client();
        client.send("GET /wait HTTP/1.1\r\nHost: g\r\n\r\n");
        self.reached(nth);
        client
    }

    /// Waits until so many requests for `/wait` are with instances.
    fn reached(&self, count: usize) {
        tollgate_testkit::wait_until("the requests reach an instance", || self.seen("GET /wait") == count);
    }

    /// How often these bytes came to any instance.
    fn seen(&self, bytes: &str) -> usize {
        let of = |instance: &Recorder| -> usize {
            let recorded = instance.recorded();
            recorded.iter().map(|c| c.bytes.windows(bytes.len()).filter(|w| *w == bytes.as_bytes()).count()).sum()
        };
        self.instances.iter().map(of).sum()
    }

    fn waiting_in_queue(&self, count: f64) {
        self.gateway.await_metric("tollgate_queue_waiting{service=\"s\"}", |waiting| waiting == count);
    }
}

fn with_field(client: &mut RawClient, target: &str, field: &str) -> String {
    client.call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\n{field}\r\n\r\n")).text()
}

#[test]
fn two_instances_take_turns() {
    let bench = Bench::new("\"{a}\", \"{b}\"", "balance: round_robin");
    let mut clients = [bench.gateway.client(), bench.gateway.client(), bench.gateway.client()];
    // Strictly, over connections and workers.
    let answers: String = (0..12).map(|n| clients[n % 3].get("/").text()).collect();
    assert_eq!(answers, answers[..2].repeat(6));
    assert_ne!(answers[..1], answers[1..2]);
}

#[test]
fn weights_are_kept_smoothly() {
    let bench = Bench::new("\"{a} weight 3\", \"{b}\", \"{c} weight 0\"", "balance: round_robin");
    let mut client = bench.gateway.client();
    let answers: String = (0..40).map(|_| client.get("/").text()).collect();
    for four in 0..10 {
        let part = &answers[four * 4..four * 4 + 4];
        assert_eq!((part.matches('a').count(), part.matches('b').count()), (3, 1), "{answers}");
    }
    assert!(!answers.contains("aaaa"), "{answers}");
}

#[test]
fn least_requests_leaves_the_busy_one_alone() {
    let bench = Bench::new("\"{a}\", \"{b}\"", "balance: least_requests");
    let mut busy = bench.waiting(1);
    let mut client = bench.gateway.client();
    let others: String = (0..20).map(|_| client.get("/").text()).collect();
    bench.gate.open();
    let first = busy.response("GET").unwrap().text();
    assert!(!others.contains(&first), "{first} was busy, and asked: {others}");
}

#[test]
fn equal_keys_stay_with_an_instance_and_move_only_with_it() {
    let bench = Bench::new("\"{a}\", \"{b}\", \"{c}\"", "balance: hash header X-User, retry: 2");
    let mut client = bench.gateway.client();
    let users: Vec<String> = (0..60).map(|n| format!("X-User: {n}")).collect();
    let homes = |client: &mut RawClient| -> BTreeMap<String, String> {
        users.iter().map(|user| (user.clone(), with_field(client, "/", user))).collect()
    };
    let before = homes(&mut client);
    assert_eq!(homes(&mut bench.gateway.client()), before, "whatever the connection");
    for name in ["a", "b", "c"] {
        assert!(before.values().filter(|home| *home == name).count() > 5, "{before:?}");
    }
    let Bench { mut instances, gateway, gate: _ } = bench;
    drop(instances.remove(1));
    let after = homes(&mut gateway.client());
    for (user, home) in &before {
        match home.as_str() {
            "b" => assert_ne!(after[user], "b"),
            home => assert_eq!(after[user], home, "{user} moved though {home} is there"),
        }
    }
}

#[test]
fn other_things_can_be_hashed_too() {
    for (hash, same, different) in
        [("query user", ["/x?user=1", "/y?a=b&user=1"], "/x?user="), ("path", ["/x/1", "/x/1?a=b"], "/x/")]
    {
        let bench = Bench::new("\"{a}\", \"{b}\", \"{c}\"", &format!("balance: hash {hash}"));
        let mut client = bench.gateway.client();
        let home = client.get(same[0]).text();
        assert!((0..6).all(|n| client.get(same[n % 2]).text() == home), "{hash}");
        let homes: BTreeMap<String, ()> =
            (0..40).map(|n| (client.get(&format!("{different}{n}")).text(), ())).collect();
        assert_eq!(homes.len(), 3, "{hash}");
    }
    let bench = Bench::new("\"{a}\", \"{b}\"", "balance: hash ip");
    let answers: String = (0..10).map(|_| bench.gateway.client().get("/").text()).collect();
    assert_eq!(answers, answers[..1].repeat(10), "one address");
    let bench = Bench::new("\"{a}\", \"{b}\"", "balance: hash cookie c");
    let home = with_field(&mut bench.gateway.client(), "/", "Cookie: a=b; c=1");
    assert!((0..6).all(|n| with_field(&mut bench.gateway.client(), "/", &format!("Cookie: c=1; d={n}")) == home));
}

#[test]
fn beyond_the_limit_a_request_waits_and_is_served() {
    let bench = Bench::new("\"{a}\"", "connections: 2, queue: { size: 5, timeout: 15s }");
    let mut clients = vec![bench.waiting(1), bench.waiting(2)];
    for _ in 0..2 {
        let mut client = bench.gateway.client();
        client.send("GET /wait HTTP/1.1\r\nHost: g\r\n\r\n");
        clients.push(client);
    }
    bench.waiting_in_queue(2.0);
    assert_eq!(bench.instances[0].recorded().len(), 2, "two connections and no more");
    bench.gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").unwrap().text(), "a");
    }
    bench.waiting_in_queue(0.0);
    // Those at rest may have been closed for others' sake, but there were never more than two at a time.
    let open = bench.gateway.status()["services"][0]["instances"][0]["connections"].as_u64();
    assert!(open.is_some_and(|open| open <= 2), "{open:?}");
}

#[test]
fn whoever_came_first_is_served_first() {
    let bench = Bench::on(1, "\"{a}\"", "connections: 1, queue: { size: 10, timeout: 15s }");
    let mut busy = bench.waiting(1);
    let mut clients = Vec::new();
    for n in 0..4 {
        let mut client = bench.gateway.client();
        client.send(format!("GET /n{n}. HTTP/1.1\r\nHost: g\r\n\r\n"));
        bench.waiting_in_queue(f64::from(n) + 1.0);
        clients.push(client);
    }
    bench.gate.open();
    assert_eq!(busy.response("GET").unwrap().status, 200);
    for client in &mut clients {
        assert_eq!(client.response("GET").unwrap().status, 200);
    }
    let bytes: Vec<u8> = bench.instances[0].recorded().into_iter().flat_map(|c| c.bytes).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let order: Vec<&str> = text.split("GET /n").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(order, ["0", "1", "2", "3"], "{text}");
}

#[test]
fn without_a_queue_a_request_beyond_the_limit_is_refused_at_once() {
    let bench = Bench::new("\"{a}\"", "connections: 1, queue: 0");
    let mut busy = bench.waiting(1);
    let refused = bench.gateway.client().get("/");
    assert_eq!((refused.status, refused.json()["type"].as_str()), (503, Some("urn:tollgate:problem:upstream/limit")));
    bench.gate.open();
    assert_eq!(busy.response("GET").unwrap().text(), "a");
    assert_eq!(bench.gateway.metric("tollgate_queue_refused_total{service=\"s\"}"), 1.0);
    assert_eq!(busy.get("/").text(), "a", "and afterwards there is room");
}

#[test]
fn a_full_queue_refuses_and_the_time_in_it_is_bounded() {
    let bench = Bench::new("\"{a}\"", "connections: 1, queue: { size: 1, timeout: 400ms }");
    let mut busy = bench.waiting(1);
    let mut queued = bench.gateway.client();
    queued.send("GET / HTTP/1.1\r\nHost: g\r\n\r\n");
    bench.waiting_in_queue(1.0);
    assert_eq!(bench.gateway.client().get("/").status, 503, "the queue is full");
    assert_eq!(queued.response("GET").unwrap().status, 503, "its time is over");
    bench.waiting_in_queue(0.0);
    bench.gate.open();
    assert_eq!(busy.response("GET").unwrap().status, 200);
    assert_eq!(bench.seen("GET / "), 0, "no refused request reached the instance");
}

#[test]
fn each_instance_has_a_limit_of_its_own() {
    let bench = Bench::new("\"{a}\", \"{b}\"", "each: 1, queue: { size: 5, timeout: 15s }");
    let mut clients = vec![bench.waiting(1), bench.waiting(2)];
    assert!(bench.instances.iter().all(|instance| instance.recorded().len() == 1), "one for each");
    let mut third = bench.gateway.client();
    third.send("GET / HTTP/1.1\r\nHost: g\r\n\r\n");
    bench.waiting_in_queue(1.0);
    bench.gate.open();
    assert_eq!(third.response("GET").unwrap().status, 200);
    for client in &mut clients {
        assert_eq!(client.response("GET").unwrap().status, 200);
    }
}

#[test]
fn a_client_that_leaves_the_queue_leaves_its_place() {
    // Longer than any test waits: only the client's leaving can empty the queue.
    let bench = Bench::new("\"{a}\"", "connections: 1, queue: { size: 1, timeout: 2m }");
    let mut busy = bench.waiting(1);
    let mut impatient = bench.gateway.client();
    impatient.send("GET / HTTP/1.1\r\nHost: g\r\n\r\n");
    bench.waiting_in_queue(1.0);
    impatient.reset();
    bench.waiting_in_queue(0.0);
    let mut next = bench.gateway.client();
    next.send("GET / HTTP/1.1\r\nHost: g\r\n\r\n");
    bench.waiting_in_queue(1.0);
    bench.gate.open();
    assert_eq!(next.response("GET").unwrap().status, 200);
    assert_eq!(busy.response("GET").unwrap().status, 200);
    assert_eq!(bench.seen("GET / "), 1);
}

#[test]
fn where_no_instance_has_a_weight_nobody_waits_for_one() {
    let backend = Recorder::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        services: { a: { to: [{ address: \"{{backend}}\", weight: 0 }, \"nowhere.invalid:80\"], queue: { timeout: 10s } } }\nroutes: { /**: a }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    let (answer, took) = timed(|| gateway.client().get("/"));
    assert_eq!((answer.status, &answer.json()["type"]), (503, &"urn:tollgate:problem:upstream/no-instance".into()));
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}
