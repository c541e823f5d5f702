//! S5: a SAML assertion is traded for a token of the gateway's own (RFC 7522). It is signed by xmlsec1, the token verified by jose.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;
use tollgate_core::clock::Clock;
use tollgate_testkit::{Gateway, verify};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const GRANT: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
const IDP: &str = "https://idp.example/saml";

struct Bench {
    folder: tempfile::TempDir,
    gateway: Gateway,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A key with its certificate, as an identity provider has one.
fn key(folder: &Path, name: &str) {
    let file = |end: &str| folder.join(format!("{name}.{end}")).display().to_string();
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=idp",
            "-days",
            "2",
            "-keyout",
            &file("key"),
            "-out",
            &file("crt"),
        ],
    );
}

fn metadata(folder: &Path, name: &str) -> String {
    let pem = fs::read_to_string(folder.join(format!("{name}.crt"))).unwrap();
    let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    format!(
        "<md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{IDP}\"><md:IDPSSODescriptor \
         protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:2.0:protocol\"><md:KeyDescriptor use=\"signing\"><ds:KeyInfo \
         xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:X509Data><ds:X509Certificate>{bare}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>\
         </md:KeyDescriptor><md:SingleSignOnService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" \
         Location=\"https://idp.example/sso\"/></md:IDPSSODescriptor></md:EntityDescriptor>"
    )
}

/// So many seconds from now, as SAML writes it.
fn at(seconds: i64) -> String {
    let now = jiff::Timestamp::try_from(Clock::real().unix()).unwrap().as_second();
    format!("{:.0}", jiff::Timestamp::from_second(now + seconds).unwrap())
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        key(folder.path(), "idp");
        fs::write(folder.path().join("idp.xml"), metadata(folder.path(), "idp")).unwrap();
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
             issuer: {{ url: \"https://api.example\", saml: {{ metadata: {}/idp.xml, to: [orders] }} }}\n\
             routes: {{ /jwks: {{ serve: jwks }}, POST /token: {{ serve: token }} }}\n",
            folder.path().display()
        );
        Self { gateway: Gateway::start(TOLLGATE, &config, &[]), folder }
    }

    /// An assertion, signed with this key.
    fn assertion(&self, id: &str, audience: &str, recipient: &str, ends: i64, by: &str) -> String {
        let folder = self.folder.path();
        let (template, signed) = (folder.join("template.xml"), folder.join("signed.xml"));
        let text = format!(
            "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"{id}\" Version=\"2.0\" IssueInstant=\"{now}\">\
             <saml:Issuer>{IDP}</saml:Issuer>\
             <ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:SignedInfo>\
             <ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>\
             <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"/>\
             <ds:Reference URI=\"#{id}\"><ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>\
             <ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/></ds:Transforms>\
             <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>\
             <ds:SignatureValue/></ds:Signature>\
             <saml:Subject><saml:NameID>alice@example.com</saml:NameID>\
             <saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\">\
             <saml:SubjectConfirmationData Recipient=\"{recipient}\" NotOnOrAfter=\"{end}\"/></saml:SubjectConfirmation></saml:Subject>\
             <saml:Conditions NotBefore=\"{begin}\" NotOnOrAfter=\"{end}\"><saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience>\
             </saml:AudienceRestriction></saml:Conditions>\
             <saml:AuthnStatement AuthnInstant=\"{now}\"><saml:AuthnContext><saml:AuthnContextClassRef>\
             urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>\
             <saml:AttributeStatement><saml:Attribute Name=\"role\"><saml:AttributeValue>sales</saml:AttributeValue></saml:Attribute>\
             <saml:Attribute Name=\"scope\"><saml:AttributeValue>admin</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>\
             </saml:Assertion>",
            now = at(0),
            begin = at(-300),
            end = at(ends),
        );
        fs::write(&template, text).unwrap();
        let keys = format!("{0}.key,{0}.crt", folder.join(by).display());
        let path = |path: &Path| path.display().to_string();
        run(
            "xmlsec1",
            &[
                "--sign",
                "--privkey-pem",
                &keys,
                "--id-attr:ID",
                "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
                "--output",
                &path(&signed),
                &path(&template),
            ],
        );
        fs::read_to_string(signed).unwrap()
    }

    fn good(&self, id: &str) -> String {
        self.assertion(id, "https://api.example", "https://api.example/token", 300, "idp")
    }

    fn trade(&self, assertion: &str, more: &str) -> Value {
        let form = format!("grant_type={GRANT}&assertion={}{more}", BASE64URL_NOPAD.encode(assertion.as_bytes()));
        let mut client = self.gateway.client();
        client.send(format!(
            "POST /token HTTP/1.1\r\nHost: g\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        serde_json::from_str(&client.response("POST").unwrap().text()).unwrap()
    }
}

#[test]
fn an_assertion_is_traded_for_a_token_once() {
    let bench = Bench::new();
    let assertion = bench.good("_a1");
    let traded = bench.trade(&assertion, "&audience=orders");
    let token = traded["access_token"].as_str().unwrap_or_else(|| panic!("{traded}"));
    let jwks = format!("http://{}/jwks", bench.gateway.address());
    let claims = verify(token, &jwks, "https://api.example", "orders").unwrap()["claims"].clone();
    assert_eq!((&claims["sub"], &claims["role"]), (&"alice@example.com".into(), &"sales".into()));
    assert_eq!(claims["saml_issuer"], IDP);
    assert!(claims["scope"].is_null(), "an attribute opens nothing");
    assert_eq!(bench.trade(&assertion, "&audience=orders")["error"], "invalid_grant", "no second time");
}

#[test]
fn assertions_that_are_not_good_here_are_traded_for_nothing() {
    let bench = Bench::new();
    key(bench.folder.path(), "stranger");
    let url = "https://api.example";
    let token = "https://api.example/token";
    let changed = bench.good("_b1").replace("alice@", "root@");
    let commented = bench.good("_b2").replace("alice@example.com", "alice@example.com<!---->.evil.example");
    let unsigned = {
        let signed = bench.good("_b3");
        let (start, end) = (signed.find("<ds:Signature ").unwrap(), signed.find("</ds:Signature>").unwrap());
        format!("{}{}", &signed[..start], &signed[end + "</ds:Signature>".len()..])
    };
    let doctype = bench
        .good("_b4")
        .replace("<saml:Assertion ", "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><saml:Assertion ");
    for (assertion, what) in [
        (bench.assertion("_c1", "https://other.example", token, 300, "idp"), "another audience"),
        (bench.assertion("_c2", url, "https://other.example/token", 300, "idp"), "another recipient"),
        (bench.assertion("_c3", url, token, -120, "idp"), "over"),
        (bench.assertion("_c4", url, token, 300, "stranger"), "a stranger's key"),
        (changed, "changed"),
        (commented, "a comment in the name"),
        (unsigned, "not signed"),
        (doctype, "a DOCTYPE"),
        (BASE64.encode(b"x"), "nothing"),
    ] {
        let told = bench.trade(&assertion, "&audience=orders");
        assert_eq!(told["error"], "invalid_grant", "{what}: {told}");
    }
    let good = bench.good("_d1");
    for (more, error) in [
        ("&audience=stock", "invalid_target"),
        ("", "invalid_target"),
        ("&audience=orders&scope=admin", "invalid_scope"),
        ("&audience=orders&subject_token_type=x", "unsupported_grant_type"),
    ] {
        let told = bench.trade(&good, more);
        assert_eq!(told["error"], error, "{more}: {told}");
    }
    assert!(bench.trade(&good, "&audience=orders")["access_token"].is_string(), "none of that has used it up");
}
