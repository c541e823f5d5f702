use serde_json::{Value as Json, json};
use tollgate_core::dialect::{Dialect, ProblemJson};
use tollgate_core::problem::Problem;
use tollgate_testkit::bench::{Bench, Outcome};

use super::PayloadConfig;
use crate::decompress::DecompressConfig;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const XML: (&str, &str) = ("Content-Type", "text/xml");
const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

fn sent(yaml: &str, kind: (&str, &str)) -> Outcome {
    Bench::of::<PayloadConfig>(yaml).request("POST", "/", &[kind, CHUNKED]).passes()
}

/// The problem that a body meets, as its sender is told.
#[track_caller]
fn refused(yaml: &str, kind: (&str, &str), body: &str) -> Json {
    let problem = sent(yaml, kind).upload(&[body.as_bytes()]).expect_err(body);
    told(&problem)
}

fn told(problem: &Problem) -> Json {
    let reply = ProblemJson.render(problem, "id");
    let tollgate_core::body::Body::Full(bytes) = reply.body else { panic!("no body") };
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_body_passes_as_it_is() {
    let body: &[&[u8]] = &[b"{\"a\": [1, 2", b"], \"b\": \"\xC3", b"\xA9\"}\n"];
    assert_eq!(sent("json", JSON).upload(body).unwrap(), body.concat());
    assert_eq!(sent("[json, xml]", XML).upload(&[b"<a b='c'>", b"d</a>"]).unwrap(), b"<a b='c'>d</a>");
}

#[test]
fn what_is_beyond_a_limit_is_told_exactly_and_without_a_word_of_the_body() {
    let problem = refused("json: { depth: 3 }", JSON, "[[[[\"secret\"]]]]");
    assert_eq!(problem["type"], "urn:tollgate:problem:payload/json");
    assert_eq!(problem["status"], 400);
    assert_eq!(problem["detail"], "more than 3 levels of objects and arrays, at byte 3");
    assert_eq!((&problem["limit"], &problem["allowed"], &problem["offset"]), (&json!("depth"), &json!(3), &json!(3)));
    assert!(!problem.to_string().contains("secret"));
    let problem = refused("xml: { elements: 2 }", XML, "<a><b/><secret/></a>");
    assert_eq!(problem["type"], "urn:tollgate:problem:payload/xml");
    assert_eq!(
        (&problem["limit"], &problem["allowed"], &problem["offset"]),
        (&json!("elements"), &json!(2), &json!(8))
    );
    assert!(!problem.to_string().contains("secret"));
}

#[test]
fn what_is_malformed_or_never_taken_is_told_with_its_place() {
    let problem = refused("json", JSON, "{\"a\": tru}");
    assert_eq!(problem["type"], "urn:tollgate:problem:payload/malformed");
    assert_eq!(problem["detail"], "a word that is none of `true`, `false` and `null`, at byte 9");
    assert_eq!((&problem["offset"], &problem["limit"]), (&json!(9), &Json::Null));
    let problem = refused("json", JSON, "{\"a\": 1");
    assert_eq!(problem["detail"], "it ends too early, at byte 7");
    let problem = refused("xml", XML, "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>");
    assert_eq!(problem["type"], "urn:tollgate:problem:payload/xml");
    assert_eq!(problem["detail"], "a document type declaration (`<!DOCTYPE`), at byte 2");
    let problem = refused("xml", XML, "<?xml version='1.0' encoding='UTF-16'?><a/>");
    assert_eq!((&problem["type"], &problem["status"]), (&json!("urn:tollgate:problem:payload/type"), &json!(415)));
}

#[test]
fn the_defaults_hold_for_both() {
    let string = |n: usize| format!("[\"{}\"]", "x".repeat(n));
    sent("json", JSON).upload(&[string(65_536).as_bytes()]).unwrap();
    assert_eq!(refused("json", JSON, &string(65_537))["limit"], "string");
    assert_eq!(refused("json", JSON, &"[".repeat(21))["limit"], "depth");
    assert_eq!(refused("json", JSON, &format!("[{}1]", "1,".repeat(10_000)))["limit"], "items");
    assert_eq!(refused("json", JSON, &"1".repeat(65))["limit"], "number");
    assert_eq!(refused("xml", XML, &"<a>".repeat(21))["limit"], "depth");
    assert_eq!(refused("xml", XML, &format!("<a>{}</a>", "<b/>".repeat(10_000)))["limit"], "elements");
    assert_eq!(refused("xml", XML, &format!("<a b='{}'/>", "x".repeat(8193)))["limit"], "value");
    let described = Bench::of::<PayloadConfig>("[json, xml]").describe();
    assert_eq!(
        described,
        [
            "json: depth 20, keys 1000, items 10000, key 256, string 65536, number 64, values 100000; xml: depth 20, elements 10000, \
          attributes 50, namespaces 20, name 256, value 8192, text 65536, comments 100, instructions 10"
        ]
    );
}

/// How many look at a body of this type.
fn lookers(yaml: &str, kind: &str) -> usize {
    sent(yaml, ("Content-Type", kind)).exchange().recoders.len()
}

#[test]
fn a_body_is_looked_at_by_its_type() {
    for kind in [
        "application/json",
        "Application/JSON ; Charset=UTF-8",
        "application/vnd.api+json",
        "application/problem+JSON; a=\"b,c;d\"",
        "text/json",
        "application/x-ndjson",
        "application/json-seq",
        "application/geo+json-seq",
        "application/json; charset=\"utf-8\"",
    ] {
        assert_eq!((lookers("json", kind), lookers("xml", kind)), (1, 0), "{kind}");
    }
    for kind in ["application/xml", "TEXT/xml", "application/soap+xml; charset=utf-8; action=\"x\"", "image/svg+xml"] {
        assert_eq!((lookers("xml", kind), lookers("json", kind)), (1, 0), "{kind}");
    }
    for kind in [
        "text/plain",
        "application/jsonx",
        "application/octet-stream",
        "json",
        "",
        "multipart/form-data; boundary=\"a,b/json\"",
    ] {
        assert_eq!(lookers("[json, xml]", kind), 0, "{kind}");
    }
}

#[test]
fn a_sequence_is_of_documents_each_within_the_limits() {
    let lines = ("Content-Type", "application/x-ndjson");
    sent("json: { values: 2 }", lines).upload(&[b"[1]\n[2]\n[3]\n"]).unwrap();
    assert_eq!(refused("json: { values: 2 }", lines, "[1]\n[1,2]\n")["offset"], 7);
    assert_eq!(refused("json", JSON, "[1]\n[2]\n")["type"], "urn:tollgate:problem:payload/malformed");
}

#[test]
fn two_types_and_other_charsets_are_refused_where_one_is_looked_at() {
    let bench = Bench::of::<PayloadConfig>("json");
    let post = |kinds: &[&str]| {
        let mut fields: Vec<(&str, &str)> = kinds.iter().map(|kind| ("Content-Type", *kind)).collect();
        fields.push(CHUNKED);
        bench.request("POST", "/", &fields)
    };
    for kinds in [
        &["text/plain", "application/json"][..],
        &["application/json", "application/json"],
        &["text/plain, application/json"],
        &["application/json;a=b, text/plain"],
        &["text/plain; a=\", application/json"],
        &["application/json; a=\"x, application/json;\""],
    ] {
        let refused = post(kinds).refused_with("payload/type").replies(415);
        assert_eq!(refused.problem()["detail"], "more than one `Content-Type`", "{kinds:?}");
    }
    for kind in [
        "application/json; charset=utf-16",
        "application/json;a=b; CHARSET = \"UTF-7\"",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; a=\"; charset=utf-16",
    ] {
        let refused = post(&[kind]).refused_with("payload/type").replies(415);
        assert_eq!(refused.problem()["detail"], "a `charset` other than UTF-8", "{kind}");
    }
    for kinds in [&["text/plain", "text/html"][..], &["text/plain; charset=utf-16"], &["application/xml", "text/xml"]] {
        assert_eq!(post(kinds).passes().exchange().recoders.len(), 0, "{kinds:?}");
    }
}

#[test]
fn what_is_compressed_is_refused_unless_it_is_decompressed_before() {
    let coded = |coding| [JSON, CHUNKED, ("Content-Encoding", coding)];
    let alone = Bench::of::<PayloadConfig>("json");
    for coding in ["gzip", "identity, br", "whatever"] {
        let refused = alone.request("POST", "/", &coded(coding)).refused_with("payload/coding").replies(415);
        assert_eq!(refused.header("accept-encoding").as_deref(), Some("identity"), "{coding}");
    }
    for none in ["identity", "Identity, ", ""] {
        assert_eq!(alone.request("POST", "/", &coded(none)).passes().exchange().recoders.len(), 1, "{none}");
    }
    let packed = [CHUNKED, ("Content-Type", "text/plain"), ("Content-Encoding", "gzip")];
    alone.request("POST", "/", &packed).passes();
    let both = Bench::of::<DecompressConfig>("on").and::<PayloadConfig>("json");
    let mut unpacked = both.request("POST", "/", &coded("deflate")).passes();
    // `[[` with zlib, stored.
    let body = [&[0x78, 0x01, 0x01, 2, 0, 0xFD, 0xFF][..], b"[[", &[0x01, 0x13, 0x00, 0xB7]].concat();
    let problem = unpacked.upload(&[&body]).unwrap_err();
    assert_eq!(told(&problem)["detail"], "it ends too early, at byte 2");
}

#[test]
fn a_body_that_was_read_already_is_looked_at_on_the_spot() {
    let bench = Bench::of::<PayloadConfig>("json");
    let passed = bench.request_with("POST", "/", &[JSON, CHUNKED], b"[1, 2]").passes();
    assert_eq!(passed.exchange().recoders.len(), 0);
    let refused = bench.request_with("POST", "/", &[JSON, CHUNKED], b"[1, 2").refused_with("payload/malformed");
    assert_eq!(refused.problem()["offset"], 5);
    let shadow = Bench::of::<PayloadConfig>("{ json: {}, shadow: true }");
    let passed = shadow.request_with("POST", "/", &[JSON, CHUNKED], b"[1, 2").passes();
    assert_eq!(passed.exchange().trail.shadow.map(|fault| fault.slug), Some("payload/malformed"));
}

#[test]
fn nothing_is_no_body() {
    let bench = Bench::of::<PayloadConfig>("json");
    for fields in [&[JSON][..], &[JSON, ("Content-Length", "0")]] {
        assert_eq!(bench.request("POST", "/", fields).passes().exchange().recoders.len(), 0);
    }
    assert_eq!(sent("json", JSON).upload(&[]).unwrap(), b"");
    assert_eq!(told(&sent("json", JSON).upload(&[b" "]).unwrap_err())["detail"], "it ends too early, at byte 1");
}

#[test]
fn in_shadow_everything_passes_and_is_told() {
    let shadow = "{ json: { depth: 2 }, shadow: true }";
    for body in [&b"[[[1]]]"[..], b"[1", b"\xFF\xFF"] {
        let mut passed = sent(shadow, JSON);
        assert_eq!(passed.upload(&[body, b"]"]).unwrap(), [body, b"]"].concat());
        let slug = passed.exchange().trail.shadow.map(|fault| fault.slug);
        assert_eq!(
            slug,
            if body == b"[[[1]]]" {
                Some("payload/json")
            } else if body == b"[1" {
                None
            } else {
                Some("payload/type")
            }
        );
    }
    let bench = Bench::of::<PayloadConfig>(shadow);
    let coded = bench.request("POST", "/", &[JSON, CHUNKED, ("Content-Encoding", "gzip")]).passes();
    assert_eq!(coded.exchange().trail.shadow.map(|fault| fault.slug), Some("payload/coding"));
    assert_eq!(coded.exchange().recoders.len(), 0);
    assert!(bench.describe()[0].ends_with(" (shadow: refuses nobody)"));
}

#[test]
fn it_looks_only_and_can_start_over() {
    let mut passed = sent("json", JSON);
    passed.upload(&[b"[1]"]).unwrap();
    let recoders = &passed.exchange().recoders;
    assert!(recoders.iter().all(|recoder| recoder.only_looks() && recoder.shadow().is_none()));
    passed.upload(&[b"[1]"]).expect_err("the body goes on where it ended");
    let mut again = sent("json", JSON);
    again.upload(&[b"[1]"]).unwrap();
    again.start_over();
    assert_eq!(again.upload(&[b"[2]"]).unwrap(), b"[2]");
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml: &str| Bench::mistakes::<PayloadConfig>(yaml).join("; ");
    assert_eq!(told("{}"), "nothing is looked at here (`payload: json`, or `payload: [json, xml]`)");
    assert!(told("yaml").contains("unknown key `yaml`"), "{}", told("yaml"));
    assert!(told("json: { depth: 0 }").contains("a whole number in 1..=1000"));
    assert!(told("json: { string: lots }").contains("is no size"));
    assert!(told("[json, json]").contains("found a list"), "{}", told("[json, json]"));
    assert_eq!(Bench::of::<PayloadConfig>("{ json: , xml: { depth: 3 } }").describe().len(), 1);
}
