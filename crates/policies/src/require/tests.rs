use serde_json::json;
use tollgate_testkit::bench::Bench;

use super::*;

#[test]
fn all_that_is_missing_is_told_at_once() {
    let bench = Bench::of::<RequireConfig>("[X-Correlation-ID, X-Tenant, Accept]");
    let refused = bench.request("GET", "/", &[("Accept", "*/*")]).refused_with("require/header").replies(400);
    assert_eq!(refused.problem()["missing"], json!(["X-Correlation-ID", "X-Tenant"]));
    assert_eq!(refused.problem()["detail"], "`X-Correlation-ID`, `X-Tenant` are missing");
    bench.request("GET", "/", &[("accept", "a"), ("x-tenant", "b"), ("x-correlation-id", "c")]).passes();
}

#[test]
fn an_empty_header_counts_as_missing() {
    let bench = Bench::of::<RequireConfig>("X-Tenant");
    let refused = bench.request("GET", "/", &[("X-Tenant", "")]).refused_with("require/header");
    assert_eq!(refused.problem()["detail"], "`X-Tenant` is missing");
}

#[test]
fn query_parameters_are_compared_decoded_and_by_their_whole_name() {
    let bench = Bench::of::<RequireConfig>("query: [page, größe]");
    bench.get("/?a=1&page=2&gr%C3%B6%C3%9Fe=3").passes();
    for target in ["/", "/?page=1", "/?page=&gr%C3%B6%C3%9Fe=3", "/?mypage=1&gr%C3%B6%C3%9Fe=3"] {
        bench.get(target).refused_with("require/query").replies(400);
    }
}

#[test]
fn only_the_content_types_named_are_taken() {
    let bench = Bench::of::<RequireConfig>("content_type: [application/json, image/*]");
    let post = |kind| bench.request("POST", "/", &[("Content-Length", "3"), ("Content-Type", kind)]);
    for kind in ["application/json", "Application/JSON; charset=utf-8", "image/png", "application/json ;a=b"] {
        post(kind).passes();
    }
    for kind in ["text/plain", "application/json2", "application", "image/", "", "text/plain;application/json"] {
        let refused = post(kind).refused_with("require/content-type").replies(415);
        assert_eq!(refused.header("accept").as_deref(), Some("application/json, image/*"), "{kind}");
    }
}

#[test]
fn a_body_must_say_its_type_once_and_without_a_body_none_is_asked_for() {
    let bench = Bench::of::<RequireConfig>("content_type: application/json");
    bench.get("/").passes();
    bench.request("POST", "/", &[("Content-Length", "0")]).passes();
    bench.request("POST", "/", &[("Transfer-Encoding", "chunked")]).refused_with("require/content-type");
    let json = ("Content-Type", "application/json");
    bench.request("POST", "/", &[("Content-Length", "2"), json, json]).refused_with("require/content-type");
}

#[test]
fn mistakes_in_the_section_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<RequireConfig>(yaml).join("; ");
    assert_eq!(told("{}"), "nothing is required here (for example `require: X-Correlation-ID`)");
    assert_eq!(told("headers: 'a b'"), "`a b` is no header name (letters, digits and `-`: `X-Request-ID`)");
    assert!(told("content_type: json").contains("a type and a subtype"));
    assert!(told("content_type: a/b;c=d").contains("without parameters"));
    assert!(told("content_type: '*/*'").contains("only for the whole subtype"));
    assert!(told("query: a=b").contains("the name alone"));
}

#[test]
fn only_by_tls() {
    let bench = Bench::of::<RequireConfig>("tls: required");
    bench.get("/").refused_with("require/tls").replies(403);
    bench.secured("TLSv1.2").get("/").passes();
    let newer = || Bench::of::<RequireConfig>("tls: 1.3");
    newer().get("/").refused_with("require/tls");
    let refused = newer().secured("TLSv1.2").get("/").refused_with("require/tls");
    assert_eq!(refused.problem()["detail"], "TLS 1.3 is asked for");
    newer().secured("TLSv1.3").get("/").passes();
}

#[test]
fn no_larger_than_is_taken() {
    let bench = Bench::of::<RequireConfig>("at_most: { target: 16B, head: 300B, field: 64B, fields: 3 }");
    bench.request("GET", "/23456789012345?", &[("A", &"x".repeat(64))]).passes();
    bench.get("/2345678901234?67").refused_with("require/target").replies(414);
    let refused = bench.request("GET", "/", &[("X-Long", &"x".repeat(65))]).refused_with("require/head").replies(431);
    assert_eq!(refused.problem()["detail"], "`X-Long` is longer than 64 bytes");
    let many = bench.request("GET", "/", &[("A", "b"), ("B", "c"), ("C", "d")]).refused_with("require/head");
    assert_eq!(many.problem()["detail"], "it has more than 3 fields");
    let name = "X-".repeat(150);
    let large = bench.request("GET", "/", &[(&name, "b")]).refused_with("require/head");
    assert_eq!(large.problem()["detail"], "it is larger than 300 bytes");
}

#[test]
fn a_body_tells_its_length() {
    let bench = Bench::of::<RequireConfig>("length: required");
    bench.get("/").passes();
    bench.request("POST", "/", &[("Content-Length", "3")]).passes();
    bench.request("POST", "/", &[("Transfer-Encoding", "chunked")]).refused_with("require/length").replies(411);
}

#[test]
fn exceptions_are_named_by_path_method_or_condition() {
    let bench = Bench::of::<RequireConfig>(
        "{ headers: X-Tenant, except: [/health/**, 'GET /public/{name}', 'header(\"X-Old\") == \"yes\" && request.method == \"PUT\"'] }",
    );
    for (method, target, old, passes) in [
        ("GET", "/", "", false),
        ("GET", "/health/live", "", true),
        ("POST", "/health", "", true),
        ("GET", "/health%2Flive", "", false),
        ("GET", "/public/a", "", true),
        ("POST", "/public/a", "", false),
        ("PUT", "/", "yes", true),
        ("GET", "/", "yes", false),
    ] {
        let outcome = bench.request(method, target, &[("X-Old", old)]);
        assert_eq!(!outcome.is_refused(), passes, "{method} {target} {old}");
    }
    let refused = Bench::of::<RequireConfig>("{ headers: X-Tenant, except: 'int(header(\"X\")) == 1' }").get("/");
    refused.refused_with("require/header");
}

#[test]
fn a_shadow_tells_and_refuses_nobody() {
    let bench = Bench::of::<RequireConfig>("{ headers: X-Tenant, tls: required, shadow: true }");
    let outcome = bench.get("/").passes();
    assert_eq!(outcome.exchange().trail.shadow.map(|fault| fault.slug), Some("require/tls"));
}

#[test]
fn it_says_what_it_asks_for() {
    let told = |yaml| Bench::of::<RequireConfig>(yaml).describe().remove(0);
    assert_eq!(
        told(
            "{ tls: 1.3, length: required, at_most: { target: 2KiB, fields: 50 }, except: [GET /a, 'ip == \"::1\"'], shadow: true }"
        ),
        "TLS 1.3; at most 2048 bytes of target, 50 fields; the length of a body; except GET /a, ip == \"::1\" (shadow: refuses nobody)"
    );
    let mistakes = |yaml| Bench::mistakes::<RequireConfig>(yaml).join("; ");
    assert!(mistakes("{ at_most: {} }").contains("nothing is required"));
    assert!(mistakes("{ except: [/a] }").contains("nothing is required"));
    assert!(mistakes("{ tls: 1.1 }").contains("did you mean `1.2`?"));
    assert!(mistakes("{ at_most: { target: 1 } }").contains("out of range"));
}
