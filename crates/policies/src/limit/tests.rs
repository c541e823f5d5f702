use std::time::Duration;

use serde_json::json;
use tollgate_testkit::bench::{Bench, Outcome};

use super::*;
use crate::auth::AuthConfig;

const SECOND: Duration = Duration::from_secs(1);

fn bench_of(yaml: &str) -> Bench {
    Bench::of::<AuthConfig>("idp").and::<LimitConfig>(yaml)
}

fn by(bench: &Bench, who: &str) -> Outcome {
    bench.request("GET", "/", &[("Authorization", &format!("Bearer idp.{who}"))])
}

#[test]
fn who_has_had_their_share_comes_again_later() {
    let bench = Bench::of::<LimitConfig>("10/s burst 2");
    for _ in 0..2 {
        bench.get("/").passes();
    }
    let refused = bench.get("/").refused_with("limit/exceeded").replies(429);
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    let problem = refused.problem();
    assert_eq!(problem["limit"], "10/s burst 2");
    assert_eq!(problem["violated-policies"], json!(["10/s burst 2"]));
    assert_eq!(problem["detail"], "`10/s burst 2` is used up; there is more in 1 s");
    bench.advance(SECOND / 10);
    bench.get("/").passes();
    bench.get("/").refused_with("limit/exceeded");
}

#[test]
fn callers_are_told_apart() {
    let bench = bench_of("1/h per user");
    by(&bench, "alice").passes();
    by(&bench, "alice").refused_with("limit/exceeded");
    by(&bench, "bob").passes();
    let bench = Bench::of::<LimitConfig>("1/h per header X-Tenant and request.method");
    let ask = |method, tenant| bench.request(method, "/", &[("X-Tenant", tenant)]);
    ask("GET", "a").passes();
    ask("GET", "a").refused_with("limit/exceeded");
    ask("POST", "a").passes();
    ask("GET", "b").passes();
    bench.get("/").passes();
    bench.request("GET", "/", &[("X-Tenant", "")]).refused_with("limit/exceeded");
}

#[test]
fn what_needs_no_caller_runs_before_auth() {
    let order = |yaml| bench_of(yaml).describe().iter().map(|line| line.starts_with("1/h")).collect::<Vec<_>>();
    for yaml in
        ["1/h", "1/h per ip", "1/h per header X and request.path", "{ rate: 1/h, except: 'ip == \"127.0.0.1\"' }"]
    {
        assert_eq!(order(yaml), [true, false], "{yaml}");
    }
    for yaml in [
        "1/h per user",
        "1/h per ip and claims.sub",
        "{ rate: 1/h, consumers: { shop: none } }",
        "{ rate: 1/h, except: '\"admin\" in scopes' }",
        "{ rate: 1/h, cost: claims.level }",
    ] {
        assert_eq!(order(yaml), [false, true], "{yaml}");
    }
}

#[test]
fn all_limits_have_to_have_room_and_all_tell_what_is_left() {
    let bench =
        Bench::of::<LimitConfig>("[3/s, { rate: 100/min, burst: 2, name: 'per \"min\"', headers: both }, 9/day]");
    let answer = bench.get("/").response(200, &[("RateLimit", "\"own\";r=1")]);
    assert_eq!(
        answer.headers("ratelimit"),
        ["\"own\";r=1", "\"9/day\";r=8;t=86400", "\"per \\\"min\\\"\";r=1;t=1", "\"3/s\";r=2;t=1"]
    );
    assert_eq!(
        answer.headers("ratelimit-policy"),
        ["\"9/day\";q=9;w=86400", "\"per \\\"min\\\"\";q=100;w=60", "\"3/s\";q=3;w=1"]
    );
    let x =
        |answer: &Outcome| ["limit", "remaining", "reset"].map(|name| answer.header(&format!("x-ratelimit-{name}")));
    assert_eq!(x(&answer), ["100", "1", "1"].map(|text| Some(text.to_owned())));
    bench.get("/").passes();
    let refused = bench.get("/").refused_with("limit/exceeded");
    assert_eq!(refused.problem()["limit"], "per \"min\"");
    assert_eq!(refused.headers("ratelimit"), ["\"per \\\"min\\\"\";r=0;t=2", "\"3/s\";r=1;t=1"]);
    assert_eq!(refused.header("x-ratelimit-remaining").as_deref(), Some("0"));
    let silent = Bench::of::<LimitConfig>("{ rate: 1/s, headers: none }");
    assert_eq!(silent.get("/").response(200, &[]).headers("ratelimit").len(), 0);
    assert_eq!(silent.get("/").refused_with("limit/exceeded").header("ratelimit"), None);
}

#[test]
fn what_one_limit_refuses_is_no_loss_for_the_others() {
    for outer in ["9/h", "9/h exact", "9/day", "{ rate: 9/h, headers: none }"] {
        let bench = Bench::of::<LimitConfig>(&format!("[{outer}, 1/min burst 1]"));
        for _ in 0..9 {
            bench.get("/").passes();
            (0..20).for_each(|_| drop(bench.get("/").refused_with("limit/exceeded")));
            bench.advance(SECOND * 60);
        }
    }
}

#[test]
fn the_least_that_is_left_is_told_where_only_one_can_be() {
    let bench = Bench::of::<LimitConfig>("[{ rate: 2/s, headers: x }, { rate: 9/s, headers: x }]");
    let answer = bench.get("/").response(200, &[("X-RateLimit-Limit", "77")]);
    assert_eq!(answer.headers("x-ratelimit-limit"), ["2"]);
    assert_eq!(answer.headers("ratelimit").len(), 0);
}

#[test]
fn applications_have_rates_of_their_own_or_none() {
    let bench = bench_of("{ rate: 1/h, per: user, consumers: { shop: 2/h, 'https://x.example/y': none } }");
    by(&bench, "alice").passes();
    let second = by(&bench, "alice").response(200, &[]);
    assert_eq!(second.header("ratelimit-policy").as_deref(), Some("\"1/h per user\";q=2;w=3600"));
    by(&bench, "alice").refused_with("limit/exceeded");
    let free = bench_of("{ rate: 1/h, consumers: { shop: none } }");
    for _ in 0..3 {
        assert_eq!(by(&free, "alice").response(200, &[]).header("ratelimit"), None);
    }
}

#[test]
fn requests_take_as_much_as_they_cost() {
    let bench = Bench::of::<LimitConfig>("{ rate: 10/h, cost: 'request.method == \"POST\" ? 4 : 1' }");
    let ask = |method| bench.request(method, "/", &[]);
    ask("POST").passes();
    ask("POST").passes();
    ask("GET").passes();
    ask("POST").refused_with("limit/exceeded");
    ask("GET").passes();
    ask("GET").refused_with("limit/exceeded");
    let by_claim = bench_of_cost("claims.level");
    by(&by_claim, "alice").passes();
    by(&by_claim, "alice").refused_with("limit/exceeded");
    let unknown = bench_of_cost("claims.nothing");
    (0..5).for_each(|_| drop(by(&unknown, "alice").passes()));
    by(&unknown, "alice").refused_with("limit/exceeded");
    let negative = bench_of_cost("0 - 3");
    (0..9).for_each(|_| drop(by(&negative, "alice").passes()));
}

fn bench_of_cost(cost: &str) -> Bench {
    bench_of(&format!("{{ rate: 5/h, per: user, cost: '{cost}' }}"))
}

#[test]
fn exceptions_are_not_counted_and_what_cannot_be_told_is_none() {
    let bench = bench_of("{ rate: 1/h, except: '\"free\" in scopes || claims.tier == \"gold\"' }");
    (0..3).for_each(|_| drop(by(&bench, "alice.free").passes()));
    by(&bench, "alice").passes();
    by(&bench, "alice").refused_with("limit/exceeded");
}

#[test]
fn a_shadow_counts_and_refuses_nobody() {
    let bench = Bench::of::<LimitConfig>("{ rate: 1/h, shadow: true }");
    assert!(bench.get("/").passes().exchange().trail.shadow.is_none());
    let second = bench.get("/").response(200, &[]);
    assert_eq!(second.exchange().trail.shadow.map(|fault| fault.slug), Some("limit/exceeded"));
    assert_eq!(second.header("ratelimit"), None);
}

#[test]
fn it_says_what_it_does() {
    let told = |yaml| Bench::of::<LimitConfig>(yaml).describe().remove(0);
    assert_eq!(told("100/min  per ip/56 and api burst 20"), "100/min per ip/56 and api burst 20");
    assert_eq!(told("{ rate: 1/day, zone: Europe/Berlin, name: once }"), "once: 1/day in Europe/Berlin");
    assert_eq!(
        told("{ rate: 5/s, exact: true, cost: 2, except: 'request.method == \"GET\"', shadow: true }"),
        "5/s exact, each takes 2, except if request.method == \"GET\" (shadow: refuses nobody)"
    );
    assert_eq!(bench_of("{ rate: 5/s, consumers: { a: 9/s, b: none } }").describe()[1], "5/s, a 9/s, b none");
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<LimitConfig>(yaml).join("; ");
    assert!(told("100").contains("`100/min`"), "{}", told("100"));
    assert!(told("100/min for user").contains("`100/min per user and ip burst 20`"));
    assert!(told("100/min per").contains("`100/min per user and ip burst 20`"));
    assert!(told("100/min per user per ip").contains("no limit"));
    assert!(told("100/min per users").contains("did you mean `user`?"));
    assert!(told("1/day burst 3").contains("no bucket"));
    assert!(told("1/s exact burst 3").contains("no bucket"));
    assert!(told("1/day exact").contains("exact already"));
    assert!(told("1/s in Europe/Berlin").contains("as long everywhere"));
    assert!(told("1/day in Europe/Bärlin").contains("no time zone"));
    assert!(told("{ rate: 5/s, cost: 6 }").contains("never passes"));
    assert!(
        told("{ rate: 5/s, cost: 'request.path' }").contains("a whole number"),
        "{}",
        told("{ rate: 5/s, cost: 'request.path' }")
    );
    assert!(told("{ rate: 5/s, name: '' }").contains("1 to 128"));
    assert!(told("{ rate: 5/s, headers: all }").contains("one of: standard"));
    assert!(told("{ rate: 5/s, consumers: { a: 5 } }").contains("no rate"));
    assert!(told("[]").contains("from 1 to 16"));
    assert!(told("{ rate: 5/s, except: 'x' }").contains('x'));
}
