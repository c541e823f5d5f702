use tollgate_testkit::bench::{Bench, Outcome};

use super::*;
use crate::auth::AuthConfig;

fn bench(yaml: &str) -> Bench {
    Bench::of::<AuthConfig>("idp or keys").and::<BackendTokenConfig>(yaml)
}

fn alice(bench: &Bench, more: &[(&str, &str)]) -> Outcome {
    bench.request("GET", "/", &[&[("Authorization", "Bearer idp.alice.read.write")], more].concat())
}

#[test]
fn a_token_of_the_gateways_own_takes_the_credentials_place_at_each_attempt() {
    let sent = alice(&bench("mint"), &[]).passes();
    assert!(sent.request_headers("authorization").is_empty(), "the client's is gone");
    let first = sent.attempt("orders");
    assert_eq!(first.request_headers("authorization"), ["Bearer minted-alice-orders"]);
    assert_eq!(first.attempt("stand-in").request_headers("authorization"), ["Bearer minted-alice-stand-in"]);
}

#[test]
fn a_token_is_traded_where_its_provider_does_so() {
    let sent = alice(&bench("exchange"), &[]).attempt("orders");
    assert_eq!(sent.request_headers("authorization"), ["Bearer traded-orders-idp.alice.read.write"]);
    let again = sent.attempt("stand-in");
    assert_eq!(again.request_headers("authorization"), ["Bearer traded-stand-in-idp.alice.read.write"]);
    let named = alice(&bench("{ send: exchange, audience: [a, b] }"), &[]).attempt("orders");
    assert_eq!(named.request_headers("authorization"), ["Bearer traded-a+b-idp.alice.read.write"]);
    let other = bench("exchange").request("GET", "/", &[("Authorization", "Bearer keys.bob")]).attempt("orders");
    assert!(other.request_headers("authorization").is_empty(), "what cannot be traded is not sent either");
}

#[test]
fn nothing_or_all_is_sent_if_the_file_says_so() {
    let passed = alice(&bench("{ headers: { X-User: principal } }"), &[]).attempt("orders");
    assert_eq!(passed.request_headers("authorization"), ["Bearer idp.alice.read.write"]);
    assert_eq!(passed.request_headers("x-user"), ["alice"]);
    assert!(alice(&bench("nothing"), &[]).attempt("orders").request_headers("authorization").is_empty());
}

#[test]
fn claims_stand_in_header_fields_and_a_clients_own_do_not() {
    let headers = "{ X-User: principal, X-Client: consumer, X-Scopes: scopes, X-Roles: claims.roles, X-Level: claims.level, \
         X-Unit: claims.org.unit, X-Org: claims.org, X-Email: claims.email }";
    let bench = bench(&format!("{{ send: nothing, headers: {headers} }}"));
    let sent = alice(&bench, &[("X-User", "root")]).attempt("orders");
    for (name, values) in [
        ("X-User", &["alice"][..]),
        ("X-Client", &["shop"]),
        ("X-Scopes", &["read write"]),
        ("X-Roles", &["user"]),
        ("X-Level", &["3"]),
        ("X-Unit", &["sales"]),
        ("X-Org", &["{\"unit\":\"sales\"}"]),
        ("X-Email", &[]),
    ] {
        assert_eq!(sent.request_headers(name), values, "{name}");
    }
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<BackendTokenConfig>(yaml).join("; ");
    assert!(told("mnit").contains("did you mean `mint`"), "{}", told("mnit"));
    assert!(told("{ send: pass, lifetime: 60s }").contains("`lifetime` has no use"));
    assert!(told("{ send: mint, lifetime: 2h }").contains("ten seconds to an hour"));
    assert!(told("{ send: mint, scope: [a] }").contains("`scope` has no use"));
    assert!(told("{ send: nothing, audience: a }").contains("`audience` has no use"));
    assert!(told("{ headers: { Host: principal } }").contains("`Host` says something else"));
    assert!(
        told("{ headers: { X-User: user } }").contains("nothing about the caller"),
        "{}",
        told("{ headers: { X-User: user } }")
    );
    assert!(told("{ headers: { X-User: principal, x-user: consumer } }").contains("stands here twice"));
    assert!(told("{}").contains("nothing changes"), "{}", told("{}"));
}
