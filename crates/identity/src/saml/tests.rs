//! Against what others make: pysaml2 and xmlsec1 (`testdata/saml/generate.py` makes it), and against who attacks.

mod attacks;
mod canonical;
mod messages;
mod metadata;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};
use tollgate_core::problem::Problem;

use super::*;

/// 2026-01-01T00:05:00Z: five minutes after the test data was made, and ten before it ends.
const NOW: u64 = 1_767_225_900;
const ACS: &str = "https://gateway.example/saml/acs";
const TOKEN: &str = "https://gateway.example/token";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn data(name: &str) -> String {
    let path = format!("{}/testdata/saml/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn key(name: &str) -> OwnKey {
    OwnKey::from_pem(&format!("{}{}", data(&format!("{name}.key")), data(&format!("{name}.crt")))).unwrap()
}

fn provider() -> Provider {
    Provider::read(data("idp-metadata.xml").as_bytes(), None).unwrap()
}

/// What is judged, as a test may change it.
struct Judge {
    provider: Provider,
    audiences: Vec<String>,
    recipient: &'static str,
    answers: Answers<'static>,
    signed: MustBeSigned,
    keys: Vec<OwnKey>,
    now: u64,
}

impl Judge {
    fn new() -> Self {
        let audiences = vec!["https://gateway.example/saml".to_owned()];
        let (answers, signed) = (Answers::Request("id-request"), MustBeSigned::Either);
        let (provider, keys) = (provider(), vec![key("p256"), key("sp")]);
        Self { provider, audiences, recipient: ACS, answers, signed, keys, now: NOW }
    }

    fn expected(&self) -> Expected<'_> {
        let (provider, audiences, recipient) = (&self.provider, &self.audiences[..], self.recipient);
        let (signed, keys, skew) = (self.signed, &self.keys[..], Duration::from_secs(30));
        Expected { provider, audiences, recipient, contexts: &[], signed, keys, skew }
    }

    fn judge(&self, text: &str) -> Result<Accepted, Problem> {
        self.judge_bytes(text.as_bytes())
    }

    fn judge_bytes(&self, text: &[u8]) -> Result<Accepted, Problem> {
        self.expected().judge_response(&Brought::in_form(&form(text))?, self.answers, at(self.now))
    }

    /// Empty: it is good.
    fn slug(&self, text: &str) -> &'static str {
        self.judge(text).map_or_else(|problem| problem.fault.slug, |_| "")
    }

    fn grant(&self, text: &str) -> Result<Accepted, Problem> {
        self.expected().judge_grant(&BASE64URL_NOPAD.encode(text.as_bytes()), at(self.now))
    }
}

/// What a browser sends to bring an answer.
fn form(text: &[u8]) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("SAMLResponse", &BASE64.encode(text)).finish()
}

/// An assertion as it is before it is signed.
fn assertion() -> String {
    "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"a1\" Version=\"2.0\" \
     IssueInstant=\"2026-01-01T00:00:00Z\"><saml:Issuer>https://idp.example/metadata</saml:Issuer><saml:Subject>\
     <saml:NameID>alice@example.org</saml:NameID>\
     <saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml:SubjectConfirmationData \
     NotOnOrAfter=\"2026-01-01T00:10:00Z\" Recipient=\"https://gateway.example/saml/acs\" InResponseTo=\"id-request\"/>\
     </saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore=\"2026-01-01T00:00:00Z\" \
     NotOnOrAfter=\"2026-01-01T00:15:00Z\"><saml:AudienceRestriction><saml:Audience>https://gateway.example/saml\
     </saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement \
     AuthnInstant=\"2026-01-01T00:00:00Z\" SessionIndex=\"s1\"/></saml:Assertion>"
        .to_owned()
}

/// A response around it.
fn response(inside: &str) -> String {
    format!(
        "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" ID=\"r1\" Version=\"2.0\" \
         IssueInstant=\"2026-01-01T00:00:00Z\" Destination=\"https://gateway.example/saml/acs\" InResponseTo=\"id-request\">\
         <saml:Issuer xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">https://idp.example/metadata</saml:Issuer>\
         <samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>{inside}\
         </samlp:Response>"
    )
}

fn signed(message: &str) -> String {
    signature::sign(message, &key("idp")).unwrap()
}

#[track_caller]
fn replaced(text: &str, what: &str, by: &str) -> String {
    assert!(text.contains(what), "{what} in {text}");
    text.replace(what, by)
}

#[test]
fn only_the_ways_to_sign_in_are_taken_that_are_asked_for() {
    let password = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password".to_owned();
    let strong = "https://refeds.org/profile/mfa".to_owned();
    let brought = Brought::in_form(&form(data("assertion-signed.xml").as_bytes())).unwrap();
    for (contexts, slug) in [(vec![], ""), (vec![strong.clone(), password], ""), (vec![strong], "saml/context")] {
        let judge = Judge::new();
        let expected = Expected { contexts: &contexts, ..judge.expected() };
        let judged = expected.judge_response(&brought, judge.answers, at(NOW));
        assert_eq!(judged.map_or_else(|problem| problem.fault.slug, |_| ""), slug, "{contexts:?}");
    }
}

#[test]
fn what_pysaml2_sends_is_accepted() {
    for name in [
        "response-signed",
        "assertion-signed",
        "both-signed",
        "sha384",
        "sha512",
        "encrypted-128-assertion-signed",
        "encrypted-128-response-signed",
        "encrypted-256-assertion-signed",
        "encrypted-256-response-signed",
        "encrypted-oaep-sha256",
    ] {
        let accepted = Judge::new().judge(&data(&format!("{name}.xml")));
        let accepted = accepted.unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
        assert_eq!(accepted.claims["sub"], "alice@example.org", "{name}");
        assert_eq!(accepted.claims["urn:oid:2.5.4.42"], "Alice", "{name}");
        assert_eq!(accepted.claims["urn:oid:1.3.6.1.4.1.5923.1.1.1.1"], json!(["staff", "member"]), "{name}");
        assert_eq!(accepted.claims["surName"], "O'Neill & Søn <x>", "{name}");
        assert_eq!(accepted.claims["acr"], "urn:oasis:names:tc:SAML:2.0:ac:classes:Password", "{name}");
        assert_eq!(accepted.claims["iss"], "https://idp.example/metadata", "{name}");
        assert_eq!(accepted.session.ends, Some(at(1_767_254_400)), "{name}");
        assert_eq!(accepted.session.index.as_deref(), accepted.claims["session_index"].as_str(), "{name}");
        assert_eq!(accepted.name_id.service_qualifier.as_deref(), Some("https://gateway.example/saml"), "{name}");
        let left = accepted.ends.duration_since(at(NOW)).unwrap();
        assert!((630..660).contains(&left.as_secs()), "{name}: {left:?}");
    }
}

#[test]
fn what_must_be_signed_is() {
    for (must, name, slug) in [
        (MustBeSigned::Either, "unsigned", "saml/signature"),
        (MustBeSigned::Assertion, "assertion-signed", ""),
        (MustBeSigned::Assertion, "response-signed", "saml/signature"),
        (MustBeSigned::Assertion, "encrypted-256-response-signed", "saml/signature"),
        (MustBeSigned::Assertion, "encrypted-256-assertion-signed", ""),
        (MustBeSigned::Both, "assertion-signed", "saml/signature"),
        (MustBeSigned::Both, "response-signed", "saml/signature"),
        (MustBeSigned::Both, "both-signed", ""),
    ] {
        let judge = Judge { signed: must, ..Judge::new() };
        assert_eq!(judge.slug(&data(&format!("{name}.xml"))), slug, "{must:?}: {name}");
    }
}

#[test]
fn any_key_of_the_metadata_will_do_and_no_other() {
    let text = response(&signature::sign(&assertion(), &key("p384")).unwrap());
    let mut judge = Judge::new();
    assert_eq!(judge.slug(&text), "saml/signature");
    judge.provider.certificates.push(Certificate::from_der(key("p384").certificate()).unwrap());
    assert_eq!(judge.slug(&text), "");
    assert_eq!(judge.slug(&response(&signed(&assertion()))), "");
    judge.provider.certificates.remove(0);
    assert_eq!(judge.slug(&response(&signed(&assertion()))), "saml/signature", "it signs with that no more");
    assert_eq!(judge.slug(&text), "");
    judge.provider.valid_until = Some(at(NOW));
    assert_eq!(judge.slug(&text), "saml/metadata");
}

#[test]
fn what_the_assertion_says_has_to_fit() {
    let slug = |what: &str, by: &str| Judge::new().slug(&response(&signed(&replaced(&assertion(), what, by))));
    let conditions = "NotOnOrAfter=\"2026-01-01T00:15:00Z\"";
    let confirmation = "NotOnOrAfter=\"2026-01-01T00:10:00Z\"";
    for (what, by, expected) in [
        ("2.0\" ", "2.0\" ", ""),
        ("https://idp.example/metadata", "https://evil.example", "saml/issuer"),
        ("https://gateway.example/saml</saml:Audience>", "https://other.example</saml:Audience>", "saml/audience"),
        (
            "<saml:AudienceRestriction>",
            "<saml:AudienceRestriction><saml:Audience>https://other.example</saml:Audience>",
            "",
        ),
        (
            "</saml:Conditions>",
            "<saml:AudienceRestriction><saml:Audience>x</saml:Audience></saml:AudienceRestriction></saml:Conditions>",
            "saml/audience",
        ),
        ("</saml:Conditions>", "<saml:OneTimeUse/></saml:Conditions>", ""),
        ("</saml:Conditions>", "<saml:Condition/></saml:Conditions>", "saml/malformed"),
        ("saml:Conditions", "saml:Advice", "saml/audience"),
        ("saml:AudienceRestriction", "saml:ProxyRestriction", "saml/audience"),
        ("Recipient=\"https://gateway.example/saml/acs\"", "Recipient=\"https://other.example/acs\"", "saml/recipient"),
        ("Recipient=\"https://gateway.example/saml/acs\"", "", "saml/recipient"),
        ("InResponseTo=\"id-request\"", "InResponseTo=\"id-other\"", "saml/recipient"),
        ("InResponseTo=\"id-request\"", "", "saml/recipient"),
        (conditions, "NotOnOrAfter=\"2026-01-01T00:04:31Z\"", ""),
        (conditions, "NotOnOrAfter=\"2026-01-01T00:04:30Z\"", "saml/expired"),
        (conditions, "", ""),
        (confirmation, "NotOnOrAfter=\"2026-01-01T00:04:30Z\"", "saml/expired"),
        (confirmation, "", "saml/malformed"),
        ("NotBefore=\"2026-01-01T00:00:00Z\"", "NotBefore=\"2026-01-01T00:05:30Z\"", ""),
        ("NotBefore=\"2026-01-01T00:00:00Z\"", "NotBefore=\"2026-01-01T00:05:31Z\"", "saml/not-yet-valid"),
        ("IssueInstant=\"2026-01-01T00:00:00Z\"", "IssueInstant=\"2026-01-01T01:00:00Z\"", "saml/not-yet-valid"),
        ("AuthnInstant=\"2026-01-01T00:00:00Z\"", "AuthnInstant=\"2026-01-01T01:00:00Z\"", "saml/not-yet-valid"),
        ("SessionIndex=\"s1\"", "SessionNotOnOrAfter=\"2026-01-01T00:04:30Z\"", "saml/expired"),
        ("SessionIndex=\"s1\"", "SessionNotOnOrAfter=\"never\"", "saml/malformed"),
        ("saml:AuthnStatement", "saml:AuthzDecisionStatement", "saml/malformed"),
        ("cm:bearer", "cm:sender-vouches", "saml/malformed"),
        ("saml:NameID", "saml:BaseID", "saml/malformed"),
        ("<saml:NameID>alice@example.org</saml:NameID>", "<saml:EncryptedID/>", "saml/encrypted"),
        ("alice@example.org", " ", "saml/malformed"),
        ("Version=\"2.0\"", "Version=\"1.1\"", "saml/malformed"),
    ] {
        assert_eq!(slug(what, by), expected, "{what} -> {by}");
    }
}

#[test]
fn what_stands_around_the_assertion_has_to_fit() {
    let good = response(&signed(&assertion()));
    for (what, by, slug) in [
        ("ID=\"r1\"", "ID=\"r2\"", ""),
        (" Destination=\"https://gateway.example/saml/acs\"", "", ""),
        ("Destination=\"https://gateway.example/saml/acs\"", "Destination=\"https://other.example\"", "saml/recipient"),
        ("\" InResponseTo=\"id-request\">", "\">", "saml/recipient"),
        ("metadata</saml:Issuer><samlp:Status>", "other</saml:Issuer><samlp:Status>", "saml/issuer"),
        ("status:Success", "status:Responder", "saml/status"),
        ("samlp:StatusCode", "samlp:Other", "saml/malformed"),
        ("samlp:Response", "samlp:ArtifactResponse", "saml/malformed"),
        ("SAML:2.0:protocol", "SAML:1.0:protocol", "saml/malformed"),
    ] {
        assert_eq!(Judge::new().slug(&replaced(&good, what, by)), slug, "{what} -> {by}");
    }
    let without = replaced(&response(&assertion()), " Destination=\"https://gateway.example/saml/acs\"", "");
    assert_eq!(Judge::new().slug(&signed(&without)), "saml/recipient", "what is signed says where it is sent");
    assert_eq!(Judge::new().slug(&signed(&response(&assertion()))), "");
    assert_eq!(Judge::new().slug(&signed(&response(""))), "saml/malformed");
    let refused = replaced(
        &response(""),
        "status:Success\"/>",
        "status:Responder\"><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:AuthnFailed\"/></samlp:StatusCode>",
    );
    let problem = Judge::new().judge(&refused).unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("it says Responder, AuthnFailed"));
}

#[test]
fn what_was_not_asked_for_does_not_say_that_it_was() {
    let judge = Judge { answers: Answers::Nothing, ..Judge::new() };
    assert_eq!(judge.slug(&response(&signed(&assertion()))), "saml/recipient");
    let assertion = replaced(&assertion(), " InResponseTo=\"id-request\"", "");
    let text = replaced(&response(&signed(&assertion)), " InResponseTo=\"id-request\"", "");
    assert_eq!(judge.slug(&text), "");
    assert_eq!(Judge::new().slug(&text), "saml/recipient");
}

#[test]
fn one_confirmation_that_holds_is_enough() {
    let other = "<saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml:SubjectConfirmationData \
                 NotOnOrAfter=\"2026-01-01T00:10:00Z\" Recipient=\"https://other.example\"/></saml:SubjectConfirmation>";
    let text = replaced(&assertion(), "</saml:NameID>", &format!("</saml:NameID>{other}"));
    assert_eq!(Judge::new().slug(&response(&signed(&text))), "");
}

#[test]
fn no_attribute_takes_the_place_of_what_is_ours() {
    let attributes = "<saml:AttributeStatement><saml:Attribute Name=\"sub\"><saml:AttributeValue>root</saml:AttributeValue>\
                      </saml:Attribute><saml:Attribute Name=\"groups\"><saml:AttributeValue>a<!-- x -->b</saml:AttributeValue>\
                      <saml:AttributeValue><x/></saml:AttributeValue></saml:Attribute></saml:AttributeStatement>";
    let text = replaced(&assertion(), "</saml:Assertion>", &format!("{attributes}</saml:Assertion>"));
    let accepted = Judge::new().judge(&response(&signed(&text))).unwrap();
    assert_eq!(accepted.claims["sub"], "alice@example.org");
    assert_eq!(accepted.claims.get("groups"), Some(&Value::String("ab".to_owned())));
}

#[test]
fn a_token_is_asked_for_with_an_assertion_for_the_token_endpoint() {
    let judge = Judge { recipient: TOKEN, ..Judge::new() };
    let slug = |text: &str| judge.grant(text).map_or_else(|problem| problem.fault.slug, |_| "");
    let grant = replaced(&assertion(), ACS, TOKEN);
    let accepted = judge.grant(&signed(&grant)).unwrap();
    assert_eq!((accepted.id.as_str(), accepted.name_id.value.as_str()), ("a1", "alice@example.org"));
    assert_eq!(slug(&grant), "saml/signature");
    assert_eq!(slug(&signed(&assertion())), "saml/recipient");
    assert_eq!(slug(&signed(&response(&grant))), "saml/malformed");
    assert_eq!(slug(&signed(&replaced(&grant, "cm:bearer", "cm:holder-of-key"))), "saml/malformed");
    let without = |end: &str| {
        let (before, rest) = grant.split_once("<saml:SubjectConfirmationData").unwrap();
        let (_, behind) = rest.split_once("/>").unwrap();
        signed(&format!("{before}{behind}").replace(end, ""))
    };
    assert_eq!(slug(&without("nothing")), "", "RFC 7522 §3: the conditions end");
    assert_eq!(slug(&without("NotOnOrAfter=\"2026-01-01T00:15:00Z\"")), "saml/malformed");
    assert_eq!(judge.expected().judge_grant("***", at(NOW)).unwrap_err().fault.slug, "saml/malformed");
}
