//! R1, R4: instances register with a real gateway over HTTP, get requests from then on, and get none once they are gone; others look them up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tollgate_testkit::deadline::timed;
use tollgate_testkit::{Authority, Gateway, RawClient, Recorder, Response, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const CONFIG: &str = r#"
listen:
  "{{http}}": http
  "{{health}}": health
  "{{admin}}": admin
services:
  orders: { registry: orders }
registry:
  register:
    orders: "${env:ORDERS_TOKEN}"
    "bill*": "${env:BILLING_TOKEN}"
  read: { "*": { token: "${env:LOOKUP_TOKEN}" } }
  watchers: 3
routes:
  /**: orders
"#;
const TOKENS: [(&str, &str); 3] = [
    ("ORDERS_TOKEN", "orders-token-of-the-test"),
    ("BILLING_TOKEN", "billing-token-of-the-test"),
    ("LOOKUP_TOKEN", "lookup-token-of-the-test"),
];
const ORDERS: &str = TOKENS[0].1;
const LOOKUP: &str = TOKENS[2].1;
const ALL: &str = "/v1/registry/services/orders/instances";

struct Bench {
    gateway: Gateway,
    admin: SocketAddr,
}

impl Bench {
    fn start() -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let gateway = Gateway::start_with(TOLLGATE, CONFIG, &[("admin", admin.to_string())], &TOKENS);
        Self { gateway, admin }
    }

    fn token(&self) -> String {
        fs::read_to_string(self.gateway.folder().join("data/admin.token")).unwrap().trim().to_owned()
    }

    fn ask(&self, request: &str, token: &str, lines: &str, body: &str) -> Response {
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n{lines}\r\n{body}",
            self.admin,
            body.len()
        );
        RawClient::connect(self.admin).patience(Duration::from_secs(90)).call(&head)
    }

    fn register(&self, id: &str, address: SocketAddr) -> Value {
        let said = json!({ "address": address.ip().to_string(), "port": address.port(), "ttl": "60s" });
        let answer = self.ask(&format!("PUT {ALL}/{id}"), ORDERS, "", &said.to_string());
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        answer.json()
    }

    fn get(&self) -> u16 {
        self.gateway.client().get("/").status
    }
}

fn slug(answer: &Response) -> String {
    answer.json()["type"].as_str().unwrap().trim_start_matches("urn:tollgate:problem:").to_owned()
}

#[test]
fn an_instance_gets_requests_from_when_it_registered_until_it_is_gone() {
    let (bench, backend) = (Bench::start(), Recorder::start());
    assert_eq!(bench.get(), 503);
    for round in 0..20 {
        let told = bench.register("a", backend.address());
        assert_eq!((&told["id"], &told["renew_every"]), (&"a".into(), &"20s".into()));
        assert_eq!(bench.get(), 200, "round {round}: acknowledged means used");
        let (gone, none) = match round % 2 {
            0 => (bench.ask(&format!("DELETE {ALL}/a"), ORDERS, "", ""), 204),
            _ => (bench.ask(&format!("POST {ALL}/a/drain"), ORDERS, "", ""), 200),
        };
        assert_eq!(gone.status, none);
        assert_eq!(bench.get(), 503, "round {round}: acknowledged means not used");
    }
    assert_eq!(bench.ask(&format!("POST {ALL}/a/undrain"), ORDERS, "", "").status, 200);
    assert_eq!(bench.get(), 200);
}

#[test]
fn an_instance_that_is_not_renewed_ends() {
    let (bench, backend) = (Bench::start(), Recorder::start());
    let said = json!({ "port": backend.address().port(), "ttl": "2s" }).to_string();
    let new = bench.ask(&format!("PUT {ALL}/a"), ORDERS, "", &said);
    assert_eq!((new.status, new.json()["address"].as_str()), (201, Some("127.0.0.1")), "from where it was asked");
    assert_eq!(bench.ask(&format!("PUT {ALL}/a"), ORDERS, "", &said).status, 200);
    let (_, took) = timed(|| wait_until("it ends", || bench.get() == 503));
    assert!(took > Duration::from_millis(1500), "{took:?}");
    let renewed = bench.ask(&format!("POST {ALL}/a/renew"), ORDERS, "", "");
    assert_eq!((renewed.status, slug(&renewed)), (404, "registry/not-found".to_owned()));
    assert_eq!(bench.ask(&format!("DELETE {ALL}/a"), ORDERS, "", "").status, 204);
}

#[test]
fn everybody_may_do_what_is_theirs() {
    let bench = Bench::start();
    let put = |service: &str, token: &str| {
        bench.ask(&format!("PUT /v1/registry/services/{service}/instances/a"), token, "", r#"{ "port": 1 }"#)
    };
    assert_eq!(put("orders", ORDERS).status, 201);
    assert_eq!(put("billing", TOKENS[1].1).status, 201);
    assert_eq!(put("anything", &bench.token()).status, 201, "the admin token may all");
    for (service, token, status, what) in [
        ("billing", ORDERS, 403, "registry/forbidden"),
        ("orders", LOOKUP, 403, "registry/forbidden"),
        ("orders", "wrong", 401, "registry/unauthorized"),
    ] {
        let refused = put(service, token);
        assert_eq!((refused.status, slug(&refused).as_str()), (status, what), "{service} {token}");
    }
    let services = bench.ask("GET /v1/registry/services", LOOKUP, "", "").json();
    let names: Vec<_> =
        services["services"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["anything", "billing", "orders"]);
    assert_eq!(
        bench.ask("GET /v1/registry/instances", ORDERS, "", "").json()["instances"].as_array().unwrap().len(),
        1
    );
    assert_eq!(bench.ask("GET /v1/status", ORDERS, "", "").status, 401, "and nothing else of the admin API");
    let log = bench.gateway.log();
    assert!(log.contains("an instance registered") && log.contains("a token, from 127.0.0.1"), "{log}");
    assert!(TOKENS.iter().all(|(_, token)| !log.contains(token)));
    let wrong = bench.ask(&format!("PUT {ALL}/a"), ORDERS, "", r#"{ "port": 70000, "ttl": "1s", "colour": "red" }"#);
    assert_eq!((wrong.status, slug(&wrong).as_str()), (422, "registry/invalid"));
    assert_eq!(wrong.json()["errors"].as_array().unwrap().len(), 3, "{}", wrong.text());
    let long = bench.ask(&format!("PUT {ALL}/a"), ORDERS, "", &format!("{:20000}", r#"{ "port": 1 }"#));
    assert_eq!(long.status, 413);
}

#[test]
fn a_certificate_registers_what_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, admin) = (Authority::new("ca"), SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    authority.write(folder.path(), "ca.pem");
    authority.server(&["127.0.0.1", "localhost"]).write(folder.path(), "admin");
    authority.client("orders.internal").write(folder.path(), "orders");
    authority.client("other.internal").write(folder.path(), "other");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "listen:\n  \"{{{{http}}}}\": http\n  \"{{{{health}}}}\": health\n  \"{admin}\": {{ kind: admin, tls: {{ cert: {}, key: {}, client: {} }} }}\n\
         services: {{ orders: {{ registry: orders }} }}\nregistry: {{ register: {{ orders: {{ certificate: \"O=Tests,CN=orders.internal\" }} }} }}\n\
         routes: {{ /**: orders }}\n",
        at("admin.pem"),
        at("admin.key"),
        at("ca.pem")
    );
    let _gateway = Gateway::start(TOLLGATE, &config, &[]);
    let put = |name: &str, service: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}", "-X", "PUT", "-d", r#"{"port": 1}"#, "--cacert", &at("ca.pem")]);
        curl.args(["--cert", &at(&format!("{name}.pem")), "--key", &at(&format!("{name}.key"))]);
        let output = curl.arg(format!("https://{admin}/v1/registry/services/{service}/instances/a")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let own = put("orders", "orders");
    assert!(own.ends_with("\n201"), "{own}");
    for (name, service) in [("orders", "billing"), ("other", "orders")] {
        let refused = put(name, service);
        assert!(refused.ends_with("\n403") && refused.contains(&format!("{name}.internal")), "{refused}");
    }
    let wrapped = Command::new(TOLLGATE)
        .args([
            "register",
            "--service",
            "orders",
            "--port",
            "1",
            "--gateway",
            &format!("https://{admin}"),
            "--ca",
            &at("ca.pem"),
        ])
        .args(["--cert", &at("orders.pem"), "--key", &at("orders.key"), "--", "true"])
        .output()
        .unwrap();
    assert!(wrapped.status.success(), "{wrapped:?}");
    let stranger = Command::new(TOLLGATE)
        .args([
            "register",
            "--service",
            "orders",
            "--port",
            "1",
            "--gateway",
            &format!("https://{admin}"),
            "--ca",
            &at("ca.pem"),
        ])
        .args(["--cert", &at("other.pem"), "--key", &at("other.key"), "--", "true"])
        .output()
        .unwrap();
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
}

#[test]
fn changes_are_waited_for_and_told_as_they_come() {
    let (mut bench, backend) = (Bench::start(), Recorder::start());
    bench.register("a", backend.address());
    let list = bench.ask(&format!("GET {ALL}"), LOOKUP, "", "");
    let revision = list.json()["revision"].as_u64().unwrap();
    assert_eq!(list.one("Tollgate-Revision"), Some(revision.to_string()));
    let same =
        bench.ask(&format!("GET {ALL}"), LOOKUP, &format!("If-None-Match: {}\r\n", list.one("ETag").unwrap()), "");
    assert_eq!(same.status, 304);
    let mut waits = RawClient::connect(bench.admin).patience(Duration::from_secs(90));
    let head = |target: &str, lines: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {LOOKUP}\r\n{lines}\r\n", bench.admin)
    };
    assert!(waits.send(head(&format!("{ALL}?watch&after={revision}&wait=60s"), "")));
    let mut stream = RawClient::connect(bench.admin).patience(Duration::from_secs(90));
    assert!(stream.send(head(ALL, "Accept: text/event-stream\r\n")));
    let seen = |what: &'static str| move |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(what);
    stream.wait_for_bytes(seen("event: snapshot")).unwrap();
    bench.register("b", backend.address());
    let told = waits.response("GET").unwrap();
    assert_eq!((told.status, told.json()["changes"][0]["instance"]["id"].as_str()), (200, Some("b")));
    stream.wait_for_bytes(seen("event: put")).unwrap();
    bench.ask(&format!("DELETE {ALL}/b"), ORDERS, "", "");
    stream.wait_for_bytes(seen("event: gone")).unwrap();
    let nothing = bench.ask(&format!("GET {ALL}?watch&after=1000000&wait=100ms"), LOOKUP, "", "");
    assert_eq!((nothing.status, slug(&nothing).as_str()), (410, "registry/compacted"));
    // Whoever waits does not hold up the end.
    let head = head(&format!("{ALL}?watch&after={}&wait=60s", revision + 2), "");
    assert!(waits.send(head));
    bench.gateway.terminate();
    let (_, took) = timed(|| bench.gateway.ended());
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(waits.response("GET").unwrap().status, 204);
}

#[test]
fn only_so_many_wait() {
    let bench = Bench::start();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut client = RawClient::connect(bench.admin);
            let head = format!(
                "GET {ALL} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {LOOKUP}\r\nAccept: text/event-stream\r\n\r\n",
                bench.admin
            );
            assert!(client.send(head));
            client.wait_for_bytes(|bytes| String::from_utf8_lossy(bytes).contains("event: snapshot")).unwrap();
            client
        })
        .collect();
    let refused = bench.ask(&format!("GET {ALL}?watch&after=0&wait=1s"), LOOKUP, "", "");
    assert_eq!((refused.status, slug(&refused).as_str()), (503, "registry/too-many-watchers"));
    assert_eq!(refused.one("Retry-After").as_deref(), Some("1"));
    drop(waiting);
    wait_until("there is room again", || {
        bench.ask(&format!("GET {ALL}?watch&after=0&wait=0s"), LOOKUP, "", "").status != 503
    });
}

#[test]
fn whoever_follows_is_sent_away_once_it_may_not_any_more() {
    let bench = Bench::start();
    let follow = |token: &str, target: &str| {
        let mut client = RawClient::connect(bench.admin).patience(Duration::from_secs(90));
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n",
            bench.admin
        );
        assert!(client.send(head));
        client.wait_for_bytes(|bytes| String::from_utf8_lossy(bytes).contains("event: snapshot")).unwrap();
        client
    };
    let (mut looks_up, mut registers) = (follow(LOOKUP, ALL), follow(ORDERS, ALL));
    let mut others = follow(LOOKUP, "/v1/registry/instances");
    let admin = [("admin", bench.admin.to_string())];
    bench
        .gateway
        .reload(&CONFIG.replace("LOOKUP_TOKEN", "BILLING_TOKEN").replace("watchers: 3", "watchers: 2"), &admin);
    let is_over = |bytes: &[u8]| bytes.ends_with(b"\r\n0\r\n\r\n");
    looks_up.wait_for_bytes(is_over).unwrap();
    others.wait_for_bytes(is_over).unwrap();
    assert_eq!(bench.ask(&format!("GET {ALL}"), LOOKUP, "", "").status, 401);
    let backend = Recorder::start();
    bench.register("a", backend.address());
    registers.wait_for_bytes(|bytes| String::from_utf8_lossy(bytes).contains("event: put")).unwrap();
    let _second = follow(ORDERS, ALL);
    let refused = bench.ask(&format!("GET {ALL}?watch&after=0&wait=1s"), ORDERS, "", "");
    assert_eq!(slug(&refused), "registry/too-many-watchers", "those from before the reload count");
}

/// An instance under the wrapper.
struct Instance {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Instance {
    fn start(bench: &Bench) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port().to_string());
        let ours = Path::new(TOLLGATE).ancestors().nth(2).unwrap().join("tools/python/bin/python3");
        let python = if ours.exists() { ours.to_string_lossy().into_owned() } else { "python3".to_owned() };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/instance.py");
        let child = Command::new(TOLLGATE)
            .args([
                "register",
                "--service",
                "orders",
                "--port",
                &port,
                "--ready",
                "/healthz",
                "--ttl",
                "3s",
                "--drain",
                "1s",
            ])
            .args(["--gateway", &format!("http://{}", bench.admin), "--", &python, script.to_str().unwrap(), &port])
            .args([folder.path().join("notes").to_str().unwrap(), "0", "0"])
            .env("TOLLGATE_TOKEN", ORDERS)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, _folder: folder }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            for signal in [Signal::TERM, Signal::TERM] {
                let _ = kill_process(Pid::from_child(&self.child), signal);
            }
            let _ = self.child.wait();
        }
    }
}

fn count(bench: &Bench) -> usize {
    let list = bench.ask(&format!("GET {ALL}"), LOOKUP, "", "").json();
    list["instances"].as_array().unwrap().iter().filter(|one| one["draining"] == false).count()
}

/// Every request is in flight for a tenth of a second, and the services hang up on what they are at when they stop: without the order of
/// the wrapper, some would fail.
#[test]
fn instances_are_exchanged_one_by_one_and_no_request_fails() {
    let bench = Bench::start();
    let mut instances: Vec<_> = (0..3).map(|_| Instance::start(&bench)).collect();
    wait_until("all are registered", || count(&bench) == 3);
    let (over, good, bad) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (over, good, bad, address) =
                (Arc::clone(&over), Arc::clone(&good), Arc::clone(&bad), bench.gateway.address());
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let status = RawClient::connect(address).get("/work").status;
                    if status == 200 { &good } else { &bad }.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let new = Instance::start(&bench);
        wait_until("the new one is there", || count(&bench) == 4);
        instances.remove(0).stop();
        wait_until("the old one is not", || count(&bench) == 3);
        instances.push(new);
    }
    over.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(bad.load(Ordering::SeqCst), 0, "of {}", good.load(Ordering::SeqCst));
    assert!(good.load(Ordering::SeqCst) > 100);
}

#[test]
fn an_instance_is_registered_again_after_the_gateway_has_forgotten_it() {
    let mut bench = Bench::start();
    let _instance = Instance::start(&bench);
    wait_until("it is registered", || count(&bench) == 1);
    for name in fs::read_dir(bench.gateway.folder().join("data")).unwrap().map(|entry| entry.unwrap().path()) {
        if name.file_name().is_some_and(|name| name.to_string_lossy().starts_with("registry")) {
            fs::remove_file(name).unwrap();
        }
    }
    bench.gateway.restart(TOLLGATE);
    wait_until("it registers again", || count(&bench) == 1);
    wait_until("and gets requests", || bench.get() == 200);
}

#[test]
fn what_the_registry_is_asked_is_described() {
    let bench = Bench::start();
    let document = bench.ask("GET /v1/openapi.json", &bench.token(), "", "").json();
    let instance = &document["paths"]["/v1/registry/services/{service}/instances/{id}"];
    for method in ["get", "put", "delete"] {
        assert!(instance[method]["responses"]["403"].is_object(), "{method}");
    }
    assert_eq!(instance["put"]["requestBody"]["required"], true);
    assert!(document["components"]["schemas"]["Registration"]["properties"]["ttl"].is_object());
}
