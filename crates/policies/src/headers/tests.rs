use super::*;
use tollgate_testkit::bench::Bench;

#[test]
fn the_example_changes_both_sides() {
    let bench = Bench::example::<HeadersConfig>();
    let passed = bench.request("GET", "/", &[("x-debug", "1"), ("X-Customer", "c"), ("X-Source", "me")]).passes();
    assert_eq!(passed.request_headers("x-debug"), [""; 0]);
    assert_eq!(passed.request_headers("x-customer"), [""; 0]);
    assert_eq!(passed.request_headers("x-tenant"), ["c"]);
    assert_eq!(passed.request_headers("x-source"), ["gateway"]);
    let answered = passed.response(200, &[("X-Powered-By", "x"), ("Cache-Control", "private")]);
    assert_eq!(answered.header("x-powered-by"), None);
    assert_eq!(answered.headers("cache-control"), ["private", "no-store"]);
}

#[test]
fn a_renamed_field_keeps_its_lines_and_ousts_the_other() {
    let bench = Bench::of::<HeadersConfig>("request: { rename: { A: B } }");
    let passed = bench.request("GET", "/", &[("a", "1"), ("B", "other"), ("A", "2")]).passes();
    assert_eq!(passed.request_headers("b"), ["1", "2"]);
    let passed = bench.request("GET", "/", &[("B", "other")]).passes();
    assert_eq!(passed.request_headers("b"), ["other"]);
}

#[test]
fn a_name_can_be_renamed_to_another_case() {
    let passed = Bench::of::<HeadersConfig>("request: { rename: { soapaction: SOAPAction } }")
        .request("GET", "/", &[("SoapAction", "x")])
        .passes();
    assert_eq!(passed.request_headers("SOAPAction"), ["x"]);
    assert!(passed.exchange().head.fields.iter().any(|(name, _)| name == b"SOAPAction"));
}

#[test]
fn changes_are_made_in_one_order() {
    let yaml = "request: { add: { A: added }, set: { A: set }, remove: A }";
    let passed = Bench::of::<HeadersConfig>(yaml).request("GET", "/", &[("A", "sent")]).passes();
    assert_eq!(passed.request_headers("A"), ["set", "added"]);
}

#[test]
fn one_side_alone_costs_the_other_nothing() {
    let bench = Bench::of::<HeadersConfig>("response: { set: { A: b } }");
    assert_eq!(bench.hooks(), [Hooks::RESPONSE]);
}

#[test]
fn what_the_gateway_writes_cannot_be_changed() {
    let told = |yaml: &str| Bench::mistakes::<HeadersConfig>(yaml).join("; ");
    let host = "`Host` cannot be changed here (write `host:` in the route or in the service)";
    assert_eq!(told("request: { set: { Host: x } }"), host);
    for name in ["content-length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "X-Correlation-ID"] {
        assert!(told(&format!("request: {{ remove: {name} }}")).contains("cannot be changed"), "{name}");
        assert!(told(&format!("response: {{ add: {{ {name}: a }} }}")).contains("cannot be changed"), "{name}");
    }
    assert!(told("request: { rename: { X-Forwarded-For: A } }").contains("`trust`"));
    assert!(told("request: { rename: { A: traceparent } }").contains("cannot be changed"));
    assert_eq!(told("response: { set: { Via: x } }"), "");
}

#[test]
fn changes_that_fight_each_other_are_mistakes() {
    let told = |yaml: &str| Bench::mistakes::<HeadersConfig>(yaml).join("; ");
    assert!(told("request: { set: { A: 1, a: 2 } }").contains("`a` stands here twice"));
    assert!(told("request: { rename: { A: C, B: c } }").contains("new name of two fields"));
    assert!(told("request: { rename: { A: B, B: A } }").contains("is itself renamed"));
    assert!(told("request: { remove: a, rename: { A: B } }").contains("removed before"));
    assert!(told("request: { set: { A: \"b\\nc\" } }").contains("cannot be the value of a header"));
    assert!(told("request: {}").contains("no header is changed here"));
}

#[test]
fn values_are_told_nowhere() {
    let bench = Bench::of::<HeadersConfig>("request: { set: { Authorization: s3cret } }");
    assert_eq!(bench.describe(), ["request: sets Authorization"]);
    assert!(!format!("{bench:?}").contains("s3cret"));
}
