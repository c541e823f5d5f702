use super::*;
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::node::Value;
use tollgate_testkit::bench::{Bench, Outcome};

const SHOP: &str = "https://shop.example";

fn preflight(bench: &Bench, origin: &str, method: &str, headers: &str) -> Outcome {
    let mut fields = vec![("Origin", origin), ("Access-Control-Request-Method", method)];
    if !headers.is_empty() {
        fields.push(("Access-Control-Request-Headers", headers));
    }
    bench.request("OPTIONS", "/", &fields)
}

fn call(bench: &Bench, origin: &str) -> Outcome {
    bench.request("GET", "/", &[("Origin", origin)]).passes()
}

#[test]
fn a_preflight_is_answered_without_the_service() {
    let bench = Bench::example::<CorsConfig>();
    let answer = preflight(&bench, SHOP, "PUT", "authorization,X-A").replies(204);
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some(SHOP));
    assert_eq!(answer.header("access-control-allow-credentials").as_deref(), Some("true"));
    let methods = answer.header("access-control-allow-methods");
    assert_eq!(methods.as_deref(), Some("GET, HEAD, POST, PUT, PATCH, DELETE"));
    assert_eq!(answer.header("access-control-allow-headers").as_deref(), Some("authorization, X-A"));
    assert_eq!(answer.header("access-control-max-age").as_deref(), Some("3600"));
    assert_eq!(answer.headers("vary"), [PREFLIGHT_VARY]);
    assert_eq!(answer.header("access-control-expose-headers"), None);
    bench.preflight("https://a.b.shop.example").replies(204);
}

#[test]
fn a_preflight_that_is_not_allowed_says_why_and_carries_no_cors_fields() {
    let bench = Bench::of::<CorsConfig>("{ origins: https://shop.example, methods: [GET], headers: [X-A] }");
    for (answer, slug) in [
        (preflight(&bench, "https://evil.example", "GET", ""), "cors/origin"),
        (preflight(&bench, "null", "GET", ""), "cors/origin"),
        (preflight(&bench, SHOP, "PUT", ""), "cors/method"),
        (preflight(&bench, SHOP, "get", ""), "cors/method"),
        (preflight(&bench, SHOP, "GET", "x-a, x-b"), "cors/header"),
        (preflight(&bench, SHOP, "GET", "x a"), "cors/header"),
    ] {
        let answer = answer.refused_with(slug).replies(403);
        assert!(OURS.iter().all(|name| answer.header(name).is_none()));
        assert_eq!(answer.headers("vary"), [PREFLIGHT_VARY]);
    }
    let answer = preflight(&bench, SHOP, "GET", "x-a").replies(204);
    assert_eq!(answer.header("access-control-allow-headers").as_deref(), Some("x-a"));
}

#[test]
fn options_without_the_fields_of_a_preflight_goes_to_the_service() {
    let bench = Bench::of::<CorsConfig>("https://shop.example");
    bench.request("OPTIONS", "/", &[]).passes();
    bench.request("OPTIONS", "/", &[("Origin", SHOP)]).passes();
    bench.request("OPTIONS", "/", &[("Access-Control-Request-Method", "GET")]).passes();
    bench.request("POST", "/", &[("Origin", SHOP), ("Access-Control-Request-Method", "GET")]).passes();
}

#[test]
fn an_answer_is_shown_to_allowed_pages_only() {
    let bench = Bench::example::<CorsConfig>();
    let answer = call(&bench, SHOP).response(200, &[("Vary", "Accept")]);
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some(SHOP));
    assert_eq!(answer.header("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(answer.header("access-control-expose-headers").as_deref(), Some("X-Correlation-ID"));
    assert_eq!(answer.headers("vary"), ["Accept, Origin"]);
    for answer in [call(&bench, "https://evil.example"), bench.get("/").passes()] {
        let answer = answer.response(200, &[]);
        assert!(OURS.iter().all(|name| answer.header(name).is_none()));
        assert_eq!(answer.headers("vary"), ["Origin"]);
    }
}

#[test]
fn what_the_service_says_about_cors_is_replaced() {
    let bench = Bench::of::<CorsConfig>("https://shop.example");
    let sent = [("access-control-allow-origin", "*"), ("Access-Control-Allow-Credentials", "true"), ("X-A", "b")];
    let answer = call(&bench, SHOP).response(200, &sent);
    assert_eq!(answer.headers("access-control-allow-origin"), [SHOP]);
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("x-a").as_deref(), Some("b"));
    let answer = call(&bench, "https://evil.example").response(200, &sent);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn vary_is_merged_and_told_once() {
    let bench = Bench::of::<CorsConfig>("https://shop.example");
    let vary = |lines: &[(&str, &str)]| call(&bench, SHOP).response(200, lines).headers("vary");
    assert_eq!(vary(&[("Vary", "accept"), ("vary", "Cookie")]), ["accept, Cookie, Origin"]);
    assert_eq!(vary(&[("Vary", "Accept, origin")]), ["Accept, origin"]);
    assert_eq!(vary(&[("Vary", "*")]), ["*"]);
    assert_eq!(vary(&[("Vary", "")]), ["Origin"]);
}

#[test]
fn any_origin_is_told_to_everybody_and_varies_by_nothing() {
    let bench = Bench::of::<CorsConfig>("'*'");
    for passed in [call(&bench, "https://a.example"), call(&bench, "null"), bench.get("/").passes()] {
        let answer = passed.response(200, &[]);
        assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some("*"));
        assert_eq!(answer.header("vary"), None);
    }
    let answer = preflight(&bench, "https://a.example", "DELETE", "Authorization").replies(204);
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(answer.header("access-control-allow-headers").as_deref(), Some("Authorization"));
}

#[test]
fn refusals_of_other_policies_can_be_read_by_the_page() {
    let bench = Bench::of::<CorsConfig>("https://shop.example").and::<crate::require::RequireConfig>("X-Tenant");
    let refused = bench.request("GET", "/", &[("Origin", SHOP)]).refused_with("require/header").replies(400);
    assert_eq!(refused.header("access-control-allow-origin").as_deref(), Some(SHOP));
    preflight(&bench, SHOP, "GET", "x-tenant").replies(204);
}

#[test]
fn an_origin_that_a_later_policy_hides_from_the_service_still_counts() {
    let hides = "request: { remove: Origin }";
    let bench = Bench::of::<CorsConfig>("https://shop.example").and::<crate::headers::HeadersConfig>(hides);
    let passed = call(&bench, SHOP);
    assert_eq!(passed.request_headers("origin"), [""; 0]);
    let answer = passed.response(200, &[]);
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some(SHOP));
}

#[test]
fn an_origin_matches_whole() {
    let matches = |pattern: &str, origin: &str| {
        let mut cx = DecodeCx::default();
        let pattern = OriginPattern::decode(&Node::synthetic(Value::from(pattern)), &mut cx);
        pattern.unwrap_or_else(|| panic!("{:?}", cx.diagnostics)).matches(origin)
    };
    assert!(matches("HTTPS://Shop.Example", "https://shop.example"));
    assert!(matches("https://shop.example:443", "https://shop.example"));
    assert!(matches("http://localhost:3000", "http://localhost:3000"));
    assert!(matches("http://[::1]:3000", "http://[::1]:3000"));
    assert!(matches("capacitor://localhost", "capacitor://localhost"));
    for origin in
        ["http://shop.example", "https://shop.example:8443", "https://shop.example.evil", "https://xshop.example"]
    {
        assert!(!matches("https://shop.example", origin), "{origin}");
    }
    assert!(matches("https://*.shop.example", "https://a.b.shop.example"));
    assert!(matches("https://*.shop.example:8443", "https://a.shop.example:8443"));
    for origin in [
        "https://shop.example",
        "https://.shop.example",
        "https://ashop.example",
        "https://evil.example/.shop.example",
        "https://evil.example:1.shop.example",
        "https://evil@a.shop.example",
        "https://a..shop.example",
        "https://a.shop.example:8443",
        "http://a.shop.example",
        "https://a.shop.example.evil",
    ] {
        assert!(!matches("https://*.shop.example", origin), "{origin}");
    }
}

#[test]
fn mistakes_in_the_section_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<CorsConfig>(yaml).join("; ");
    assert!(told("{ origins: '*', credentials: true }").contains("cannot stand together"));
    assert!(told("{ origins: [https://a.example, '*'], credentials: true }").contains("name the origins"));
    assert!(told("{ origins: https://a.example, expose: '*', credentials: true }").contains("name the headers"));
    assert!(told("shop.example").contains("a scheme and a host"));
    assert!(told("'null'").contains("names nobody"));
    assert!(told("https://shop.example/").contains("without a path"));
    assert!(told("https://shop.example:0").contains("1..=65535"));
    assert!(told("https://a.*.example").contains("first part"));
    assert!(told("[]").contains("at least one origin"));
    assert!(told("{ methods: GET }").contains("`origins` is missing"));
    assert!(told("{ origins: '*', headers: ['*', X-A] }").contains("`headers: [X-A]`"));
    assert!(told("{ origins: '*', methods: [get] }").contains("did you mean `GET`?"));
    assert_eq!(told("{ origins: '*', headers: '*', max_age: 5s }"), "");
}
