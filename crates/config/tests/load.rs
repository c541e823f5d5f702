//! What a file means: defaults, layers, short forms, directories, references.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail like tests")]

use std::fs;
use std::time::Duration;

use tollgate_config::model::{
    Accept, Action, Address, Balance, Bind, Destination, HashKey, HostPattern, Index, Level, ListenerKind, ListenerTls,
    Listing, LogTarget, PathChange, Piece, Precompressed, Route, TlsPolicy, Verify,
};
use tollgate_config::{Config, Loaded, Look, Report, format, format_tree, load, load_text, schema};
use tollgate_core::node::{Entry, Node, Value};

fn nothing(_: &str) -> Option<String> {
    None
}

fn loaded(text: &str) -> Loaded {
    load_text("x.yaml", text, &nothing, &[]).unwrap_or_else(|report| panic!("{report}"))
}

fn config(text: &str) -> Config {
    loaded(text).config
}

fn route<'c>(config: &'c Config, label: &str) -> &'c Route {
    config.routes().map(|(_, route)| route).find(|route| route.label == label).unwrap()
}

/// The example of the design that belongs to this version.
const SHOP: &str = r#"
version: 1                                   # defaults belong to a version
listen:
  8080:
  "127.0.0.1:9900": health                   # live, ready, metrics: for balancers and scrapers
trust: { proxies: [10.0.0.0/8, 192.0.2.1] }
log: { access: { to: stdout, format: json } }

services:                                    # what stands behind: named upstreams
  orders: { to: [10.0.0.11:8080, 10.0.0.12:8080 weight 3], balance: hash header X-User, connections: 200 }
  stock: { to: [10.0.0.21:8080, stock.internal:8080], queue: 50, retry: none }

defaults:                                    # hold for every route; a route may override
  timeout: 5s
  body: 1MB
  host: backend
  require: { headers: [X-Correlation-ID] }

apis:                                        # what clients see
  shop:
    hosts: [Shop.Example.com, "*.shop.example.com"]
    defaults: { timeout: 6s, idle: 10s, cors: any }
    routes:
      /orders/**:
        to: orders
        timeout: 7s
        host: none
        total: 1m
        headers: { remove: X-Secret }
      GET,POST /exports: orders
      "GET /products/{id}": { to: stock, rewrite: "/v2/{id}" }
      "/reports/{name}":                     # same path, different conditions: a list
        - { when: 'header("X-Beta") == "1"', to: { orders: 95%, stock: 5% } }
        - { to: orders, priority: -1 }
      /old/**: { redirect: "301 /orders/{**}" }
      /ping: { reply: 200 pong, name: ping }
routes:
  /inline: [10.0.0.1:80, 10.0.0.2:80]
  /api/**: { to: orders, strip: /api, retry: 3, body: unlimited }
"#;

#[test]
fn a_minimal_file_has_the_defaults_of_version_1() {
    let config = config("listen: 8080\nroutes: { /orders/**: [10.0.0.11:8080, 10.0.0.12:8080] }\n");
    assert_eq!(config.listen[0].address, Bind::AllAddresses(8080));
    assert_eq!(config.listen[0].kind, ListenerKind::Http);
    assert_eq!((config.workers, config.drain.time.0), (None, Duration::from_secs(30)));
    assert_eq!((config.limits.target.get(), config.limits.head.get()), (8192, 32_768));
    assert_eq!((config.limits.fields.get(), config.limits.connections.get()), (100, 65_536));
    assert_eq!(config.limits.requests_per_connection, None);
    assert_eq!(config.correlation.header.as_str(), "X-Correlation-ID");
    assert_eq!((config.correlation.accept, config.correlation.echo), (Accept::Always, true));
    assert_eq!((config.log.level, &config.log.access.to), (Level::Info, &LogTarget::Stdout));
    assert_eq!(config.log.access.queue.get(), 8 << 20);
    assert_eq!(config.dns.max_ttl.0, Duration::from_secs(300));
    assert!(!config.trust.is_proxy("127.0.0.1".parse().unwrap()));
    let route = route(&config, "/orders/**");
    assert_eq!(route.settings.timeout, Duration::from_secs(30));
    assert_eq!(route.settings.idle, Duration::from_secs(60));
    assert_eq!((route.settings.body, route.settings.total, route.settings.retries), (Some(10_000_000), None, None));
    let Action::Forward { to: Destination::Inline(service), path: None } = &route.action else { panic!() };
    assert_eq!(service.to.0.len(), 2);
    assert_eq!(service.balance, Balance::RoundRobin);
    assert_eq!((service.queue.size.get(), service.retry.retries.get(), service.retry.min.get()), (100, 1, 3));
    assert_eq!((service.retry.budget.hundredths(), service.keep_alive.idle.get()), (2000, 64));
}

#[test]
fn services_are_read_with_their_short_forms() {
    let config = config(SHOP);
    let orders = config.service("orders").unwrap();
    assert_eq!(orders.to.0[1].weight.get(), 3);
    assert!(
        matches!(&orders.balance, Balance::Hash(hashed) if matches!(&hashed.hash, HashKey::Header(name) if name.as_str() == "X-User"))
    );
    let stock = config.service("stock").unwrap();
    let name = Address::Name { name: "stock.internal".into(), port: 8080 };
    assert_eq!(stock.to.0[1].address.value, name);
    assert_eq!((stock.queue.size.get(), stock.retry.retries.get()), (50, 0));
    assert!(config.trust.is_proxy("10.1.2.3".parse().unwrap()));
    assert!(config.trust.is_proxy("::ffff:192.0.2.1".parse().unwrap()));
}

#[test]
fn the_innermost_layer_wins() {
    let config = config(SHOP);
    let orders = route(&config, "shop: /orders/**");
    assert_eq!(orders.settings.timeout, Duration::from_secs(7));
    assert_eq!(orders.settings.idle, Duration::from_secs(10));
    assert_eq!(orders.settings.total, Some(Duration::from_secs(60)));
    assert_eq!((orders.settings.body, &orders.settings.host), (Some(1_000_000), &None));
    let exports = route(&config, "shop: GET,POST /exports");
    assert_eq!(exports.settings.timeout, Duration::from_secs(6));
    assert_eq!(exports.settings.host.as_ref().unwrap().as_str(), "backend");
    let stripped = route(&config, "/api/**");
    assert_eq!((stripped.settings.timeout, stripped.settings.retries), (Duration::from_secs(5), Some(3)));
    assert_eq!(stripped.settings.body, None);
}

#[test]
fn routes_keep_what_others_read() {
    let config = config(SHOP);
    let keys = |entries: &[Entry]| entries.iter().map(|e| e.key.clone()).collect::<Vec<_>>();
    let shop = config.apis.iter().find(|api| api.name.is_some()).unwrap();
    assert_eq!(shop.hosts[0].value, HostPattern::Exact("shop.example.com".into()));
    assert_eq!(shop.hosts[1].value, HostPattern::Wildcard("shop.example.com".into()));
    assert_eq!((keys(&config.policies), keys(&shop.policies)), (vec!["require".into()], vec!["cors".into()]));
    assert_eq!(keys(&route(&config, "shop: /orders/**").policies), ["headers"]);
    let exports = route(&config, "shop: GET,POST /exports");
    assert_eq!(exports.methods.iter().map(|m| m.as_str()).collect::<Vec<_>>(), ["GET", "POST"]);
    assert_eq!(exports.path.value, "/exports");
    assert_eq!(exports.path.span.column, 16);
    let reports = route(&config, "shop: /reports/{name}");
    assert_eq!(reports.when[0].value, "header(\"X-Beta\") == \"1\"");
    let Action::Forward { to: Destination::Split(parts), .. } = &reports.action else { panic!() };
    assert_eq!(
        parts.iter().map(|(name, weight)| (name.as_str(), *weight)).collect::<Vec<_>>(),
        [("orders", 9500), ("stock", 500)]
    );
    assert_eq!(route(&config, "shop: /reports/{name} #2").priority, -1);
    let Action::Redirect(redirect) = &route(&config, "shop: /old/**").action else { panic!() };
    assert_eq!((redirect.status.get(), redirect.to.pieces.last()), (301, Some(&Piece::Rest)));
    let Action::Reply(reply) = &route(&config, "shop: ping").action else { panic!() };
    assert_eq!((reply.status.get(), reply.body.as_ref().unwrap().as_str()), (200, "pong"));
    let Action::Forward { path: Some(PathChange::Strip(prefix)), .. } = &route(&config, "/api/**").action else {
        panic!()
    };
    assert_eq!(prefix.value, "/api");
}

#[test]
fn short_forms_of_policies_are_rewritten_by_who_knows_them() {
    fn long(node: Node) -> Node {
        let entry = Entry::at("origins", node.clone());
        Node { value: Value::Map(vec![entry]), ..node }
    }
    let text = "listen: 80\ndefaults: { cors: any }\nroutes: { /a: { reply: 204, cors: none }, /b: { reply: 204, cors: any } }";
    let loaded = load_text("x.yaml", text, &nothing, &[("cors", long)]).unwrap();
    assert!(loaded.config.policies[0].value.get("origins").is_some());
    assert_eq!(route(&loaded.config, "/a").policies[0].value.text(), Some("none"));
    assert!(route(&loaded.config, "/b").policies[0].value.get("origins").is_some());
}

#[test]
fn the_long_form_means_the_same() {
    let short = loaded(SHOP);
    let long = format_tree(&short.tree);
    assert_eq!(config(&long), short.config, "{long}");
    assert_eq!(format("x.yaml", &long).unwrap(), long, "the long form is in the canonical layout");
    assert_eq!(config(&format("x.yaml", SHOP).unwrap()), short.config);
}

fn write(dir: &tempfile::TempDir, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn load_dir(files: &[(&str, &str)]) -> Result<Loaded, Report> {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, files);
    load(dir.path(), &nothing, &[])
}

#[test]
fn a_directory_is_one_configuration() {
    let loaded = load_dir(&[
        ("10-listen.yaml", "listen: 8080\napis: { shop: { hosts: [a.example], routes: { /a: orders } } }"),
        ("20-orders.yml", "services: { orders: 10.0.0.1:80 }\napis: { shop: { routes: { /b: { reply: 204 } } } }"),
        ("30-empty.yaml", "# nothing yet\n"),
        ("notes.txt", "this: is: not read"),
        (".hidden.yaml", "this: is: not read"),
        ("below/deeper.yaml", "listen: 9090"),
    ]);
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    let labels: Vec<&str> = loaded.config.routes().map(|(_, route)| route.label.as_str()).collect();
    assert_eq!(labels, ["shop: /a", "shop: /b"]);
}

#[test]
fn the_same_leaf_in_two_files_names_both() {
    let report = load_dir(&[
        ("a.yaml", "listen: 8080\nservices: { orders: { to: a:80 } }"),
        ("b.yaml", "routes: { /: orders }\nlisten: 9090\nservices: { orders: { to: b:80 } }"),
    ])
    .unwrap_err();
    assert_eq!(report.diagnostics.len(), 2, "{report}");
    let shown = report.render(Look::Plain);
    for expected in
        ["`listen` is set in two files", "b.yaml:2:1", "a.yaml:1:1", "`to` is set in two files", ": 2 errors"]
    {
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let told = |report: Result<Loaded, Report>| report.unwrap_err().render(Look::Plain);
    assert!(told(load_dir(&[("a.txt", "")])).contains("no `*.yaml` or `*.yml` file"));
    assert!(told(load("/no/such/file.yaml".as_ref(), &nothing, &[])).contains("cannot read `/no/such/file.yaml`"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.yaml");
    fs::write(&path, b"listen: 8080\nname: \xff\n").unwrap();
    let shown = told(load(&path, &nothing, &[]));
    assert!(shown.contains("this is not UTF-8") && shown.contains("x.yaml:2:7"), "{shown}");
    let both = told(load_dir(&[("a.yaml", "a: [1"), ("b.yaml", "b: *x")]));
    assert!(both.contains("a.yaml") && both.contains("b.yaml"), "{both}");
}

#[test]
fn references_are_put_in_and_never_shown() {
    let env = |name: &str| match name {
        "PORT" => Some("8080".to_owned()),
        "WORKERS" => Some("4".to_owned()),
        "ECHO" => Some("false".to_owned()),
        "BODY" => Some("007: hunter2".to_owned()),
        _ => None,
    };
    let text = "listen: ${env:PORT}\nworkers: ${env:WORKERS}\ncorrelation: { echo: \"${env:ECHO}\" }\nroutes:\n  /a: { reply: { body: \"${env:BODY}\" } }\n";
    let loaded = load_text("x.yaml", text, &env, &[]).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!((loaded.config.workers, loaded.config.correlation.echo), (Some(4), false));
    assert_eq!(loaded.config.listen[0].address, Bind::AllAddresses(8080));
    let Action::Reply(reply) = &route(&loaded.config, "/a").action else { panic!() };
    assert_eq!(reply.body.as_ref().unwrap().as_str(), "007: hunter2");
    let shown = format_tree(&loaded.tree) + &format!("{:?}", loaded.tree);
    assert!(shown.contains("\"***\"") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn colours_are_a_matter_of_look() {
    let report = load_text("x.yaml", "listn: 8080", &nothing, &[]).unwrap_err();
    assert!(report.render(Look::Coloured).contains("\u{1b}["));
    assert!(!report.render(Look::Plain).contains("\u{1b}["));
    assert_eq!(report.summary(), "x.yaml: 2 errors, 1 warning");
}

#[test]
fn every_key_that_is_described_is_known_and_the_other_way_round() {
    let schema = schema(&[]);
    let route = &schema["$defs"]["Route"]["anyOf"];
    let described = route.as_array().unwrap().iter().find_map(|form| form["properties"].as_object()).unwrap();
    let known = tollgate_config::known_route_keys();
    assert_eq!(described.keys().map(String::as_str).collect::<Vec<_>>(), known);
}

#[test]
fn ten_thousand_routes_are_read_quickly() {
    let mut text = "listen: 8080\nservices: { orders: 10.0.0.1:80 }\nroutes:\n".to_owned();
    for at in 0..10_000 {
        text.push_str(&format!("  \"GET /orders/{at}/{{id}}\": {{ to: orders, timeout: 5s }}\n"));
    }
    assert_eq!(config(&text).routes().count(), 10_000);
}

#[test]
fn files_have_a_short_form_and_defaults() {
    let files = |yaml: &str| {
        let text = format!("listen: 8080\nroutes: {{ /a/**: {{ files: {yaml} }} }}");
        load_text("t.yaml", &text, &|_| None, &[]).map(|loaded| {
            let (_, route) = loaded.config.routes().next().unwrap();
            let Action::Files(files) = route.action.clone() else { panic!("{route:?}") };
            *files
        })
    };
    let short = files("./public").unwrap();
    assert_eq!((short.dir.value.as_str(), &short.index), ("./public", &Index::Name("index.html".into())));
    assert_eq!((short.listing, &short.precompressed, &short.spa), (Listing::Off, &None, &None));
    let long = "{ dir: a, index: none, listing: on, precompressed: br, cache: no-cache, spa: /a/b.html, types: { GLB: model/x } }";
    let long = files(long).unwrap();
    assert_eq!((long.index, long.precompressed), (Index::None, Some(vec![Precompressed::Br])));
    assert_eq!((long.spa.unwrap().below(), long.types.unwrap().0[0].0.as_str()), ("a/b.html", "glb"));
    for wrong in [
        "{ dir: a, index: a/b }",
        "{ dir: a, spa: index.html }",
        "{ dir: a, spa: /../a }",
        "{ dir: a, types: { .js: a } }",
        "{}",
    ] {
        assert!(files(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn tls_is_read_with_its_short_forms() {
    let text = r#"
listen:
  "443": { tls: { cert: ./a.pem, key: a.key, policy: modern, client: ca.pem } }
  "444":
    tls: { certificates: [{ cert: a.pem, key: a.key }, { cert: /b.pem, key: /b.key }], client: { ca: ca.pem, required: false } }
services:
  plain: { to: a:443, tls: on }
  picky: { to: a:443, tls: { ca: ca.pem, name: Orders.Internal, cert: c.pem, key: c.key, pin: "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" } }
routes: { /a: plain, /b: picky }
"#;
    let loaded = load_text("conf/x.yaml", text, &nothing, &[]).unwrap_or_else(|report| panic!("{report}"));
    let [first, second] = &loaded.config.listen[..] else { panic!() };
    let (first, second) = (first.tls.as_ref().unwrap(), second.tls.as_ref().unwrap());
    assert_eq!((first.policy, second.policy), (TlsPolicy::Modern, TlsPolicy::Intermediate));
    let files = |tls: &ListenerTls| {
        tls.certificates.0.iter().map(|c| c.cert.value.0.display().to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((files(first), files(second)), ("conf/a.pem".to_owned(), "conf/a.pem /b.pem".to_owned()));
    let clients = |tls: &ListenerTls| tls.client.as_ref().map(|client| client.required);
    assert_eq!((clients(first), clients(second)), (Some(true), Some(false)));
    let plain = loaded.config.service("plain").unwrap().tls.as_ref().unwrap();
    assert_eq!((&plain.ca, &plain.name, plain.verify.value), (&None, &None, Verify::On));
    let picky = loaded.config.service("picky").unwrap().tls.as_ref().unwrap();
    assert_eq!(picky.name.as_ref().unwrap().0, "orders.internal");
    assert_eq!(picky.pin.as_ref().unwrap()[0].0[..2], [0xe3, 0xb0]);
    let long = format_tree(&loaded.tree);
    assert_eq!(load_text("conf/x.yaml", &long, &nothing, &[]).unwrap().config, loaded.config, "{long}");
}

proptest::proptest! {
    /// Whatever is written as a test: it reads, or it is a mistake with a place.
    #[test]
    fn no_line_of_tests_is_too_odd(words in proptest::collection::vec("(GET|->|from|to|with|as|x|2xx|200|5B|/a|a/b|[ -~]{0,6})", 0..9)) {
        let line = words.join(" ").replace('\'', "''");
        let text = format!("listen: 1\nroutes: {{ /a: {{ reply: 204 }} }}\ntests: {{ expect: ['{line}'] }}\n");
        if let Err(report) = tollgate_config::load_text("x.yaml", &text, &|_| None, &[]) {
            proptest::prop_assert!(report.diagnostics.iter().all(|mistake| mistake.span.is_some()), "{}", report.name);
        }
    }
}
