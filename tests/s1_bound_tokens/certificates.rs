//! Tokens that are bound to a certificate (RFC 8705), and what a config may not say of bound tokens.

use std::fs;
use std::process::Command;

use tollgate_testkit::{Gateway, Provider, RawClient, Recorder};

use crate::house::{Answer, House, curl, outcome};
use crate::{ROUTES, TOLLGATE, source};

/// A gateway that asks for certificates, in front of tokens that are bound to them.
fn with_certificates(more: &str, listener: Option<&str>, sections: &str) -> (House, Provider, Gateway, Recorder) {
    let (house, provider) = (House::new(), Provider::start());
    house.client("alice", "/CN=alice", "DNS:alice.example");
    house.client("mallory", "/CN=mallory", "DNS:mallory.example");
    let listener = listener.map_or_else(|| house.listener(), str::to_owned);
    let (gateway, backend) = house.gateway(&listener, &format!("{sections}\n{}\n{ROUTES}", source(&provider, more)));
    (house, provider, gateway, backend)
}

fn bear(house: &House, gateway: &Gateway, token: &str, certificate: Option<&str>) -> Answer {
    curl(house, gateway, "/orders/1", certificate, &["-H", &format!("Authorization: Bearer {token}")])
}

#[test]
fn a_token_that_is_bound_to_a_certificate_passes_with_that_alone() {
    for (kind, more) in [("ES256", ""), ("opaque", ", introspection: { client: shop, secret: \"shop-secret\" }")] {
        let (house, provider, gateway, _backend) = with_certificates(more, None, "");
        let token = provider.token_for_certificate("orders", "orders.read", kind, &house.der("alice.pem"));
        let bearer = provider.token("orders", "orders.read", kind);
        // A second time, when the token is known: each connection is looked at.
        for _ in 0..2 {
            assert_eq!(bear(&house, &gateway, &token, Some("alice")).outcome(), "ok", "{kind}");
            let refused = bear(&house, &gateway, &token, Some("mallory"));
            assert_eq!((refused.status, refused.outcome()), (401, "bound/certificate"), "{kind}");
            let challenge = refused.field("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm=\"idp\", error=\"invalid_token\""), "{challenge}");
            assert_eq!(bear(&house, &gateway, &token, None).outcome(), "bound/certificate", "{kind}");
            assert_eq!(bear(&house, &gateway, &bearer, None).outcome(), "ok", "bound to nothing");
        }
    }
}

#[test]
fn tokens_may_have_to_be_bound() {
    for bound in ["certificate", "required"] {
        let (house, provider, gateway, _backend) = with_certificates(&format!(", bound: {bound}"), None, "");
        let token = provider.token_for_certificate("orders", "orders.read", "ES256", &house.der("alice.pem"));
        let bearer = provider.token("orders", "orders.read", "ES256");
        assert_eq!(bear(&house, &gateway, &token, Some("alice")).outcome(), "ok");
        assert_eq!(bear(&house, &gateway, &bearer, Some("alice")).outcome(), "bound/required");
    }
}

#[test]
fn a_trusted_proxy_tells_of_the_certificate_if_it_is_believed() {
    let trust = "trust: { proxies: [127.0.0.1] }";
    let (house, provider, gateway, _backend) = with_certificates(", forwarded: believed", Some("http"), trust);
    let token = provider.token_for_certificate("orders", "orders.read", "ES256", &house.der("alice.pem"));
    let ask = |mut client: RawClient, certificate: &str| {
        let fields = format!("Authorization: Bearer {token}\r\nClient-Cert: {}\r\n", house.forwarded(certificate));
        outcome(&client.call(&format!("GET /orders/1 HTTP/1.1\r\nHost: g\r\n{fields}\r\n")))
    };
    for _ in 0..2 {
        assert_eq!(ask(gateway.client(), "alice.pem"), "ok");
        assert_eq!(ask(gateway.client(), "mallory.pem"), "bound/certificate");
        let stranger = RawClient::connect_from([127, 0, 0, 9], gateway.address());
        assert_eq!(ask(stranger, "alice.pem"), "bound/certificate", "a field that anybody can send");
    }
    // Unless it is believed, neither what it says counts nor what it is itself.
    let sections = format!("{trust}\n{}\n{ROUTES}", source(&provider, ""));
    let (gateway, _backend) = house.gateway(&house.listener(), &sections);
    assert_eq!(bear(&house, &gateway, &token, Some("alice")).outcome(), "bound/certificate");
}

#[test]
fn configs_that_could_let_nobody_in_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let check = |more: &str| {
        let file = folder.path().join("tollgate.yaml");
        let source = format!("{{ issuer: \"https://idp.example\", audience: orders{more} }}");
        let routes = "{ /: { reply: 200, auth: idp } }";
        fs::write(&file, format!("listen: 8080\nauth: {{ idp: {source} }}\nroutes: {routes}\n")).unwrap();
        let output =
            Command::new(TOLLGATE).args(["check", "-c"]).arg(&file).env("SHORT", "tiny value").output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(check(", dpop: {}").contains(": fine"));
    for (more, told) in [
        (", bound: dpop", "no proof is taken, and no token passes without one"),
        (", bound: certificate", "no listener asks clients for certificates"),
        (", forwarded: believed", "no proxy is trusted"),
        (", dpop: { age: 1h }", "a proof is good for a second to ten minutes"),
        (", dpop: { nonce: 100ms }", "a proof is good for a second to ten minutes"),
        (", dpop: { algorithms: [] }", "no proof could be signed"),
        (", dpop: { nonce: 1m, age: 30s }", "`age` has no use with `nonce`"),
        (", dpop: { algorithms: [HS256] }", "`HS256` is not known here"),
        (", dpop: { nonce: 1m, secret: \"${env:SHORT}\" }", "too short a secret"),
        (", dpop: { secret: \"0123456789abcdef\" }", "`secret` has no use"),
        (", bound: always", "`always` is not known here"),
    ] {
        let said = check(more);
        assert!(said.contains(told), "{more}: {said}");
    }
}
