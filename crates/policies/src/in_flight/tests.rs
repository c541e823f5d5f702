use tollgate_testkit::bench::{Bench, Outcome};

use super::*;
use crate::auth::AuthConfig;

fn bench_of(yaml: &str) -> Bench {
    Bench::of::<AuthConfig>("idp").and::<InFlightConfig>(yaml)
}

fn by(bench: &Bench, who: &str) -> Outcome {
    bench.request("GET", "/", &[("Authorization", &format!("Bearer idp.{who}"))])
}

#[test]
fn so_many_at_once_and_whoever_is_done_makes_room() {
    let bench = Bench::of::<InFlightConfig>("2 per ip");
    let (first, _second) = (bench.get("/").passes(), bench.get("/").passes());
    let refused = bench.get("/").refused_with("in_flight/exceeded").replies(429);
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    assert_eq!(refused.problem()["limit"], "2 per ip");
    assert_eq!(refused.problem()["detail"], "`2 per ip`: 2 are in flight");
    let other = "192.0.2.9".parse().unwrap();
    let _other = bench.request_from(other, "GET", "/", &[]).passes();
    drop(first);
    let _third = bench.get("/").passes();
    bench.get("/").refused_with("in_flight/exceeded");
}

#[test]
fn who_is_refused_takes_no_room() {
    let bench = Bench::of::<InFlightConfig>("[3, 1 per ip]");
    let first = bench.get("/").passes();
    let refused: Vec<_> = (0..9).map(|_| bench.get("/").refused_with("in_flight/exceeded")).collect();
    drop(refused);
    let others: Vec<_> =
        ["192.0.2.1", "192.0.2.2"].map(|ip| bench.request_from(ip.parse().unwrap(), "GET", "/", &[]).passes()).into();
    drop((first, others));
    bench.get("/").passes();
}

#[test]
fn where_callers_are_not_told_apart_it_is_nobodys_fault() {
    for (yaml, slug, status) in [
        ("1", "in_flight/full", 503),
        ("1 per api", "in_flight/full", 503),
        ("1 per route and api", "in_flight/full", 503),
        ("1 per host", "in_flight/full", 503),
        ("1 per host and ip", "in_flight/exceeded", 429),
        ("1 per header X-Tenant", "in_flight/exceeded", 429),
    ] {
        let bench = Bench::of::<InFlightConfig>(yaml);
        let _first = bench.get("/").passes();
        bench.get("/").refused_with(slug).replies(status);
    }
}

#[test]
fn callers_are_told_apart_and_applications_may_have_their_own() {
    let bench = bench_of("{ most: 1, per: user, consumers: { other: 9 } }");
    let _alice = by(&bench, "alice").passes();
    by(&bench, "alice").refused_with("in_flight/exceeded");
    let _bob = by(&bench, "bob").passes();
    let bench = bench_of("{ most: 1, consumers: { shop: 2 } }");
    let _two = (by(&bench, "alice").passes(), by(&bench, "bob").passes());
    assert!(by(&bench, "bob").refused_with("in_flight/full").problem()["detail"].as_str().unwrap().contains(": 2 are"));
    let free = bench_of("{ most: 1, consumers: { shop: none } }");
    let _any: Vec<_> = (0..9).map(|_| by(&free, "alice").passes()).collect();
}

#[test]
fn what_needs_no_caller_runs_before_auth() {
    let order = |yaml| bench_of(yaml).describe().iter().map(|line| line.starts_with("1")).collect::<Vec<_>>();
    for yaml in ["1", "1 per ip and header X", "{ most: 1, except: 'ip == \"127.0.0.1\"' }"] {
        assert_eq!(order(yaml), [true, false], "{yaml}");
    }
    for yaml in
        ["1 per user", "1 per claims.sub", "{ most: 1, consumers: { a: 2 } }", "{ most: 1, except: '\"a\" in scopes' }"]
    {
        assert_eq!(order(yaml), [false, true], "{yaml}");
    }
}

#[test]
fn a_country_has_so_many_and_what_is_not_known_is_one() {
    let bench = Bench::of::<InFlightConfig>("1 per country");
    let from = |ip: &str| bench.request_from(ip.parse().unwrap(), "GET", "/", &[]);
    let _austria = from("203.0.113.1").passes();
    from("203.0.113.99").refused_with("in_flight/exceeded");
    let _unknown = from("192.0.2.1").passes();
    from("unix").refused_with("in_flight/exceeded");
}

#[test]
fn exceptions_are_not_counted() {
    let bench = bench_of("{ most: 1, except: '\"free\" in scopes || claims.tier == \"gold\"' }");
    let _any: Vec<_> = (0..9).map(|_| by(&bench, "alice.free").passes()).collect();
    let _one = by(&bench, "alice").passes();
    by(&bench, "alice").refused_with("in_flight/full");
}

#[test]
fn a_shadow_counts_and_refuses_nobody() {
    let bench = Bench::of::<InFlightConfig>("{ most: 1, shadow: true }");
    let first = bench.get("/").passes();
    assert!(first.exchange().trail.shadow.is_none());
    let second = bench.get("/").passes();
    assert_eq!(second.exchange().trail.shadow.map(|fault| fault.slug), Some("in_flight/full"));
    drop(first);
    assert!(bench.get("/").passes().exchange().trail.shadow.is_none(), "who would be refused would not be there");
}

#[test]
fn it_says_what_it_does() {
    let told = |yaml| Bench::of::<InFlightConfig>(yaml).describe().remove(0);
    assert_eq!(told("20  per ip/56 and api"), "20 per ip/56 and api at once");
    assert_eq!(
        told("{ most: 5, name: fair, except: 'request.method == \"GET\"', shadow: true }"),
        "fair: 5 at once, except if request.method == \"GET\" (shadow: refuses nobody)"
    );
    assert_eq!(bench_of("{ most: 5, consumers: { a: 9, b: none } }").describe()[1], "5 at once, a 9, b none");
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<InFlightConfig>(yaml).join("; ");
    for wrong in ["20 per", "many", "20 for user", "20 per user per ip", "20/s per ip", "0", "-1", "2000000000"] {
        assert!(told(wrong).contains("from 1 to 1000000000"), "{wrong}: {}", told(wrong));
    }
    assert!(told("20 per users").contains("did you mean `user`?"));
    assert!(told("[]").contains("from 1 to 16"));
    assert!(told("{ most: 5, name: '' }").contains("1 to 128"));
    assert!(told("{ most: 5, consumers: { a: 0 } }").contains("from 1 to 1000000000"));
    assert!(told("{ most: 5, consumers: { a: 9/s } }").contains("`9/s` is no number"));
    assert!(told("{ most: 5, rate: 3 }").contains("rate"));
}
