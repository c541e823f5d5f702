//! What is asked of Consul, and how it is understood; over the wire it is in `tests/r4_sources.rs`.

use std::sync::Mutex;

use tollgate_core::caller::CallError;
use tollgate_core::policy::BoxFuture;

use super::*;
use crate::dns;
use crate::places::Host;
use crate::{State, View};

/// Answers with what was put in, one after the other, and then not at all.
#[derive(Debug, Default)]
struct Scripted {
    asked: Mutex<Vec<Call>>,
    answers: Mutex<Vec<Result<Answer, CallError>>>,
}

impl Caller for Scripted {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        self.asked.lock().unwrap().push(call);
        let mut answers = self.answers.lock().unwrap();
        if answers.is_empty() {
            return Box::pin(std::future::pending());
        }
        let answer = answers.remove(0);
        Box::pin(async { answer })
    }
}

fn answer(index: &str, body: &str) -> Answer {
    Answer { status: 200, fields: vec![("x-consul-index".into(), index.into())], body: body.into() }
}

fn entry(address: &str, port: u16) -> String {
    format!(r#"[{{"Node":{{"Address":"10.9.9.9"}},"Service":{{"Address":"{address}","Port":{port}}},"Checks":[]}}]"#)
}

fn wanted() -> Wanted {
    Wanted { service: "orders".into(), tags: Vec::new(), datacenter: None, warning: false }
}

fn settings() -> Settings {
    Settings {
        url: "http://127.0.0.1:8500/".into(),
        token: None,
        datacenter: None,
        consistency: Consistency::Default,
        wait: Duration::from_secs(30),
        hold: Duration::from_millis(50),
    }
}

fn consul(settings: Settings, answers: Vec<Result<Answer, CallError>>) -> (Arc<Consul>, Arc<Scripted>) {
    let caller = Arc::new(Scripted { answers: Mutex::new(answers), ..Scripted::default() });
    let (runtime, clock, metrics) = (Handle::current(), Clock::real(), Metrics::new(1));
    let names = dns::Settings {
        servers: vec![([127, 0, 0, 1], 1).into()],
        timeout: Duration::from_secs(1),
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(1),
    };
    let dns = Dns::new(&names, runtime.clone(), clock.clone(), Arc::clone(&metrics), None).unwrap();
    (Consul::new(settings, caller.clone(), dns, runtime, clock, metrics), caller)
}

fn addresses(view: &View) -> Vec<String> {
    view.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
}

#[tokio::test]
async fn questions_say_all_that_is_wanted() {
    let all = Settings {
        token: Some("s3cret".into()),
        datacenter: Some("dc1".into()),
        consistency: Consistency::Stale,
        ..settings()
    };
    let (consul, _) = consul(all.clone(), Vec::new());
    let base = "http://127.0.0.1:8500/v1/health/service/";
    assert_eq!(consul.url(&wanted(), 0), format!("{base}orders?passing=true&dc=dc1&stale=true"));
    let wanted = Wanted {
        service: "a/b c".into(),
        tags: vec!["v2".into(), "x&y".into()],
        datacenter: Some("dc2".into()),
        warning: true,
    };
    let expected = format!("{base}a%2Fb%20c?tag=v2&tag=x%26y&dc=dc2&stale=true&index=7&wait=30000ms");
    assert_eq!(consul.url(&wanted, 7), expected);
    assert!(!format!("{all:?}").contains("s3cret"));
}

#[test]
fn an_index_that_goes_back_begins_anew_and_none_is_waited_for() {
    assert_eq!(next(0, Some(7)), 7);
    assert_eq!(next(7, Some(7)), 7);
    assert_eq!(next(7, Some(6)), 0);
    assert_eq!(next(0, Some(0)), 1);
    assert_eq!(next(0, None), 1);
    assert_eq!(next(7, Some(0)), 0);
}

#[tokio::test]
async fn the_next_question_waits_for_what_is_newer() {
    let (consul, caller) = consul(settings(), vec![Ok(answer("7", &entry("10.0.0.1", 80))), Ok(answer("9", "[]"))]);
    let source = consul.source(wanted());
    let mut view = source.watch();
    view.wait_for(|view| view.state == State::Fresh && view.endpoints.is_empty()).await.unwrap();
    while caller.asked.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    let asked = caller.asked.lock().unwrap();
    let indexes: Vec<_> = asked.iter().map(|call| call.url.split_once("index=").map(|(_, index)| index)).collect();
    assert_eq!(indexes, [None, Some("7&wait=30000ms"), Some("9&wait=30000ms")]);
    assert!(asked[1].timeout > Duration::from_secs(36), "{:?}", asked[1].timeout);
}

#[tokio::test]
async fn instances_are_held_when_there_is_no_answer_and_then_lapse() {
    let broken = || Err(CallError("connection refused".into()));
    let (consul, caller) = consul(settings(), vec![Ok(answer("7", &entry("10.0.0.1", 80))), broken()]);
    let source = consul.source(wanted());
    let mut view = source.watch();
    let stale = view.wait_for(|view| matches!(view.state, State::Stale { .. })).await.unwrap().clone();
    assert_eq!(addresses(&stale), ["10.0.0.1:80"]);
    let State::Stale { error, .. } = &stale.state else { panic!("{stale:?}") };
    assert_eq!(error, "consul orders: connection refused");
    let lapsed = view.wait_for(|view| matches!(view.state, State::Lapsed { .. })).await.unwrap().clone();
    assert!(lapsed.endpoints.is_empty());
    // A second later it is asked again, for all.
    caller.answers.lock().unwrap().push(Ok(answer("3", &entry("10.0.0.2", 80))));
    let back = view.wait_for(|view| view.state == State::Fresh).await.unwrap().clone();
    assert_eq!(addresses(&back), ["10.0.0.2:80"]);
    assert!(!caller.asked.lock().unwrap()[2].url.contains("index="));
}

#[test]
fn what_is_no_answer_is_said() {
    let asked = |answer: Answer, consistency| understood(&answer, &wanted(), consistency);
    let with = |name: &str, value: &str, body: &str| Answer {
        status: 200,
        fields: vec![(name.into(), value.into())],
        body: body.into(),
    };
    let denied = Answer { status: 403, fields: Vec::new(), body: b"Permission denied\n".to_vec() };
    assert_eq!(asked(denied, Consistency::Default), Err("Consul answers 403: Permission denied".into()));
    let filtered = "x-consul-results-filtered-by-acls";
    assert!(asked(with(filtered, "true", "[]\n"), Consistency::Default).is_err());
    assert!(asked(with(filtered, "true", "[{}]"), Consistency::Default).is_ok(), "some are to be seen");
    assert!(asked(with(filtered, "false", "[]"), Consistency::Default).is_ok(), "there is none");
    let lost = || with("x-consul-knownleader", "false", "[]");
    assert!(asked(lost(), Consistency::Stale).is_err());
    assert!(asked(lost(), Consistency::Default).is_ok());
}

#[test]
fn an_answer_says_addresses_weights_and_zones() {
    let body = r#"[
      { "Node": { "Address": "10.0.0.1", "Meta": { "zone": "a" } },
        "Service": { "ID": "1", "Address": "", "Port": 80, "Weights": { "Passing": 10, "Warning": 1 } },
        "Checks": [{ "Status": "passing" }] },
      { "Node": { "Address": "10.0.0.1", "Meta": { "zone": "a" } },
        "Service": { "Address": "Web-2.Internal", "Port": 81, "Meta": { "zone": "b" }, "Weights": { "Passing": 10, "Warning": 2 } },
        "Checks": [{ "Status": "passing" }, { "Status": "warning" }] },
      { "Node": { "Address": "::1", "Meta": null }, "Service": { "Port": 82 }, "Checks": null },
      { "Node": { "Address": "10.0.0.4" }, "Service": { "Port": 0 } },
      { "Node": { "Address": "10.0.0.5" }, "Service": { "Port": 80, "Weights": { "Passing": 1, "Warning": 0 } },
        "Checks": [{ "Status": "warning" }] },
      { "Node": { "Address": "10.0.0.6" }, "Service": { "Port": 80 }, "Checks": [{ "Status": "critical" }] },
      { "Node": { "Address": "no host" }, "Service": { "Port": 80 } }
    ]"#;
    let place =
        |host, port, weight, zone: Option<&str>| Place { host, port, weight, zone: zone.map(Arc::from), group: 0 };
    let expected = [
        place(Host::Ip([10, 0, 0, 1].into()), 80, 10, Some("a")),
        place(Host::Name("web-2.internal".into()), 81, 2, Some("b")),
        place(Host::Ip("::1".parse().unwrap()), 82, 1, None),
    ];
    assert_eq!(answer::places(body.as_bytes()).unwrap(), expected);
    for wrong in ["", "null", "{}", r#"[{"Node":{}}]"#, "[1]"] {
        assert!(answer::places(wrong.as_bytes()).is_err_and(|why| why.starts_with("no answer of Consul")), "{wrong}");
    }
}
