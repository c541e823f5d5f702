//! How slices and their changes are understood; over the wire it is in `tests/r4_sources.rs`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};

use tollgate_core::caller::{Answer, CallError};
use tollgate_core::policy::BoxFuture;

use super::*;
use crate::State;
use crate::places::{Host, Place};

fn slice(name: &str, family: &str, endpoints: &Value, ports: &Value) -> Value {
    json!({ "metadata": { "name": name, "resourceVersion": "5" }, "addressType": family, "endpoints": endpoints, "ports": ports })
}

fn places(slices: &[Value], port: Option<&Port>) -> Result<Vec<Place>, String> {
    let list = json!({ "metadata": { "resourceVersion": "7" }, "items": slices });
    let mut all = Slices::default();
    all.extend(List::read(list.to_string().as_bytes())?.items)?;
    all.places(port)
}

fn shown(places: &[Place]) -> Vec<(String, u16, Option<&str>)> {
    let host = |host: &Host| match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.to_string(),
    };
    places.iter().map(|place| (host(&place.host), place.port, place.zone.as_deref())).collect()
}

fn http() -> Value {
    json!([{ "name": "http", "port": 8080, "protocol": "TCP" }])
}

#[test]
fn slices_of_both_families_are_one_list_without_duplicates() {
    let four = json!([
        { "addresses": ["10.0.0.1", "10.0.0.99"], "zone": "a", "conditions": { "ready": true } },
        { "addresses": ["10.0.0.2"], "conditions": {} },
        { "addresses": ["10.0.0.3"], "conditions": { "ready": false, "serving": false } },
        { "addresses": ["10.0.0.4"], "conditions": { "ready": false, "serving": true, "terminating": true } },
        { "addresses": [] },
        { "addresses": ["no address"] },
    ]);
    let again = json!([{ "addresses": ["10.0.0.1"], "zone": "a" }]);
    let six = json!([{ "addresses": ["2001:db8::1"], "zone": "" }]);
    let names = json!([{ "addresses": ["Db.Internal"] }]);
    let all = [
        slice("a", "IPv4", &four, &http()),
        slice("b", "IPv4", &again, &http()),
        slice("c", "IPv6", &six, &http()),
        slice("d", "FQDN", &names, &http()),
        slice("e", "IPv7", &again, &json!([{ "port": 1 }])),
        slice("f", "IPv4", &Value::Null, &Value::Null),
    ];
    let expected = [
        ("10.0.0.1".to_owned(), 8080, Some("a")),
        ("10.0.0.2".to_owned(), 8080, None),
        ("2001:db8::1".to_owned(), 8080, None),
        ("db.internal".to_owned(), 8080, None),
    ];
    assert_eq!(shown(&places(&all, None).unwrap()), expected);
}

#[test]
fn those_that_end_serve_if_none_is_ready() {
    let ending =
        json!({ "addresses": ["10.0.0.4"], "conditions": { "ready": false, "serving": true, "terminating": true } });
    let broken =
        json!({ "addresses": ["10.0.0.3"], "conditions": { "ready": false, "serving": false, "terminating": true } });
    let starting = json!({ "addresses": ["10.0.0.5"], "conditions": { "ready": false, "serving": true } });
    let all = [slice("a", "IPv4", &json!([ending, broken, starting]), &http())];
    assert_eq!(shown(&places(&all, None).unwrap()), [("10.0.0.4".to_owned(), 8080, None)]);
}

#[test]
fn a_port_is_known_by_its_name_or_number_or_is_the_only_one() {
    let one = json!([{ "addresses": ["10.0.0.1"] }]);
    let several = json!([
        { "name": "http", "port": 8080 }, { "name": "admin", "port": 9090 }, { "name": "dns", "port": 53, "protocol": "UDP" },
    ]);
    let all = [slice("a", "IPv4", &one, &several)];
    let port = |port: Option<Port>| places(&all, port.as_ref()).map(|all| all.first().map(|place| place.port));
    assert_eq!(port(Some(Port::Name("admin".into()))), Ok(Some(9090)));
    assert_eq!(port(Some(Port::Number(8080))), Ok(Some(8080)));
    assert_eq!(port(Some(Port::Name("none".into()))), Ok(None));
    assert_eq!(port(Some(Port::Name("dns".into()))), Ok(None), "nobody speaks HTTP there");
    assert!(port(None).is_err_and(|why| why.contains("several ports (http, admin, dns)")));
    let unnamed = [slice("a", "IPv4", &one, &json!([{ "name": "", "port": 80 }, { "port": 53, "protocol": "UDP" }]))];
    assert_eq!(places(&unnamed, None).unwrap()[0].port, 80);
    for nothing in [json!([{ "port": 0 }]), json!([{ "name": "any" }]), json!([])] {
        assert_eq!(places(&[slice("a", "IPv4", &one, &nothing)], None), Ok(Vec::new()));
    }
}

#[test]
fn changes_are_taken_over_and_name_the_version() {
    let one = slice("a", "IPv4", &json!([{ "addresses": ["10.0.0.1"] }]), &http());
    let line = |kind: &str, object: &Value| json!({ "type": kind, "object": object }).to_string().into_bytes();
    let (mut slices, mut version) = (Slices::default(), "1".to_owned());
    let mut taken = |lines: &[Vec<u8>]| {
        let changed = take(&mut slices, &mut version, lines);
        (
            changed.map_err(|broken| match broken {
                Broken::Gone => "gone".to_owned(),
                Broken::Failed(why) => why,
            }),
            slices.places(None).unwrap().len(),
            version.clone(),
        )
    };
    assert_eq!(taken(&[line("ADDED", &one)]), (Ok(true), 1, "5".into()));
    let bookmark = json!({ "kind": "EndpointSlice", "metadata": { "resourceVersion": "9" } });
    assert_eq!(taken(&[line("BOOKMARK", &bookmark)]), (Ok(false), 1, "9".into()));
    assert_eq!(taken(&[line("DELETED", &one)]), (Ok(true), 0, "5".into()));
    let gone = json!({ "kind": "Status", "code": 410, "message": "too old resource version: 1 (9)" });
    assert_eq!(taken(&[line("ERROR", &gone)]).0, Err("gone".into()));
    let broken = json!({ "kind": "Status", "code": 500, "message": "etcd is away" });
    assert_eq!(taken(&[line("ERROR", &broken)]).0, Err("the watch ends with 500: etcd is away".into()));
    for wrong in [&b"{}"[..], b"[]", b"{\"type\":\"ADDED\",\"object\":1}", b"{\"type\":\"NEW\",\"object\":{}}", b"x"] {
        assert!(taken(&[wrong.to_vec()]).0.is_err_and(|why| why.contains("no change of an EndpointSlice")));
    }
}

#[test]
fn slices_are_bounded() {
    let mut slices = Slices::default();
    let nothing = (0..=MOST_SLICES).map(|n| slice(&format!("s{n}"), "IPv4", &Value::Null, &Value::Null));
    let list = json!({ "metadata": {}, "items": nothing.collect::<Vec<_>>() }).to_string();
    let all = List::read(list.as_bytes()).unwrap().items;
    assert!(slices.extend(all).is_err_and(|why| why.contains("more than")));
    assert!(List::read(b"{\"kind\":\"Status\"}").is_err());
    assert_eq!(refused(403, br#"{"message":"forbidden"}"#), "the API server answers 403: forbidden");
    assert_eq!(refused(502, b"<html>"), "the API server answers 502");
}

#[test]
fn lines_are_cut_where_they_end() {
    let mut read = b"{\"a\":1}\n\n{\"b\"".to_vec();
    assert_eq!(cut(&mut read), [b"{\"a\":1}"]);
    read.extend_from_slice(b":2}\r\n");
    assert_eq!(cut(&mut read), [b"{\"b\":2}\r"]);
    assert_eq!((cut(&mut read), read.len()), (Vec::new(), 0));
}

#[test]
fn a_token_is_read_without_its_newline() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "abc.def\n").unwrap();
    assert_eq!(read(&file), Ok("abc.def".into()));
    for wrong in ["", "a b", "a\nb"] {
        fs::write(&file, wrong).unwrap();
        assert!(read(&file).is_err_and(|why| why.contains("it is no token")), "{wrong}");
    }
    fs::write(&file, "x".repeat(70_000)).unwrap();
    assert!(read(&file).is_err_and(|why| why.contains("too large")));
    fs::remove_file(&file).unwrap();
    assert!(read(&file).is_err());
}

/// An API server that lists, and lets nobody watch.
#[derive(Debug, Default)]
struct NoWatch {
    watches: AtomicUsize,
}

impl Caller for NoWatch {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        let list = json!({ "metadata": { "resourceVersion": "7" }, "items": [] }).to_string();
        let refusal = br#"{"kind":"Status","message":"watching is \"forbidden\""}"#;
        let (status, body) = if call.url.contains("watch=true") {
            self.watches.fetch_add(1, Relaxed);
            (403, refusal.to_vec())
        } else {
            (200, list.into_bytes())
        };
        Box::pin(std::future::ready(Ok(Answer { status, fields: Vec::new(), body })))
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_list_and_not_watch_is_asked_less_and_less_and_hears_why() {
    let clock = Clock::real();
    let server = Arc::<NoWatch>::default();
    let (metrics, runtime) = (Metrics::new(1), Handle::current());
    let servers = crate::dns::Settings {
        servers: vec!["127.0.0.1:1".parse().unwrap()],
        timeout: Duration::from_millis(50),
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(60),
    };
    let dns = Dns::new(&servers, runtime.clone(), clock.clone(), Arc::clone(&metrics), None).unwrap();
    let settings = Settings { url: "http://api".into(), token: None, hold: Duration::from_secs(3600) };
    let caller = Arc::clone(&server);
    let kubernetes = Kubernetes::new(settings, caller, dns, runtime, clock, metrics);
    let source = kubernetes.source(Wanted { namespace: "shop".into(), service: "orders".into(), port: None });
    let mut views = source.watch();
    let stale = views.wait_for(|view| matches!(view.state, State::Stale { .. })).await.unwrap().clone();
    let State::Stale { error, .. } = &stale.state else { panic!("{stale:?}") };
    assert!(error.contains("answers 403: watching is \"forbidden\""), "{error}");
    tokio::time::sleep(Duration::from_secs(120)).await;
    // 1, 2, 4, 8, 16, 30, 30 s.
    let asked = server.watches.load(Relaxed);
    assert!((5..=9).contains(&asked), "{asked}");
}
