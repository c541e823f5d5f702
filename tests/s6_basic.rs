//! S6: names and passwords of a file of `htpasswd`, and what strangers may cost the gateway.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::Value;
use tollgate_testkit::{Gateway, Provider, RawClient, Recorder, Response, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

struct Bench {
    folder: tempfile::TempDir,
    _backend: Recorder,
    gateway: Gateway,
}

/// Writes a name and a password into the file, as whoever runs a gateway does.
fn htpasswd(file: &Path, cost: &str, name: &str, password: &str) {
    let create: &[&str] = if file.exists() { &[] } else { &["-c"] };
    let mut command = Command::new("htpasswd");
    command.args(create).args(["-b", "-B", "-C", cost]).arg(file).args([name, password]);
    assert!(command.output().unwrap().status.success(), "htpasswd");
}

impl Bench {
    fn new(cost: &str, more: &str, sections: &str) -> Self {
        let (folder, backend) = (tempfile::tempdir().unwrap(), Recorder::start());
        let file = folder.path().join("users");
        htpasswd(&file, cost, "alice", "a pass:word ä");
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n{sections}\n\
             auth: {{ staff: {{ basic: {}{more} }} }}\n\
             routes: {{ /: {{ to: \"{{{{backend}}}}\", auth: staff }}, /open: {{ reply: 200 open }}, \
             /mine: {{ to: \"{{{{backend}}}}\", auth: staff, allow: 'principal == \"alice\"', backend_token: {{ send: nothing, headers: {{ X-User: principal }} }} }} }}\n",
            file.display()
        );
        let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
        Self { folder, _backend: backend, gateway }
    }

    fn call(&self, target: &str, name: &str, password: &str) -> Response {
        ask(&mut self.gateway.client(), target, name, password)
    }

    fn slug(&self, name: &str, password: &str) -> String {
        slug(&self.call("/", name, password))
    }
}

fn ask(client: &mut RawClient, target: &str, name: &str, password: &str) -> Response {
    let text = data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes());
    client.call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Basic {text}\r\n\r\n"))
}

fn slug(answer: &Response) -> String {
    if answer.status == 200 {
        return "ok".to_owned();
    }
    let problem: Value = serde_json::from_str(&answer.text()).unwrap();
    problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
}

#[test]
fn a_name_and_its_password_let_in() {
    let bench = Bench::new("5", "", "");
    for _ in 0..3 {
        assert_eq!(bench.slug("alice", "a pass:word ä"), "ok");
    }
    assert_eq!(bench.call("/mine", "alice", "a pass:word ä").status, 200);
    for (name, password) in
        [("alice", "a pass:word"), ("alice", ""), ("Alice", "a pass:word ä"), ("bob", "x"), ("", "")]
    {
        assert_eq!(bench.slug(name, password), "basic/refused", "{name}");
    }
    let missing = bench.gateway.client().get("/");
    assert_eq!(missing.one("www-authenticate").as_deref(), Some("Basic realm=\"staff\", charset=\"UTF-8\""));
    for field in ["Basic", "Basic x", "Basic YWxpY2U=", "Basic YTpi\r\nAuthorization: Basic YTpi"] {
        let answer =
            bench.gateway.client().call(&format!("GET / HTTP/1.1\r\nHost: g\r\nAuthorization: {field}\r\n\r\n"));
        assert_eq!((answer.status, slug(&answer).as_str()), (400, "basic/malformed"), "{field}");
    }
    let told =
        [bench.gateway.log(), bench.gateway.status().to_string(), bench.gateway.health("/metrics").text()].concat();
    assert!(!told.contains("pass:word") && !told.contains("$2y$"), "a password is told");
}

#[test]
fn a_password_that_is_changed_is_the_old_one_no_more() {
    let bench = Bench::new("5", "", "limits: { failures: 100000 }");
    assert_eq!(bench.slug("alice", "a pass:word ä"), "ok");
    htpasswd(&bench.folder.path().join("users"), "5", "alice", "another");
    wait_until("the file is read again", || bench.slug("alice", "another") == "ok");
    assert_eq!(bench.slug("alice", "a pass:word ä"), "basic/refused", "though it was remembered");
    fs::write(bench.folder.path().join("users"), "alice:plain\n").unwrap();
    wait_until("status tells", || bench.gateway.status()["identity"][0]["state"] == "stale");
    assert_eq!(bench.slug("alice", "another"), "ok", "what it said before holds");
}

#[test]
fn whoever_guesses_gets_no_further_tries_and_whoever_is_known_passes() {
    let bench = Bench::new("5", "", "limits: { failures: 5 }");
    assert_eq!(bench.slug("alice", "a pass:word ä"), "ok");
    for n in 0..5 {
        assert_eq!(bench.slug("alice", &format!("guess {n}")), "basic/refused");
    }
    let refused = bench.call("/", "alice", "guess 6");
    assert_eq!((refused.status, slug(&refused).as_str()), (429, "auth/too-many-failures"));
    let wait: u64 = refused.one("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(bench.slug("alice", "a pass:word ä"), "ok", "that is known, and costs nothing");
    let mut other = RawClient::connect_from([127, 0, 0, 9], bench.gateway.address());
    assert_eq!(slug(&ask(&mut other, "/", "alice", "guess 7")), "basic/refused", "another address has its own tries");
}

#[test]
fn forged_tokens_are_counted_too() {
    let provider = Provider::start();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlimits: {{ failures: 3 }}\n\
         auth: {{ idp: {{ issuer: \"{}\", audience: orders }} }}\nroutes: {{ /: {{ reply: 200 ok, auth: idp }} }}\n",
        provider.issuer()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let good = provider.token("orders", "orders.read", "ES256");
    let ask = |token: &str| {
        gateway.client().call(&format!("GET / HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"))
    };
    assert_eq!(ask(&good).status, 200);
    let forged = |n: usize| format!("{}{n}AAAA", &good[..good.len() - 5]);
    for n in 0..3 {
        assert_eq!(slug(&ask(&forged(n))), "jwt/signature");
    }
    assert_eq!(slug(&ask(&forged(4))), "auth/too-many-failures");
    assert_eq!(ask(&good).status, 200);
}

#[test]
fn however_many_passwords_come_only_so_many_are_checked_at_a_time() {
    let bench = Bench::new("12", ", at_once: 1", "");
    let outcomes: Vec<String> = thread::scope(|threads| {
        let asking: Vec<_> = (0..8)
            .map(|n| {
                let bench = &bench;
                threads.spawn(move || bench.slug("alice", &format!("guess {n}")))
            })
            .collect();
        // Whatever the hashes take, others are served.
        assert_eq!(bench.gateway.client().get("/open").status, 200);
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let count = |slug: &str| outcomes.iter().filter(|outcome| *outcome == slug).count();
    assert!(count("basic/crowded") > 0 && count("basic/crowded") + count("basic/refused") == 8, "{outcomes:?}");
}
