//! E5: the file and the commands on it: every mistake at once, never a partial start, secrets stay secret.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tollgate_testkit::{Cli, Gateway, Ran, Recorder, free_port};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// Something of everything, in short forms.
const FULL: &str = r#"
listen: { "127.0.0.1:18080": http, "127.0.0.1:18081": health }
services:
  orders: [10.0.0.1:8080, 10.0.0.2:8080 weight 3]   # two
  stock: { to: stock.internal:8080, balance: hash header X-User, queue: 5, retry: none, host: stock.internal }
defaults: { timeout: 5s, body: 1MB }
routes:
  GET /orders/{id}: orders
  /orders/**: { to: { orders: 95%, stock: 5% }, strip: /orders }
  /old/**: { redirect: "301 /orders/{**}" }
apis:
  shop:
    hosts: [shop.example.com, "*.shop.example.com"]
    routes:
      /hello: { reply: 200 hello }
      POST /x:
        - { when: 'header("X-Beta") == "1"', to: stock }
        - { to: orders, priority: -1 }
"#;

fn fine(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

fn failed(ran: Ran, code: i32) -> String {
    assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{}", ran.err);
    ran.err
}

/// Whether the text has these parts, in this order.
fn has_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?} (after the ones before it) in:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_config_that_is_fine_is_summed_up() {
    let cli = Cli::with(TOLLGATE, FULL);
    let ran = cli.run(&["check"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.out, "./tollgate.yaml: fine (2 listeners, 6 routes, 2 services)\n");
    fs::rename(cli.folder().join("tollgate.yaml"), cli.folder().join("other.yaml")).unwrap();
    assert!(fine(cli.run(&["check", "-c", "other.yaml"])).starts_with("other.yaml: fine"));
    assert!(fine(cli.run_with(&["check"], &[("TOLLGATE_CONFIG", "other.yaml")])).starts_with("other.yaml: fine"));
}

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_a_hint() {
    let config = "\
listen: { \"127.0.0.1:18080\": http }
routs: {}
workers: 0
services:
  orders: { to: 127.0.0.1:9, conections: 3, connect_timeout: 5 }
routes:
  /a: ordes
  /b: { to: orders, cache: 1s }
  /c: { to: orders, reply: 204 }
  GET: orders
  get /e: orders
";
    let cli = Cli::with(TOLLGATE, config);
    let err = failed(cli.run(&["check"]), 2);
    for (place, parts) in [
        ("2:1", ["unknown key `routs`", "2 | routs: {}", "did you mean `routes`?"]),
        ("3:10", ["", "3 | workers: 0", ""]),
        ("5:30", ["unknown key `conections`", "", "did you mean `connections`?"]),
        ("5:62", ["`5` has no unit", "", "write `5s`"]),
        ("7:7", ["there is no service `ordes`", "7 |   /a: ordes", "did you mean `orders`?"]),
        ("8:21", ["`cache` cannot be used yet", "", "not in this version"]),
        ("9:3", ["one thing, this one has `to` and `reply`", "", ""]),
        ("10:3", ["`GET` is no route", "10 |   GET: orders", "`GET,POST /orders/**`"]),
        ("11:3", ["`get` is no method", "", "did you mean `GET`?"]),
    ] {
        has_in_order(&err, &[parts[0], &format!("./tollgate.yaml:{place}\n"), parts[1], parts[2]]);
    }
    assert!(err.ends_with("./tollgate.yaml: 9 errors\n"), "{err}");
}

#[test]
fn what_is_about_sending_on_is_refused_where_nothing_is_sent_on() {
    let config = |own: &str| {
        format!("listen: 8080\ndefaults: {{ retry: 1, upgrade: none }}\nroutes: {{ /a: {{ reply: 204, {own} }} }}\n")
    };
    for own in
        ["retry: 2", "try_timeout: 1s", "host: a.example", "upgrade: websocket", "fallback: 204", "mirror: 10.0.0.1:80"]
    {
        let err = failed(Cli::with(TOLLGATE, &config(own)).run(&["check"]), 2);
        let key = own.split(':').next().unwrap();
        has_in_order(&err, &[&format!("nothing is sent on here, so `{key}` is of no use"), "3:", "routes with `to`"]);
    }
    fine(Cli::with(TOLLGATE, &config("upgrade: none")).run(&["check"]));
}

#[test]
fn mistakes_in_routes_are_told_along_with_those_in_sections() {
    let config = "\
listen: { \"127.0.0.1:18080\": http }
routs: {}
routes:
  /a: { to: \"10.0.0.1:80\", when: 'heder(\"X\") == \"1\"' }
  /b/{x: { reply: 204 }
  /c/{a}: { reply: 204 }
  /c/{b}: { to: \"10.0.0.1:80\", rewrite: \"/{z}\" }
";
    let cli = Cli::with(TOLLGATE, config);
    let err = failed(cli.run(&["check"]), 2);
    for part in [
        "unknown key `routs`",
        "unknown function `heder`",
        "a parameter takes a whole segment",
        "can match the same request",
        "the route's path has no `{z}`",
    ] {
        assert!(err.contains(part), "no {part:?} in:\n{err}");
    }
}

#[test]
fn a_header_that_frames_messages_cannot_carry_the_id() {
    for header in ["Content-Length", "transfer-encoding", "Host", "Connection", "traceparent"] {
        let config = format!("listen: 1\ncorrelation: {{ header: {header} }}\nroutes: {{ /a: {{ reply: 204 }} }}\n");
        let ran = Cli::with(TOLLGATE, &config).run(&["check"]);
        assert_eq!(ran.code, 2, "`{header}` is taken: {ran:?}");
    }
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    let cli = Cli::with(TOLLGATE, "listen: 8080\nroutes: { /a: [\n");
    has_in_order(&failed(cli.run(&["check"]), 2), &["error", "./tollgate.yaml:"]);
    // What leaves sense in the rest hides nothing of it: of what stands twice the first holds.
    let several = "listen: 8080\nlisten: 0\nroutes:\n  /a: { too: b, tiemout: 3s }\n  /b: &x { reply: 700, reply: 204 }\n  /c: { to: d }\n";
    cli.write("tollgate.yaml", several);
    let told = failed(cli.run(&["check"]), 2);
    let lines = [
        ("`listen` stands here twice", "./tollgate.yaml:2:1"),
        ("this route does nothing", "./tollgate.yaml:4:3"),
        ("unknown key `too`", "./tollgate.yaml:4:9"),
        ("unknown key `tiemout`", "./tollgate.yaml:4:17"),
        ("anchors cannot be used", "./tollgate.yaml:5:7"),
        ("700", "./tollgate.yaml:5:19"),
        ("`reply` stands here twice", "./tollgate.yaml:5:24"),
        ("there is no service `d`", "./tollgate.yaml:6:13"),
    ];
    lines.iter().for_each(|(message, place)| has_in_order(&told, &[message, place]));
    has_in_order(&told, &["./tollgate.yaml: 8 errors"]);
    fs::write(cli.folder().join("tollgate.yaml"), b"listen: 8080\n\xff\n").unwrap();
    has_in_order(&failed(cli.run(&["check"]), 2), &["not UTF-8", "./tollgate.yaml:2:1"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let cli = Cli::new(TOLLGATE);
    for command in ["check", "run"] {
        has_in_order(&failed(cli.run(&[command]), 2), &["cannot read `./tollgate.yaml`", "-c"]);
        has_in_order(&failed(cli.run(&[command, "-c", "no.yaml"]), 2), &["cannot read `no.yaml`"]);
    }
}

#[test]
fn a_wrong_config_starts_nothing() {
    let port = free_port();
    let cli = Cli::with(
        TOLLGATE,
        &format!("listen: \"127.0.0.1:{port}\"\nlog: {{ access: {{ to: /nowhere/x }} }}\nroutes: {{ /a: b }}\n"),
    );
    let err = failed(cli.run(&["run"]), 2);
    has_in_order(&err, &["there is no service `b`", "./tollgate.yaml:3:"]);
    assert!(!err.contains("listening"), "{err}");
}

#[test]
fn a_port_that_is_taken_is_named_and_no_listener_is_left_open() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (holder.local_addr().unwrap(), free_port());
    let config =
        format!("listen: {{ \"127.0.0.1:{free}\": http, \"{taken}\": health }}\nroutes: {{ /a: {{ reply: 204 }} }}\n");
    let cli = Cli::with(TOLLGATE, &config);
    let err = failed(cli.run(&["run"]), 1);
    has_in_order(&err, &[&format!("cannot listen on {taken}"), "in use", "hint:", "another program listens there"]);
    assert!(!err.contains("INFO listening"), "{err}");
    assert!(TcpListener::bind(("127.0.0.1", free)).is_ok(), "the other one is not kept");
}

#[test]
fn every_port_that_is_taken_is_named_with_what_to_do() {
    let holders = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let [first, second] = holders.each_ref().map(|holder| holder.local_addr().unwrap());
    let free = free_port();
    let config = format!(
        "listen: {{ \"{first}\": http, \"127.0.0.1:{free}\": http, \"{second}\": health }}\n\
         routes: {{ /a: {{ reply: 204 }} }}\n"
    );
    let err = failed(Cli::with(TOLLGATE, &config).run(&["run"]), 1);
    for taken in [first, second] {
        let hint = format!("sport = :{}", taken.port());
        has_in_order(&err, &[&format!("error: cannot listen on {taken}"), "in use", "hint:", &hint, "stop it"]);
    }
    assert_eq!((err.matches("error:").count(), err.matches("hint:").count()), (2, 2), "{err}");
    assert!(!err.contains("INFO listening"), "{err}");
    assert!(TcpListener::bind(("127.0.0.1", free)).is_ok(), "the one between is not kept");
}

#[test]
fn a_second_gateway_does_not_share_the_port_of_the_first() {
    let backend = Recorder::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nroutes: { /**: \"{{backend}}\" }\n";
    let first = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    let cli = Cli::new(TOLLGATE);
    let same = first.folder().join("tollgate.yaml");
    has_in_order(&failed(cli.run(&["run", "-c", same.to_str().unwrap()]), 1), &["cannot listen on"]);
    assert_eq!(first.client().get("/a").text(), "ok");
}

#[test]
fn a_directory_is_one_config() {
    let cli = Cli::new(TOLLGATE);
    cli.write("d/a.yaml", "listen: 18080\nservices: { a: 10.0.0.1:1 }\nroutes: { /a: b }\n");
    cli.write("d/b.yml", "services: { b: 10.0.0.2:2 }\nroutes: { /b: a }\n");
    cli.write("d/.hidden.yaml", "nonsense: 1\n");
    cli.write("d/notes.txt", "nonsense");
    cli.write("d/below/c.yaml", "nonsense: 1\n");
    assert_eq!(fine(cli.run(&["check", "-c", "d"])), "d: fine (1 listener, 2 routes, 2 services)\n");
    // A section of which nothing is left.
    cli.write("d/0.yaml", "routes:\n#  /a: c\nservices:\n");
    cli.write("d/z.yaml", "routes:\nservices:\n");
    assert_eq!(fine(cli.run(&["check", "-c", "d"])), "d: fine (1 listener, 2 routes, 2 services)\n");
    cli.write("d/c.yaml", "services: { b: 10.0.0.3:3 }\nroutes: { /a: { reply: 204 } }\n");
    let err = failed(cli.run(&["check", "-c", "d"]), 2);
    has_in_order(&err, &["`b` is set in two files", "d/c.yaml:1:", "d/b.yml:1:"]);
    has_in_order(&err, &["`/a` is set in two files", "d/c.yaml:2:", "d/a.yaml:3:"]);
    cli.write("empty/notes.txt", "");
    has_in_order(&failed(cli.run(&["check", "-c", "empty"]), 2), &["no `*.yaml`", "`empty`"]);
}

/// Two references, a password among them.
fn with_secrets(cli: &Cli) -> PathBuf {
    let secret = cli.write("secret", "from-the-file\n");
    let config = format!(
        "listen: 18080\nservices: {{ a: {{ to: 10.0.0.1:1, host: \"${{env:BACKEND}}\" }} }}\nroutes:\n  \
         /a: {{ to: a, headers: {{ request: {{ set: {{ Authorization: \"${{file:{}}}\" }} }} }} }}\n",
        secret.display()
    );
    cli.write("tollgate.yaml", &config);
    secret
}

#[test]
fn references_are_resolved_and_those_that_lead_nowhere_are_told() {
    let cli = Cli::new(TOLLGATE);
    let secret = with_secrets(&cli);
    fine(cli.run_with(&["check"], &[("BACKEND", "backend.test")]));
    fs::remove_file(secret).unwrap();
    let err = failed(cli.run(&["check"]), 2);
    has_in_order(&err, &["`BACKEND` is not set", "./tollgate.yaml:2:", "start Tollgate with `BACKEND=…`"]);
    has_in_order(&err, &["cannot read `", "/secret`", "./tollgate.yaml:4:"]);
    cli.write("tollgate.yaml", "listen: 18080\nroutes: { /a: { reply: { body: \"a ${env:HOME}\" } } }\n");
    has_in_order(&failed(cli.run(&["check"]), 2), &["must be the whole value", "./tollgate.yaml:2:"]);
}

#[test]
fn a_reference_reaches_the_wire() {
    let backend = Recorder::answering(|taken| {
        let head = String::from_utf8_lossy(&taken.head).into_owned();
        tollgate_testkit::Script::ok(taken, &head)
    });
    let cli = Cli::new(TOLLGATE);
    let file = cli.write("token", "Bearer abc\n");
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nroutes:\n  /**:\n    to: \"{{{{backend}}}}\"\n    \
         headers: {{ request: {{ set: {{ Authorization: \"${{file:{}}}\" }} }} }}\n",
        file.display()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
    let seen = gateway.client().get("/a").text();
    assert!(seen.contains("\r\nAuthorization: Bearer abc\r\n"), "{seen}");
    assert!(!gateway.log().contains("Bearer"), "{}", gateway.log());
}

#[test]
fn secrets_are_not_shown() {
    let cli = Cli::new(TOLLGATE);
    with_secrets(&cli);
    let secret = |ran: Ran| {
        let shown = format!("{}{}", ran.out, ran.err);
        assert!(!shown.contains("from-the-file") && !shown.contains("s3cret"), "{shown}");
        shown
    };
    let variables = [("BACKEND", "s3cret.test")];
    assert!(secret(cli.run_with(&["fmt", "--long"], &variables)).contains("Authorization: \"***\""));
    assert!(secret(cli.run_with(&["check"], &variables)).contains("fine"));
    assert!(!secret(cli.run_with(&["explain", "GET", "/a"], &[("BACKEND", "backend.test")])).contains("Bearer"));
    // Wrong: now the value would be quoted by the mistake.
    let wrong = secret(cli.run_with(&["check"], &[("BACKEND", "s3cret with blanks")]));
    has_in_order(&wrong, &["`***` is no host", "./tollgate.yaml:2:", "${env:BACKEND}"]);
}

#[test]
fn formatting_twice_is_formatting_once_and_comments_stay() {
    let cli = Cli::with(TOLLGATE, FULL);
    has_in_order(&failed(cli.run(&["fmt", "--check"]), 1), &["tollgate.yaml is not formatted", "tollgate fmt"]);
    assert_eq!(cli.read("tollgate.yaml"), FULL, "checking changes nothing");
    let shown = fine(cli.run(&["fmt", "--stdout"]));
    assert_eq!(cli.read("tollgate.yaml"), FULL, "showing changes nothing");
    let before = fine(cli.run(&["fmt", "--long"]));
    assert_eq!(fine(cli.run(&["fmt"])), "");
    let once = cli.read("tollgate.yaml");
    assert_eq!((once.as_str(), once.contains("# two")), (shown.as_str(), true));
    fine(cli.run(&["fmt", "--check"]));
    fine(cli.run(&["fmt"]));
    assert_eq!(cli.read("tollgate.yaml"), once);
    assert_eq!(fine(cli.run(&["fmt", "--long"])), before, "what it says stays the same");
    assert_eq!(fs::read_dir(cli.folder()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn the_long_form_is_a_config_that_means_the_same() {
    let cli = Cli::with(TOLLGATE, FULL);
    let long = fine(cli.run(&["fmt", "--long"]));
    for part in ["weight: 3", "retry: { retries: 0 }", "queue: { size: 5 }", "hash: header X-User", "kind: http"] {
        assert!(long.contains(part), "no {part:?} in:\n{long}");
    }
    cli.write("long.yaml", &long);
    assert!(fine(cli.run(&["check", "-c", "long.yaml"])).contains("2 listeners, 6 routes, 2 services"));
    assert_eq!(fine(cli.run(&["fmt", "--long", "long.yaml"])), long);
}

/// Runs a Python script with these arguments; `None`: Python lacks what it imports.
fn python(script: &str, arguments: &[&Path]) -> Option<Ran> {
    let target = Path::new(TOLLGATE).ancestors().nth(2).unwrap();
    let ours = target.join("tools/python/bin/python3");
    let python = if ours.exists() { ours } else { PathBuf::from("python3") };
    let ran = Command::new(python).arg("-c").arg(script).args(arguments).output().expect("python3");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let ran = Ran { code: ran.status.code().unwrap_or(-1), out: text(ran.stdout), err: text(ran.stderr) };
    (!ran.err.contains("ModuleNotFoundError")).then_some(ran)
}

const VALIDATE: &str = "
import json, sys, jsonschema
schema, *instances = [json.load(open(path)) for path in sys.argv[1:]]
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
print([not list(kind(schema).iter_errors(instance)) for instance in instances])
";

#[test]
fn the_schema_is_one_and_agrees_with_check() {
    let cli = Cli::new(TOLLGATE);
    let schema = fine(cli.run(&["schema"]));
    let parsed: Value = serde_json::from_str(&schema).unwrap();
    assert!(parsed["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")), "{}", parsed["$schema"]);
    assert!(parsed["properties"]["routes"].is_object());
    // JSON is YAML, so that both can read it.
    let short = r#"{ "listen": 18080, "services": { "a": "10.0.0.1:1" }, "routes": { "/a": "a", "/b": { "redirect": "301 /a" } } }"#;
    let wrong = r#"{ "listen": 18080, "servces": {}, "routes": { "/a": { "to": "10.0.0.1:1", "timeot": "5s" } } }"#;
    let (short, wrong) = (cli.write("short.json", short), cli.write("wrong.json", wrong));
    fine(cli.run(&["check", "-c", "short.json"]));
    failed(cli.run(&["check", "-c", "wrong.json"]), 2);
    let schema = cli.write("schema.json", &schema);
    if let Some(ran) = python(VALIDATE, &[&schema, &short, &wrong]) {
        assert_eq!(ran.out, "[True, False]\n", "{ran:?}");
    }
}

#[test]
fn status_asks_the_health_listener_of_the_config_or_the_one_named() {
    let backend = Recorder::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nservices: { a: \"{{backend}}\" }\nroutes: { /**: a }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    assert_eq!(gateway.client().get("/a").status, 200);
    gateway.await_metric("tollgate_requests_total{api=\"\",route=\"/**\",status=\"2xx\"}", |count| count == 1.0);
    let cli = Cli::new(TOLLGATE);
    let file = gateway.folder().join("tollgate.yaml");
    let text = fine(cli.run(&["status", "-c", file.to_str().unwrap()]));
    has_in_order(&text, &["tollgate 0.", "ready"]);
    has_in_order(&text, &["listener", &gateway.address().to_string(), "http"]);
    has_in_order(&text, &["service", "a", &backend.address().to_string(), "connections"]);
    let url = format!("http://{}", gateway.health_address());
    let json: Value = serde_json::from_str(&fine(cli.run(&["status", "--url", &url, "--json"]))).unwrap();
    assert_eq!((json["ready"].as_bool(), json["config"]["revision"].as_u64()), (Some(true), Some(1)));
    assert_eq!(json["services"][0]["instances"][0]["address"], backend.address().to_string());
    let with_slash = fine(cli.run(&["status", "--url", &format!("{url}/")]));
    has_in_order(&with_slash, &["ready"]);
}

#[test]
fn status_without_a_gateway_fails_and_says_so() {
    let (cli, port) = (Cli::with(TOLLGATE, FULL), free_port());
    let url = format!("http://127.0.0.1:{port}");
    let err = failed(cli.run(&["status", "--url", &url]), 1);
    has_in_order(&err, &[&format!("no answer from 127.0.0.1:{port}"), "hint:", "is the gateway running"]);
    has_in_order(&failed(cli.run(&["status", "--url", "ftp://x"]), 1), &["`ftp://x` is no URL"]);
    let backend = Recorder::start();
    let err = failed(cli.run(&["status", "--url", &format!("http://{}", backend.address())]), 1);
    has_in_order(&err, &["is it a health listener?"]);
    cli.write("tollgate.yaml", "listen: 18080\nroutes: { /a: { reply: 204 } }\n");
    has_in_order(&failed(cli.run(&["status"]), 1), &["no health listener", "\"127.0.0.1:9900\": health"]);
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let cli = Cli::new(TOLLGATE);
    let help = fine(cli.run(&["--help"]));
    has_in_order(&help, &["Examples:", "tollgate demo"]);
    let commands = ["run", "check", "explain", "fmt", "schema", "status", "demo", "completions", "man"];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        has_in_order(
            &fine(cli.run(&[command, "--help"])),
            &["Usage: tollgate", "Example", &format!("  tollgate {command}")],
        );
    }
    assert!(fine(cli.run(&["--version"])).starts_with("tollgate 0."));
    assert_eq!(cli.run(&["nonsense"]).code, 2);
    assert_eq!(cli.run(&[]).code, 2);
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let cli = Cli::new(TOLLGATE);
    for shell in ["bash", "zsh", "fish"] {
        let script = fine(cli.run(&["completions", shell]));
        assert!(script.contains("explain") && script.contains("check"), "{shell}: {script}");
    }
    fine(cli.run(&["man", "pages/man1"]));
    for page in ["tollgate.1", "tollgate-run.1", "tollgate-explain.1"] {
        assert!(cli.read(&format!("pages/man1/{page}")).starts_with(".ie"), "{page}");
    }
}
