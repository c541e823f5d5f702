//! S6: API keys, made by the command line and taken by a running gateway.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tollgate_testkit::{Gateway, Recorder, Response, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

struct Bench {
    folder: tempfile::TempDir,
    _backend: Recorder,
    gateway: Gateway,
}

/// Runs `tollgate key` over the config in this folder.
fn key_with(folder: &Path, words: &[&str], input: &str) -> Output {
    let mut command = Command::new(TOLLGATE);
    command.arg("key").args(words).arg("--config").arg(folder.join("keys.yaml"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn key(folder: &Path, words: &[&str]) -> String {
    // The command needs the list and its secret, and nothing else of the config.
    let output = key_with(folder, words, "");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn refused(folder: &Path, words: &[&str], input: &str) -> String {
    let output = key_with(folder, words, input);
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The ids of the keys with this name.
fn ids(folder: &Path, name: &str) -> Vec<String> {
    let listed: Value = serde_json::from_str(&key(folder, &["list", "--json"])).unwrap();
    let keys = listed["keys"].as_array().unwrap().iter().filter(|key| key["name"] == name);
    keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

fn source(place: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!("{{ api_key: {place}, file: {folder}/keys.json, secret: \"${{file:{folder}/secret}}\" }}")
}

impl Bench {
    fn new() -> Self {
        let (folder, backend) = (tempfile::tempdir().unwrap(), Recorder::start());
        fs::write(folder.path().join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
        let auth = |place| source(place, folder.path());
        fs::write(
            folder.path().join("keys.yaml"),
            format!("listen: 8080\nauth: {{ keys: {} }}\n", auth("header X-Api-Key")),
        )
        .unwrap();
        key(folder.path(), &["create", "first"]);
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
             auth:\n  keys: {}\n  in_query: {}\n  in_cookie: {}\n\
             routes:\n  /: {{ to: \"{{{{backend}}}}\", auth: keys }}\n  \
             /query: {{ to: \"{{{{backend}}}}\", auth: in_query }}\n  /cookie: {{ to: \"{{{{backend}}}}\", auth: in_cookie }}\n  \
             /write: {{ to: \"{{{{backend}}}}\", auth: keys, allow: [orders.write] }}\n  \
             /shop: {{ to: \"{{{{backend}}}}\", auth: keys, allow: 'consumer == \"shop\"' }}\n",
            auth("header X-Api-Key"),
            auth("query api_key"),
            auth("cookie api_key"),
        );
        let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
        Self { folder, _backend: backend, gateway }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn call(&self, target: &str, field: &str) -> Response {
        self.gateway.client().call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\n{field}\r\n\r\n"))
    }

    fn slug(&self, target: &str, key: &str) -> String {
        slug(&self.call(target, &format!("X-Api-Key: {key}")))
    }

    /// Waits until the gateway has read the list again.
    fn becomes(&self, target: &str, key: &str, slug: &str) {
        wait_until("the list is read again", || self.slug(target, key) == slug);
    }
}

fn slug(answer: &Response) -> String {
    if answer.status == 200 {
        return "ok".to_owned();
    }
    let problem: Value = serde_json::from_str(&answer.text()).unwrap();
    problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
}

#[test]
fn a_key_is_told_once_and_opens_what_it_is_good_for() {
    let bench = Bench::new();
    let (shop, app) = (
        key(bench.folder(), &["create", "shop", "--scopes", "orders.read,orders.write"]),
        key(bench.folder(), &["create", "app", "--expires", "90d"]),
    );
    bench.becomes("/", &shop, "ok");
    bench.becomes("/", &app, "ok");
    assert_eq!((bench.slug("/write", &shop), bench.slug("/write", &app)), ("ok".into(), "allow/scope".into()));
    assert_eq!((bench.slug("/shop", &shop), bench.slug("/shop", &app)), ("ok".into(), "allow/denied".into()));
    assert_eq!(slug(&bench.call(&format!("/query?api_key={shop}"), "X: y")), "ok");
    assert_eq!(slug(&bench.call("/cookie", &format!("Cookie: a=b; api_key={shop}"))), "ok");
    // Not where it is not looked for.
    assert_eq!(slug(&bench.call(&format!("/?api_key={shop}"), "X: y")), "auth/missing");
    let text = fs::read_to_string(bench.folder().join("keys.json")).unwrap();
    let told = key(bench.folder(), &["list"]);
    assert!(told.contains("shop") && told.contains("orders.read,orders.write") && told.contains("never"), "{told}");
    wait_until("the query is logged", || !bench.gateway.access_log().is_empty());
    let all = [text, told, bench.gateway.log(), bench.gateway.status().to_string()].concat();
    let logged: String = bench.gateway.access_log().iter().map(Value::to_string).collect();
    assert!(!all.contains(&shop) && !all.contains(&app) && !logged.contains(&shop), "a key is shown");
}

#[test]
fn keys_that_are_none_are_refused_and_told_apart() {
    let bench = Bench::new();
    let shop = key(bench.folder(), &["create", "shop"]);
    bench.becomes("/", &shop, "ok");
    let missing = bench.call("/", "X: y");
    assert_eq!((missing.status, slug(&missing).as_str()), (401, "auth/missing"));
    let challenge = missing.one("www-authenticate").unwrap();
    assert_eq!(challenge, "ApiKey realm=\"keys\", in=\"header\", name=\"X-Api-Key\"");
    let unknown = bench.call("/", &format!("X-Api-Key: {}x", shop));
    assert_eq!((unknown.status, slug(&unknown).as_str()), (401, "key/unknown"));
    for wrong in [&shop[..shop.len() - 1], &shop.to_uppercase(), "tgk_", "first"] {
        assert_eq!(bench.slug("/", wrong), "key/unknown", "{wrong}");
    }
    assert_eq!(bench.slug("/", &"x".repeat(600)), "key/malformed");
    assert_eq!(bench.slug("/", ""), "key/malformed");
    let twice = bench.call("/", &format!("X-Api-Key: {shop}\r\nX-Api-Key: {shop}"));
    assert_eq!((twice.status, slug(&twice).as_str()), (400, "key/malformed"));
    for twice in [
        bench.call(&format!("/query?api_key={shop}&api_key=x"), "X: y"),
        bench.call("/cookie", &format!("Cookie: api_key={shop}; api_key=x")),
        bench.call("/cookie", &format!("Cookie: api_key={shop}\r\nCookie: api_key=x")),
    ] {
        assert_eq!(slug(&twice), "key/malformed");
    }
    // The hash that stands in the list is no key.
    let list: Value = serde_json::from_str(&fs::read_to_string(bench.folder().join("keys.json")).unwrap()).unwrap();
    assert_eq!(bench.slug("/", list["keys"][1]["hash"].as_str().unwrap()), "key/unknown");
}

#[test]
fn a_key_is_followed_by_another_and_ends() {
    let bench = Bench::new();
    let old = key(bench.folder(), &["create", "shop", "--scopes", "orders.write"]);
    let id = ids(bench.folder(), "shop").remove(0);
    let new = key(bench.folder(), &["rotate", &id, "--overlap", "1h"]);
    bench.becomes("/write", &new, "ok");
    assert_eq!(bench.slug("/write", &old), "ok", "for an hour");
    key(bench.folder(), &["expire", &id]);
    bench.becomes("/", &old, "key/expired");
    assert_eq!(bench.slug("/", &new), "ok");
    assert!(refused(bench.folder(), &["rotate", &id], "").contains("has ended"));
    assert!(refused(bench.folder(), &["expire", &id, "--at", "90d"], "").contains("sooner"));
    assert_eq!(bench.slug("/", &old), "key/expired", "it is not revived");
    key(bench.folder(), &["prune"]);
    assert_eq!(ids(bench.folder(), "shop").len(), 1);
    bench.becomes("/", &old, "key/unknown");
}

#[test]
fn a_key_is_followed_by_one_that_lasts_as_long() {
    let bench = Bench::new();
    key(bench.folder(), &["create", "shop", "--expires", "90d"]);
    key(bench.folder(), &["rotate", &ids(bench.folder(), "shop").remove(0)]);
    let listed: Value = serde_json::from_str(&key(bench.folder(), &["list", "--json"])).unwrap();
    let all = listed["keys"].as_array().unwrap();
    let (new, day) = (all.last().unwrap(), |at: &Value| at.as_str().unwrap()[..10].to_owned());
    assert_ne!(day(&new["expires"]), day(&new["created"]), "{new}");
    assert_ne!(day(&all[1]["expires"]), day(&new["expires"]), "the one before ends tomorrow");
}

#[test]
fn a_list_that_goes_bad_keeps_what_it_said() {
    let bench = Bench::new();
    let shop = key(bench.folder(), &["create", "shop"]);
    bench.becomes("/", &shop, "ok");
    let good = fs::read_to_string(bench.folder().join("keys.json")).unwrap();
    fs::write(bench.folder().join("keys.json"), "{ nothing").unwrap();
    wait_until("status tells", || bench.gateway.status()["identity"][0]["state"] == "stale");
    assert_eq!(bench.slug("/", &shop), "ok");
    fs::write(bench.folder().join("keys.json"), good).unwrap();
    wait_until("it is good again", || bench.gateway.status()["identity"][0]["state"] == "good");
}

#[test]
fn clients_keep_the_keys_that_they_have() {
    let bench = Bench::new();
    let output = key_with(bench.folder(), &["create", "old-app", "--import"], "a-key-of-the-gateway-before\n");
    assert!(output.status.success() && output.stdout.is_empty());
    bench.becomes("/", "a-key-of-the-gateway-before", "ok");
    let again = refused(bench.folder(), &["create", "other", "--import"], "a-key-of-the-gateway-before");
    assert!(again.contains("in the list already"), "{again}");
    assert!(refused(bench.folder(), &["create", "other", "--import"], "short").contains("can be guessed"));
}

#[test]
fn what_is_asked_wrongly_changes_nothing() {
    let bench = Bench::new();
    let path = bench.folder().join("keys.json");
    let before = fs::read_to_string(&path).unwrap();
    for (words, why) in [
        (&["expire", "nobody"][..], "there is no key nobody"),
        (&["rotate", "nobody"], "tollgate key list"),
        (&["create", "two words"], "is not a name"),
        (&["create", "shop", "--expires", "soon"], "neither a time nor a day"),
        (&["create", "shop", "--expires", "2020-01-01"], "over already"),
        (&["create", "shop", "--scopes", "a b"], "is not a scope"),
        (&["create", "shop", "--source", "none"], "no such source"),
    ] {
        let told = refused(bench.folder(), words, "");
        assert!(told.contains(why), "{words:?}: {told}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn without_a_list_or_with_a_short_secret_the_config_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |config: &str| {
        let path = folder.path().join("tollgate.yaml");
        fs::write(&path, config).unwrap();
        let output = Command::new(TOLLGATE).arg("check").arg("--config").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{config}");
        String::from_utf8(output.stderr).unwrap()
    };
    let routes = "routes: { /: { reply: 200, auth: keys } }\n";
    let missing =
        run(&format!("listen: 8080\nauth: {{ keys: {{ api_key: header X-Api-Key, file: ./none.json }} }}\n{routes}"));
    assert!(missing.contains("tollgate key create NAME") && missing.contains("tollgate.yaml:2:"), "{missing}");
    let short = run(&format!(
        "listen: 8080\nauth: {{ keys: {{ api_key: header X-Api-Key, file: ./none.json, secret: tiny }} }}\n{routes}"
    ));
    assert!(short.contains("too short a secret") && !short.contains("tiny\""), "{short}");
    for place in ["query k", "header X-Client", "cookie c"] {
        let logged =
            run(&format!("listen: 8080\nauth: {{ keys: {{ api_key: {place}, file: ./none.json }} }}\n{routes}"));
        assert!(logged.contains("would be logged"), "{logged}");
    }
}

#[test]
fn a_lost_key_of_the_hashes_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "listen: 127.0.0.1:{}\ndata: ./data\nauth: {{ keys: {{ api_key: header X-Api-Key, file: ./keys.json }} }}\n\
         routes: {{ /: {{ reply: 200, auth: keys }} }}\n",
        free_port()
    );
    fs::write(folder.path().join("keys.yaml"), config).unwrap();
    key(folder.path(), &["create", "shop"]);
    let secret = folder.path().join("data/api-keys.secret");
    fs::remove_file(&secret).unwrap();
    let told = refused(folder.path(), &["create", "another"], "");
    assert!(told.contains("is gone, without which none of the 1 keys is known"), "{told}");
    let run = Command::new(TOLLGATE).arg("run").arg("--config").arg(folder.path().join("keys.yaml")).output().unwrap();
    let told = String::from_utf8(run.stderr).unwrap();
    assert!(!run.status.success() && told.contains("is gone") && told.contains("from a backup"), "{told}");
    assert!(!secret.exists());
}
