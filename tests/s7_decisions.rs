//! S7: somebody else decides whether a request may be made, as the Open Policy Agent has it; here a real Rego engine.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "python.rs"]
mod python;

use std::net::SocketAddr;
use std::thread;

use python::Service;
use serde_json::Value;
use tollgate_testkit::{Cli, Gateway, RawClient, Recorder, Response, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const SHOWN: &str = "canary-of-the-engine";
const KEY: &str = "canary-of-the-client";
/// `secret`, as `htpasswd -B` writes it.
const HASH: &str = "$2y$05$89VqlJOmtf.RS/dhPiL5Zu69Z0yioMOKkC4D9TC278DxD0GEurIk.";

const POLICY: &str = r#"package shop

default allow := false

allow if input.request.method == "GET"
allow if input.request.segments == ["orders", input.caller.subject]

detailed := {"allow": true} if input.request.headers["x-tenant"][0] == "acme"
else := {"allow": false, "reason": "of another tenant"}
"#;

const CONFIG: &str = "\
listen: { \"{{http}}\": http, \"{{health}}\": health }
workers: 2
auth: { staff: { basic: \"{{users}}\" } }
decisions:
  opa: { url: \"http://{{opa}}/v1/data/shop/allow\", token: \"${env:SHOWN}\", timeout: 500ms, {{cache}} }
  tenant: { url: \"http://{{opa}}/v1/data/shop/detailed\", headers: [X-Tenant], query: true, claims: [], remember: 0 }
  lost: { url: \"http://{{opa}}/v1/data/shop/nothing\" }
services: { orders: \"{{backend}}\" }
routes:
  /orders/**: { to: orders, auth: staff, allow: { ask: opa } }
  /tenant: { to: orders, auth: staff, allow: { ask: tenant } }
  /lost: { to: orders, auth: staff, allow: { ask: lost } }
  /first: { to: orders, auth: staff, allow: { when: 'principal == \"bob\"', ask: opa } }
";

/// The gateway, who decides, and a service.
struct Scene {
    gateway: Gateway,
    opa: Service,
    _backend: Recorder,
    values: Vec<(&'static str, String)>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start(cache: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let opa = Service::start("opa.py", &[&file("policy.rego", POLICY)]);
        let backend = Recorder::start();
        let users = file("users", &format!("alice:{HASH}\nbob:{HASH}\n"));
        let values = vec![
            ("opa", opa.address.clone()),
            ("backend", backend.address().to_string()),
            ("users", users),
            ("cache", cache.to_owned()),
        ];
        let gateway = Gateway::start_with(TOLLGATE, CONFIG, &values, &[("SHOWN", SHOWN)]);
        Self { gateway, opa, _backend: backend, values, _folder: folder }
    }

    fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        ask(self.gateway.address(), method, target, fields)
    }

    /// The status, and the end of the problem's type.
    fn outcome(&self, method: &str, target: &str, fields: &str) -> (u16, String) {
        outcome(&self.ask(method, target, fields))
    }

    /// What was asked so far.
    fn asked(&self) -> Vec<Value> {
        let text = RawClient::connect(self.opa.address.parse().unwrap()).get("/asked").text();
        serde_json::from_str(&text).unwrap()
    }

    fn mode(&self, mode: &str) {
        let request = format!("POST /mode/{mode} HTTP/1.1\r\nHost: opa\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(RawClient::connect(self.opa.address.parse().unwrap()).call(&request).status, 200);
    }
}

/// Asks as alice, with a header that nobody is to be told.
fn ask(gateway: SocketAddr, method: &str, target: &str, fields: &str) -> Response {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\nX-Api-Key: {KEY}\r\n\
         {fields}Content-Length: 0\r\n\r\n"
    );
    RawClient::connect(gateway).call(&request)
}

fn outcome(answer: &Response) -> (u16, String) {
    let problem = serde_json::from_str::<Value>(&answer.text()).unwrap_or_default();
    let slug = problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:tollgate:problem:").to_owned();
    (answer.status, slug)
}

fn is(status: u16, slug: &str) -> (u16, String) {
    (status, slug.to_owned())
}

#[test]
fn the_engine_decides_about_each_request() {
    let scene = Scene::start("cache: 10s");
    assert_eq!(scene.outcome("GET", "/orders/7", ""), is(200, ""));
    assert_eq!(scene.outcome("POST", "/orders/alice", ""), is(200, ""));
    assert_eq!(scene.outcome("POST", "/orders/bob", ""), is(403, "decision/denied"));
    assert_eq!(scene.outcome("GET", "/tenant?a=1&token=x", "X-Tenant: acme\r\n"), is(200, ""));
    assert_eq!(scene.outcome("GET", "/tenant", "X-Tenant: other\r\n"), is(403, "decision/denied"));
    assert_eq!(scene.outcome("GET", "/tenant", ""), is(403, "decision/denied"));
    assert_eq!(scene.outcome("GET", "/lost", ""), is(403, "decision/denied"), "what is not defined is not allowed");
    // Why, our log alone is told.
    let causes = || scene.gateway.access_log().iter().map(|line| line["cause"].to_string()).collect::<String>();
    wait_until("the log says why", || causes().contains("of another tenant") && causes().contains("not defined"));
    let asked = scene.asked();
    let told: Value = serde_json::from_str(asked[3]["body"].as_str().unwrap()).unwrap();
    assert_eq!(told["input"]["request"]["query"], serde_json::json!({ "a": ["1"] }));
    assert_eq!(told["input"]["caller"]["claims"], serde_json::json!({}));
    assert_eq!(asked[0]["headers"]["authorization"], format!("Bearer {SHOWN}"));
    assert!(asked[3]["headers"].get("authorization").is_none());
    // What is cheap is asked first.
    assert_eq!(scene.outcome("GET", "/first", ""), is(403, "allow/denied"));
    assert_eq!(scene.asked().len(), asked.len());
    let everything = asked.iter().map(Value::to_string).collect::<String>();
    assert!(!everything.contains(KEY) && !everything.contains("YWxpY2U6c2VjcmV0"), "{everything}");
    let told =
        [scene.gateway.log(), scene.gateway.status().to_string(), scene.gateway.health("/metrics").text()].concat();
    assert!(!told.contains(SHOWN) && !told.contains(KEY), "a secret is told");
}

#[test]
fn an_answer_holds_for_as_long_as_the_file_says_and_over_a_reload() {
    let scene = Scene::start("cache: 10m");
    for _ in 0..3 {
        assert_eq!(scene.outcome("GET", "/orders/7", ""), is(200, ""));
        assert_eq!(scene.outcome("POST", "/orders/7", ""), is(403, "decision/denied"));
    }
    assert_eq!(scene.asked().len(), 2);
    scene.mode("error");
    scene.gateway.reload(&CONFIG.replace("workers: 2", "workers: 1"), &scene.values);
    assert_eq!(scene.outcome("GET", "/orders/7", ""), is(200, ""), "known from before");
    scene.gateway.reload(&CONFIG.replace("timeout: 500ms", "timeout: 600ms"), &scene.values);
    assert_eq!(scene.outcome("GET", "/orders/7", ""), is(200, ""), "the engine is the same, asked in another way");
    scene.gateway.reload(&CONFIG.replace("timeout: 500ms", "timeout: 500ms, remember: 0"), &scene.values);
    assert_eq!(scene.outcome("GET", "/orders/7", ""), is(503, "decision/unavailable"), "nothing is to be remembered");
}

#[test]
fn whoever_cannot_decide_lets_nobody_in_and_is_asked_again() {
    let mut scene = Scene::start("remember: 0");
    for mode in ["held", "garbage", "error", "huge"] {
        scene.mode(mode);
        let answer = scene.ask("GET", "/orders/7", "");
        assert_eq!(outcome(&answer), is(503, "decision/unavailable"), "{mode}");
        assert!(answer.one("retry-after").is_some());
        assert!(!answer.text().contains("v1/data"), "where it is, nobody is told");
    }
    let told = scene.gateway.log().matches("it does not decide").count();
    assert_eq!(told, 1, "once, however often it is asked: {}", scene.gateway.log());
    let standing = |scene: &Scene| scene.gateway.status()["decisions"][0]["state"].as_str().unwrap().to_owned();
    assert_eq!(standing(&scene), "stale");
    scene.mode("well");
    assert_eq!(scene.outcome("GET", "/orders/7", ""), is(200, ""));
    assert_eq!(standing(&scene), "good");
    wait_until("the log says so", || scene.gateway.log().contains("it decides again"));
    let another = Service::start("opa.py", &[&policy(&scene)]);
    drop(std::mem::replace(&mut scene.opa, another));
    assert_eq!(scene.outcome("GET", "/orders/7", ""), is(503, "decision/unavailable"), "nobody is there");
}

fn policy(scene: &Scene) -> String {
    scene._folder.path().join("policy.rego").display().to_string()
}

#[test]
fn one_question_is_asked_for_all_who_have_it() {
    let scene = Scene::start("cache: 10s");
    // So that the password is known, and the engine is there.
    assert_eq!(scene.outcome("GET", "/orders/0", ""), is(200, ""));
    scene.mode("held");
    let address = scene.gateway.address();
    let many: Vec<_> = (0..8).map(|_| thread::spawn(move || ask(address, "GET", "/orders/1", "").status)).collect();
    wait_until("it is asked", || scene.asked().len() >= 2);
    scene.mode("well");
    let statuses: Vec<u16> = many.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!((statuses, scene.asked().len()), (vec![200; 8], 2));
}

#[test]
fn mistakes_are_told_and_a_rehearsal_asks_nobody() {
    let check = |text: &str| Cli::with(TOLLGATE, text).run(&["check"]);
    let told = check(
        "listen: 8080\nauth: { a: { basic: ./u } }\ndecisions: { opa: { url: \"http://localhost:1/x\", headers: [Authorization, X-A], claims: [a..b] } }\n\
         routes: { /a: { to: 10.0.0.1:80, auth: a, allow: { ask: opaa } }, /b: { to: 10.0.0.1:80, allow: { ask: opa } } }\n",
    );
    assert_eq!(told.code, 2);
    for part in [
        "`Authorization` carries what lets somebody in",
        "a claim without a name",
        "nobody called `opaa` decides",
        "did you mean `opa`?",
        "makes no sense without `auth`",
    ] {
        assert!(told.err.contains(part), "{}", told.err);
    }
    let cli = Cli::with(
        TOLLGATE,
        "listen: 8080\nauth: { idp: { issuer: \"https://idp.example\", audience: a } }\ndecisions: { opa: { url: \"http://127.0.0.1:1/x\" } }\n\
         routes: { /a: { to: 10.0.0.1:80, auth: idp, allow: { ask: opa } } }\ntests: { people: { alice: { sub: alice } }, expect: [GET /a as alice -> 200, GET /a -> 401] }\n",
    );
    let ran = cli.run(&["test"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let explained = cli.run(&["explain", "GET", "/a"]);
    assert!(explained.out.contains("if opa (http://127.0.0.1:1/x) says so"), "{explained:?}");
}
