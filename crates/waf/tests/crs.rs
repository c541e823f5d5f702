//! The Core Rule Set of Debian: it loads as it is, refuses attacks, and lets harmless requests pass.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use support::{Kind, cases, crs, guard, tuned};
use tollgate_waf::{Exclusion, Guard, Refusal, Request, Target, Tuning};

#[test]
fn every_rule_for_requests_is_run_but_for_those_that_need_what_is_not_here() {
    for (level, run, above) in [(1, 448, 77), (2, 497, 27), (3, 517, 7), (4, 524, 0)] {
        let guard = Guard::new(crs(level), &Tuning::default()).unwrap();
        assert_eq!((guard.count(), guard.above()), (run, above), "level {level}");
        let mut not_run: Vec<u64> = guard.not_run().map(|own| own.id).collect();
        not_run.sort_unstable();
        // Reputation of addresses, lists elsewhere, and counting from one request to the next.
        let expected =
            [910_000, 910_100, 910_120, 910_140, 912_110, 912_120, 912_130, 912_140, 912_150, 912_160, 912_161];
        assert!(expected.iter().all(|id| not_run.contains(id)), "{not_run:?}");
        assert!(not_run.iter().all(|id| [910, 912, 949].contains(&(id / 1000))), "{not_run:?}");
    }
}

#[test]
fn attacks_are_refused_and_harmless_requests_pass() {
    let guard = guard(1);
    for case in cases() {
        let verdict = guard.inspect(&case.request);
        assert_eq!(verdict.refused.is_some(), case.kind == Kind::Attack, "{}: {verdict:?}", case.name);
        if case.kind == Kind::Attack {
            assert_eq!(verdict.refused, Some(Refusal::Rule(949_110)), "{}", case.name);
            assert!(verdict.score >= verdict.threshold && verdict.findings.len() > 1, "{}: {verdict:?}", case.name);
        }
    }
}

fn asked(guard: &Guard, target: &str) -> Vec<u64> {
    let request = support::request("GET", target, support::browser(&[]), "");
    guard.inspect(&request).findings.into_iter().map(|finding| finding.rule).filter(|rule| *rule != 949_110).collect()
}

#[test]
fn the_score_is_held_against_the_threshold() {
    let attack = cases().into_iter().find(|case| case.name == "sqli4").unwrap().request;
    for (threshold, is_refused) in [(5, true), (10, true), (11, false)] {
        let tuning = Tuning { pinned: vec![("inbound_anomaly_score_threshold", threshold.to_string())], ..tuned() };
        let verdict = Guard::new(crs(1), &tuning).unwrap().inspect(&attack);
        assert_eq!((verdict.score, verdict.threshold), (Some(10), Some(threshold)));
        assert_eq!(verdict.refused.is_some(), is_refused, "{threshold}");
    }
}

#[test]
fn what_is_left_out_is_not_asked() {
    let rule = |id: &str| Exclusion { rule: Some(id.to_owned()), ..Exclusion::default() };
    let argument = |name: &str| vec![Target { collection: "ARGS", name: name.to_owned() }];
    let attack = "?id=1'%20OR%20'1'='1";
    for (exclusion, target, expected) in [
        (rule("942100"), format!("/{attack}"), &[][..]),
        (rule("942000-942099"), format!("/{attack}"), &[942_100]),
        (rule("942000-942999"), format!("/{attack}"), &[]),
        (Exclusion { tag: Some("attack-sqli".to_owned()), ..Exclusion::default() }, format!("/{attack}"), &[]),
        (Exclusion { path: Some("/search/**".to_owned()), ..rule("942100") }, format!("/search/a{attack}"), &[]),
        (Exclusion { path: Some("/search/**".to_owned()), ..rule("942100") }, format!("/search{attack}"), &[]),
        (Exclusion { path: Some("/search/**".to_owned()), ..rule("942100") }, format!("/searches{attack}"), &[942_100]),
        (Exclusion { path: Some("/search".to_owned()), ..rule("942100") }, format!("/search/a{attack}"), &[942_100]),
        (Exclusion { targets: argument("ID"), ..rule("942100") }, format!("/{attack}"), &[]),
        (Exclusion { targets: argument("i*"), ..rule("942100") }, format!("/{attack}"), &[]),
        (Exclusion { targets: argument("q"), ..rule("942100") }, format!("/{attack}"), &[942_100]),
        (
            Exclusion { targets: argument("id"), path: Some("/a".to_owned()), ..rule("942100") },
            format!("/{attack}"),
            &[942_100],
        ),
        (
            Exclusion { targets: argument("id"), path: Some("/a".to_owned()), ..rule("942100") },
            format!("/a{attack}"),
            &[],
        ),
    ] {
        let guard = Guard::new(crs(1), &Tuning { exclude: vec![exclusion.clone()], ..tuned() }).unwrap();
        assert_eq!(asked(&guard, &target), expected, "{exclusion:?} {target}");
        assert!(guard.unused().is_empty());
    }
    let guard = Guard::new(crs(1), &Tuning { exclude: vec![rule("999999"), rule("942130")], ..tuned() }).unwrap();
    assert_eq!(guard.unused(), ["999999"], "a rule of a higher level is known");
}

#[test]
fn bodies_that_are_not_what_they_say_are_refused() {
    let guard = guard(1);
    for (content_type, body, refused) in [
        ("application/json", "{\"a\":", Some(200_002)),
        ("application/json", "{\"a\":1}", None),
        ("application/vnd.example.v2+json", "{\"a\":1}", None),
        ("application/vnd.example.v2+json; charset=utf-8", "{\"a\":\"' or 1=1--\"}", Some(949_110)),
        ("text/xml", "<!DOCTYPE a><a/>", Some(200_002)),
        (
            "multipart/form-data; boundary=X",
            "--X\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--X--evil",
            Some(200_003),
        ),
        ("multipart/form-data; boundary=X", "--Y", Some(200_002)),
        // Of a type that is not read, and not allowed.
        ("text/plain", "hello", Some(949_110)),
    ] {
        let headers = support::browser(&[("Content-Type", content_type), ("Content-Length", &body.len().to_string())]);
        let verdict = guard.inspect(&support::request("POST", "/", headers, body));
        assert_eq!(verdict.refused, refused.map(Refusal::Rule), "{content_type} {body}: {verdict:?}");
    }
    let many = format!("/?{}", "a=1&".repeat(2001));
    let verdict = guard.inspect(&support::request("GET", &many, support::browser(&[]), ""));
    assert_eq!(verdict.refused, Some(Refusal::Rule(200_002)));
    assert!(verdict.findings[0].message.contains("more than 2000 arguments"), "{verdict:?}");
}

#[test]
fn no_request_takes_more_than_so_much_work() {
    let guard = guard(4);
    let body = (0..2000).map(|at| format!("k{at}={}", "select ".repeat(100))).collect::<Vec<_>>().join("&");
    let headers = support::browser(&[("Content-Type", "application/x-www-form-urlencoded")]);
    let verdict = guard.inspect(&support::request("POST", "/", headers, &body));
    assert_eq!(verdict.refused, Some(Refusal::Work), "{}", verdict.work);
}

#[test]
fn rules_are_for_all_threads() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Guard>();
    let _ = Request::default().size();
}
