//! S6, S10: requests that the gateway signs for services that ask for that; independent libraries judge the signatures.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "python.rs"]
mod python;

use std::process::Command;

use python::Service;
use serde_json::Value;
use tollgate_testkit::{Cli, Gateway, Response, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const SECRET: &str = "not/a+secret/of/anybodyEXAMPLEKEY0123456";

/// The gateway before a service that judges what it gets.
struct Scene {
    gateway: Gateway,
    _service: Service,
    _folder: tempfile::TempDir,
}

const CONFIG: &str = "\
listen: { \"{{http}}\": http, \"{{health}}\": health }
workers: 1
signers:
  functions: { sigv4: AKIDEXAMPLE, secret: \"${env:SECRET}\", region: eu-central-1, service: execute-api, headers: [X-Tenant, X-Amz-Meta-Color], largest: 64KiB }
  bucket: { sigv4: AKIDEXAMPLE, secret: \"${env:SECRET}\", token: \"${env:TOKEN}\", region: eu-central-1, service: s3 }
  stream: { sigv4: AKIDEXAMPLE, secret: \"${env:SECRET}\", region: eu-central-1, service: s3, body: unsigned }
  own: { signature: gateway, algorithm: ed25519, key: \"${file:{{key}}}\", tag: shop }
  shared: { signature: shared, algorithm: hmac-sha256, secret: \"${env:SECRET}\", components: [\"@method\", \"@target-uri\", content-digest] }
  tenant: { signature: shared, algorithm: hmac-sha256, secret: \"${env:SECRET}\", components: [\"@method\", x-tenant] }
services: { judge: \"{{service}}\" }
routes:
  /functions/**: { to: judge, sign: functions }
  /once/**: { to: judge, sign: functions }
  /renamed/**: { to: judge, strip: /renamed, host: judge.example, sign: functions, headers: { request: { set: { X-Tenant: acme } } } }
  /bucket/**: { to: judge, sign: bucket }
  /stream/**: { to: judge, sign: stream }
  /own/**: { to: judge, sign: own }
  /shared/**: { to: judge, sign: shared }
  /tenant/**: { to: judge, sign: tenant }
  /unpacked/**: { to: judge, decompress: on, sign: own }
";

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (private, public) = (folder.path().join("key.pem"), folder.path().join("public.pem"));
        let openssl = |arguments: &[&str]| assert!(Command::new("openssl").args(arguments).status().unwrap().success());
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", private.to_str().unwrap()]);
        openssl(&["pkey", "-in", private.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()]);
        let service = Service::start("signed_service.py", &[SECRET, public.to_str().unwrap()]);
        let values = [("service", service.address.clone()), ("key", private.display().to_string())];
        let gateway = Gateway::start_with(TOLLGATE, CONFIG, &values, &[("SECRET", SECRET), ("TOKEN", "session-token")]);
        Self { gateway, _service: service, _folder: folder }
    }

    fn ask(&self, request: &str) -> Response {
        self.gateway.client().call(request)
    }

    /// What the service saw, and that it took it.
    #[track_caller]
    fn taken(&self, request: &str) -> Value {
        let answer = self.ask(request);
        assert_eq!(answer.status, 200, "{request}: {}\n{}", answer.text(), self.gateway.log());
        serde_json::from_str(&answer.text()).unwrap()
    }
}

fn post(target: &str, fields: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: shop.example\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")
}

#[test]
fn what_is_signed_as_aws_has_it_holds_for_its_own_library() {
    let scene = Scene::start();
    for target in ["/functions/a", "/functions/a?b=2&a=1&a=0&empty=", "/functions/caf%C3%A9/a%20b", "/bucket/a%20b"] {
        scene.taken(&get(target, ""));
        scene.taken(&post(target, "Content-Type: application/json\r\n", "{\"a\":1}"));
    }
    let seen = scene.taken(&post("/functions/a", "X-Tenant: acme\r\n", "{}"));
    let said = seen["headers"]["Authorization"].as_str().unwrap();
    assert!(said.contains("SignedHeaders=host;x-amz-date;x-tenant,"), "{said}");
    assert_eq!(seen["body"], "{}");
    let seen = scene.taken(&post("/bucket/a", "", "hello"));
    assert_eq!(seen["headers"]["X-Amz-Security-Token"], "session-token");
    assert!(seen["headers"]["X-Amz-Content-Sha256"].as_str().unwrap().len() == 64);
    let seen = scene.taken(&post("/stream/a", "", "hello"));
    assert_eq!(seen["headers"]["X-Amz-Content-Sha256"], "UNSIGNED-PAYLOAD");
    // As it is sent, not as it came.
    let seen = scene.taken(&get("/renamed/x/../y?q=1", ""));
    assert_eq!((seen["target"].as_str(), seen["headers"]["Host"].as_str()), (Some("/y?q=1"), Some("judge.example")));
    assert_eq!(seen["headers"]["X-Tenant"], "acme");
}

#[test]
fn a_clients_own_signature_does_not_go_on_beside_the_gateways() {
    let scene = Scene::start();
    let own = "Authorization: AWS4-HMAC-SHA256 Credential=X/20200101/a/b/aws4_request, SignedHeaders=host, Signature=00\r\n\
        X-Amz-Date: 20200101T000000Z\r\nX-Amz-Security-Token: mine\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n";
    let seen = scene.taken(&get("/functions/a?X-Amz-Signature=00&X-Amz-Credential=X&x=1", own));
    assert_eq!(seen["target"], "/functions/a?x=1");
    let headers = seen["headers"].as_object().unwrap();
    assert!(!headers.contains_key("X-Amz-Security-Token") && !headers.contains_key("X-Amz-Content-Sha256"), "{seen}");
    let said = "X-Amz-Copy-Source: /others/secret\r\nX-Amz-Meta-Color: red\r\nx-amz-ACL: public-read\r\n";
    let seen = scene.taken(&get("/functions/a", said));
    let signed = seen["headers"]["Authorization"].as_str().unwrap();
    assert!(signed.contains("SignedHeaders=host;x-amz-date;x-amz-meta-color,"), "{signed}");
    let headers = seen["headers"].as_object().unwrap();
    assert!(
        !headers.contains_key("X-Amz-Copy-Source") && !headers.contains_key("X-Amz-Acl"),
        "in nobody's name: {seen}"
    );
    let own = "Signature-Input: tollgate=(\"@method\");keyid=\"x\"\r\nSignature: tollgate=:AAAA:\r\nContent-Digest: sha-256=:AAAA:\r\n";
    let seen = scene.taken(&post("/own/a", own, "hello"));
    assert!(!seen["headers"]["Signature"].as_str().unwrap().contains("AAAA"), "{seen}");
    assert!(seen["headers"]["Content-Digest"].as_str().unwrap().len() > 40, "{seen}");
}

#[test]
fn what_has_message_signatures_holds_for_an_independent_library() {
    let scene = Scene::start();
    let seen = scene.taken(&get("/own/a?x=1", ""));
    let input = seen["headers"]["Signature-Input"].as_str().unwrap();
    assert!(input.starts_with("tollgate=(\"@method\" \"@authority\" \"@path\" \"@query\");created="), "{input}");
    for part in [";expires=", ";keyid=\"gateway\"", ";alg=\"ed25519\"", ";nonce=\"", ";tag=\"shop\""] {
        assert!(input.contains(part), "{input}");
    }
    assert!(!seen["headers"].as_object().unwrap().contains_key("Content-Digest"), "without a body there is no digest");
    let seen = scene.taken(&post("/own/a", "", "hello"));
    assert!(seen["headers"]["Signature-Input"].as_str().unwrap().contains("\"content-digest\""), "{seen}");
    let seen = scene.taken(&get("/shared/a", ""));
    assert!(seen["headers"]["Content-Digest"].is_string(), "that of no bytes, since it is to be covered: {seen}");
    scene.taken(&post("/shared/a?b", "", "hello"));
    // A signature needs what it has to cover.
    scene.taken(&get("/tenant/a", "X-Tenant: acme\r\n"));
    let refused = scene.ask(&get("/tenant/a", ""));
    assert_eq!((refused.status, problem(&refused).as_str()), (500, "urn:tollgate:problem:sign/impossible"));
    wait_until("the log says what is missing", || scene.gateway.log().contains("x-tenant"));
    wait_until("all is logged", || scene.gateway.access_log().len() >= 6);
    let told =
        [scene.gateway.log(), scene.gateway.status().to_string(), scene.gateway.health("/metrics").text()].concat();
    assert!(!told.contains(SECRET) && !told.contains("PRIVATE KEY"), "a secret is told");
}

#[test]
fn bodies_are_signed_however_they_come_and_as_they_leave() {
    let scene = Scene::start();
    let chunked =
        "POST /own/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let seen = scene.taken(chunked);
    assert_eq!((seen["body"].as_str(), seen["headers"]["Content-Length"].as_str()), (Some("abcdefg"), Some("7")));
    // Behind it, on the same connection, comes the next request.
    let mut client = scene.gateway.client();
    client.send([post("/functions/a", "", "first"), post("/functions/b", "", "second")].concat());
    for (target, body) in [("/functions/a", "first"), ("/functions/b", "second")] {
        let seen: Value = serde_json::from_str(&client.response("POST").unwrap().text()).unwrap();
        assert_eq!((seen["target"].as_str(), seen["body"].as_str()), (Some(target), Some(body)));
    }
    // Who waits for permission gets it from the gateway, and the service is not asked.
    let mut client = scene.gateway.client();
    client.send("POST /functions/a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response("POST").unwrap().status, 100);
    client.send("hello");
    let seen: Value = serde_json::from_str(&client.response("POST").unwrap().text()).unwrap();
    assert!(seen["body"] == "hello" && seen["headers"]["Expect"].is_null(), "{seen}");
    let refused = scene.ask(&post("/functions/a", "", &"x".repeat(65 * 1024)));
    assert_eq!((refused.status, problem(&refused).as_str()), (413, "urn:tollgate:problem:http/body-too-large"));
}

#[test]
fn a_body_that_was_read_can_be_sent_again() {
    let scene = Scene::start();
    // PUT may be repeated (RFC 9110 §9.2.2), but a body in chunks could not be, had it not been read.
    let chunked = "PUT /once/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let seen = scene.taken(chunked);
    assert_eq!(seen["body"], "hello");
    assert_eq!(scene.gateway.access_line("it", |line| line["path"] == "/once/a")["attempts"], 2);
}

#[test]
fn mistakes_in_who_signs_and_what_are_told() {
    let config = "listen: 8080\nsigners:\n\
        \x20 bucket: { sigv4: \"A KEY\", secret: \"${env:SECRET}\", region: eu-central-1, service: s3 }\n\
        \x20 shared: { signature: s, algorithm: hmac-sha256, key: \"${env:SECRET}\" }\n\
        \x20 nothing: { key: x }\n\
        routes: { /: { reply: 200 x } }\n";
    let told = check(config);
    for part in [
        "`A KEY` is no id of a key",
        "`hmac-sha256` has another kind of key",
        "nothing says how this signs",
        "`secret` for `hmac-sha256`, `key` (a private key in PEM) for all others",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let config = "listen: 8080\nsigners:\n\
        \x20 bucket: { sigv4: AKID, secret: \"${env:SECRET}\", region: eu-central-1, service: s3 }\n\
        \x20 own: { signature: own, algorithm: ed25519, key: \"${env:SECRET}\" }\n\
        \x20 twice: { signature: own, algorithm: hmac-sha256, secret: \"${env:SECRET}\", components: [\"@method\", \"@method\"] }\n\
        routes:\n  /a: { reply: 200 x, sign: bucket }\n  /b: { to: 10.0.0.1:80, sign: buckets }\n  /c: { to: 10.0.0.1:80, sign: own }\n";
    let told = check(config);
    for part in [
        "nothing is sent on by route `/a`, so `sign` is of no use",
        "nobody called `buckets` signs",
        "did you mean `bucket`?",
        "--> ./tollgate.yaml:4:",
        "the key of `own`: ",
        "is there twice",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains(SECRET) && !told.contains("`own` signs"), "who is wrong is there all the same: {told}");
}

fn problem(answer: &Response) -> String {
    let problem: Value = serde_json::from_str(&answer.text()).unwrap();
    problem["type"].as_str().unwrap().to_owned()
}

fn check(config: &str) -> String {
    let ran = Cli::with(TOLLGATE, config).run_with(&["check"], &[("SECRET", SECRET)]);
    assert_eq!(ran.code, 2, "{ran:?}");
    ran.err
}

#[test]
fn a_rehearsal_shows_no_signature() {
    let config = "listen: 8080\nsigners: { bucket: { sigv4: AKID, secret: \"${env:SECRET}\", region: eu-central-1, service: s3 } }\n\
        routes: { /a: { to: 10.0.0.1:80, sign: bucket } }\n\
        tests: { expect: [{ request: { url: /a }, expect: { sent: { headers: { Authorization: \"***\", X-Amz-Date: \"***\" } } } }] }\n";
    let ran = Cli::with(TOLLGATE, config).run_with(&["test"], &[("SECRET", SECRET)]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn signatures_hold_over_http2_on_both_sides() {
    let inside = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        auth:\n  aws: { sigv4: { AKID: { secret: \"${env:SECRET}\", name: front } } }\n\
        \x20 partners: { signature: { front: { algorithm: hmac-sha256, secret: \"${env:SECRET}\" } } }\n\
        routes: { /aws: { reply: 200 It was signed., auth: aws }, /own: { reply: 200 It was signed., auth: partners } }\n";
    let inside = Gateway::start_with(TOLLGATE, inside, &[], &[("SECRET", SECRET)]);
    let front = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        services: { inside: { to: \"{{inside}}\", protocol: http2 } }\n\
        signers:\n  aws: { sigv4: AKID, secret: \"${env:SECRET}\", region: eu-central-1, service: execute-api }\n\
        \x20 own: { signature: front, algorithm: hmac-sha256, secret: \"${env:SECRET}\" }\n\
        routes: { /aws: { to: inside, sign: aws }, /own: { to: inside, sign: own } }\n";
    let values = [("inside", inside.address().to_string())];
    let front = Gateway::start_with(TOLLGATE, front, &values, &[("SECRET", SECRET)]);
    for path in ["aws", "own"] {
        for body in [&[][..], &["-d", "hello"]] {
            let url = format!("http://{}/{path}", front.address());
            let curl = Command::new("curl").args(["-s", "--http2-prior-knowledge", &url]).args(body).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&curl.stdout), "It was signed.", "{path} {body:?}: {}", front.log());
        }
    }
}
