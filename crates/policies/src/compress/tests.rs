use super::*;
use tollgate_testkit::bench::{Bench, Outcome};

const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");
const LARGE: (&str, &str) = ("Content-Length", "5000");

fn answered(yaml: &str, accepts: &str, status: u16, fields: &[(&str, &str)]) -> Outcome {
    Bench::of::<CompressConfig>(yaml).request("GET", "/", &[("Accept-Encoding", accepts)]).response(status, fields)
}

fn recoders(outcome: &Outcome) -> usize {
    outcome.exchange().reply.recoders.len()
}

#[track_caller]
fn stays(outcome: &Outcome) {
    assert_eq!(recoders(outcome), 0);
    assert_ne!(outcome.header("content-encoding").as_deref(), Some("br"));
}

#[test]
fn a_text_is_compressed_and_its_head_says_so() {
    let fields = [
        JSON,
        LARGE,
        ("ETag", "\"v1\""),
        ("Vary", "Origin"),
        ("Accept-Ranges", "bytes"),
        ("Content-MD5", "x"),
        ("Digest", "x"),
        ("Repr-Digest", "x"),
        ("Content-Digest", "x"),
    ];
    let answer = answered("on", "gzip, br", 200, &fields);
    assert_eq!(recoders(&answer), 1);
    assert_eq!(answer.headers("content-encoding"), ["br"]);
    assert_eq!(answer.headers("vary"), ["Origin, Accept-Encoding"]);
    assert_eq!(answer.headers("etag"), ["W/\"v1\""]);
    for gone in ["content-length", "accept-ranges", "content-md5", "digest", "repr-digest", "content-digest"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
}

#[test]
fn the_order_of_codings_decides_unless_the_client_weighs_them() {
    let fields = [JSON, LARGE];
    let coding = |yaml, accepts| answered(yaml, accepts, 200, &fields).header("content-encoding");
    assert_eq!(coding("on", "gzip, zstd").as_deref(), Some("zstd"));
    assert_eq!(coding("[gzip, br]", "gzip, br").as_deref(), Some("gzip"));
    assert_eq!(coding("[gzip, br]", "gzip;q=0.5, br").as_deref(), Some("br"));
    assert_eq!(coding("on", "identity;q=0, *").as_deref(), Some("br"));
}

#[test]
fn what_would_have_been_compressed_varies_all_the_same() {
    for accepts in ["identity", "gzip;q=0", "deflate"] {
        let answer = answered("on", accepts, 200, &[JSON, LARGE, ("ETag", "\"v1\"")]);
        stays(&answer);
        assert_eq!(answer.headers("vary"), ["Accept-Encoding"], "{accepts}");
        assert_eq!(answer.headers("etag"), ["\"v1\""]);
    }
    let bench = Bench::of::<CompressConfig>("on");
    let answer = bench.get("/").response(200, &[JSON, LARGE]);
    stays(&answer);
    assert_eq!(answer.headers("vary"), ["Accept-Encoding"]);
    let asked = bench.request("GET", "/", &[("Accept-Encoding", "br"), ("Cache-Control", "no-transform")]);
    stays(&asked.response(200, &[JSON, LARGE]));
}

#[test]
fn what_must_not_change_does_not() {
    let cases: &[(u16, &[(&str, &str)])] = &[
        (200, &[JSON, LARGE, ("Content-Encoding", "gzip")]),
        (200, &[JSON, LARGE, ("Cache-Control", "public, No-Transform")]),
        (200, &[JSON, ("Content-Length", "1023")]),
        (200, &[JSON, ("Content-Length", "0")]),
        (200, &[("Content-Type", "image/png"), LARGE]),
        (200, &[LARGE]),
        (204, &[JSON]),
        (206, &[JSON, LARGE, ("Content-Range", "bytes 0-4999/9000")]),
        (416, &[JSON, LARGE, ("Content-Range", "bytes */9000")]),
    ];
    for (status, fields) in cases {
        let answer = answered("on", "br", *status, fields);
        stays(&answer);
        assert_eq!(answer.header("vary"), None, "{fields:?}");
    }
}

#[test]
fn a_body_of_unknown_length_counts_as_long_enough() {
    assert_eq!(recoders(&answered("on", "br", 200, &[JSON, ("Transfer-Encoding", "chunked")])), 1);
    assert_eq!(recoders(&answered("on", "br", 404, &[JSON, ("Content-Length", "1024")])), 1);
    assert_eq!(recoders(&answered("min: 10KB", "br", 200, &[JSON, LARGE])), 0);
}

#[test]
fn head_and_not_modified_tell_what_get_would() {
    let bench = Bench::of::<CompressConfig>("on");
    let head = bench.request("HEAD", "/", &[("Accept-Encoding", "br")]).response(200, &[JSON, LARGE]);
    stays(&head);
    assert_eq!(head.headers("vary"), ["Accept-Encoding"]);
    let fresh = answered("on", "br", 304, &[("ETag", "\"v1\"")]);
    stays(&fresh);
    assert_eq!(
        (fresh.headers("vary"), fresh.headers("etag")),
        (vec!["Accept-Encoding".into()], vec!["W/\"v1\"".into()])
    );
}

#[test]
fn problems_of_the_gateway_are_compressed_too() {
    let bench = Bench::of::<CompressConfig>("{ min: 1 }").and::<crate::require::RequireConfig>("headers: [X-A]");
    let refused = bench.request("GET", "/", &[("Accept-Encoding", "gzip")]).refused_with("require/header");
    assert_eq!(refused.headers("content-encoding"), ["gzip"]);
    assert_eq!(recoders(&refused), 1);
}

#[test]
fn events_are_compressed_only_when_named() {
    let event = [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")];
    stays(&answered("on", "br", 200, &event));
    stays(&answered("types: ['*/*']", "br", 200, &event));
    assert_eq!(recoders(&answered("types: [text/event-stream]", "br", 200, &event)), 1);
}

#[test]
fn what_a_later_policy_hides_from_the_service_still_counts() {
    let bench = Bench::of::<CompressConfig>("on");
    let bench = bench.and::<crate::headers::HeadersConfig>("request: { remove: [Accept-Encoding] }");
    let passed = bench.request("GET", "/", &[("Accept-Encoding", "gzip")]).passes();
    assert!(passed.request_headers("accept-encoding").is_empty());
    assert_eq!(passed.response(200, &[JSON, LARGE]).headers("content-encoding"), ["gzip"]);
}

#[test]
fn types_may_be_patterns() {
    let matches = |pattern: &str, kind: &str| {
        let answer = answered(&format!("types: ['{pattern}']"), "br", 200, &[("Content-Type", kind), LARGE]);
        recoders(&answer) == 1
    };
    assert!(matches("text/*", "TEXT/Html; charset=utf-8"));
    assert!(matches("application/*+json", "application/problem+json"));
    assert!(!matches("application/*+json", "application/json"));
    assert!(!matches("application/*+json", "application/+json"));
    assert!(matches("*/*", "image/png"));
    assert!(!matches("text/html", "text/htmlx"));
    let told = |yaml: &str| Bench::mistakes::<CompressConfig>(yaml).join("; ");
    for wrong in ["html", "text/", "*/html", "text/a*b", "text/html; q=1", "text/*/*"] {
        assert!(told(&format!("types: ['{wrong}']")).contains("is no content type"), "{wrong}");
    }
    assert!(told("types: []").contains("at least one content type"));
}

#[test]
fn codings_are_known_and_named_once() {
    let told = |yaml: &str| Bench::mistakes::<CompressConfig>(yaml).join("; ");
    assert!(told("[gzip, gzip]").contains("`gzip` stands here twice"));
    assert!(told("[zst]").contains("did you mean `zstd`?"));
    assert!(told("[deflate]").contains("one of: br, zstd, gzip"), "{}", told("[deflate]"));
    assert!(told("codings: []").contains("at least one content coding"));
    assert!(told("level: { br: 12 }").contains("out of range"));
}
