use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tollgate_core::buffer::Buffer;

use super::*;
use crate::content_digest::Checker;
use crate::signature::{Component, Expected, Nonce, SigningKey, Told, VerifyingKey};
use crate::sigv4::{HashField, Secret, Settings, UnsignedBodies, Verifier};

const HEAD: &[u8] = b"POST /a/b?x=1 HTTP/1.1\r\nHost: shop.example\r\nContent-Type: text/plain\r\nX-Tenant: acme\r\n";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn clock() -> Clock {
    Clock::fake(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

fn aws(service: &str, body: Body) -> Arc<AwsSigner> {
    let signer = sigv4::Signer {
        key: "AKID".into(),
        secret: Secret::new(SECRET),
        token: None,
        region: "eu-west-1".into(),
        service: service.into(),
        fields: vec!["x-tenant".into()],
        hash: HashField::WhereNeeded,
    };
    AwsSigner::new("bucket", signer, body, clock())
}

fn component(name: &str) -> Component {
    Component::read(name).unwrap()
}

fn message_signer(of: DigestOf) -> Arc<MessageSigner> {
    let settings = signature::Settings {
        key: Some("k".into()),
        components: ["@method", "@target-uri", "x-tenant"].map(component).to_vec(),
        optional: vec![component("content-digest")],
        tag: None,
        life: Some(Duration::from_secs(60)),
        nonce: Nonce::Random,
        algorithm: Told::Yes,
    };
    let signer = signature::Signer::new("tollgate", Arc::new(SigningKey::shared(SECRET).unwrap()), settings).unwrap();
    MessageSigner::new("own", signer, Some(Digest { algorithm: Algorithm::Sha256, most: 100, of }), clock())
}

/// The head with what was signed behind it.
fn whole(fields: &[(&'static str, String)]) -> Vec<u8> {
    let lines = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    [HEAD, lines.as_bytes()].concat()
}

#[test]
fn what_is_signed_as_aws_has_it_holds_and_covers_the_body() {
    let content = Bytes::from_static(b"hello");
    for (service, payload) in [("execute-api", sigv4::hash(b"hello")), ("s3", sigv4::hash(b"hello"))] {
        let fields =
            aws(service, Body::Signed(10)).sign(&Outgoing { head: HEAD, scheme: "http", content: Some(&content) });
        let head = whole(&fields.unwrap());
        let message = Message::sent(&head, "http").unwrap();
        let settings =
            Settings { regions: vec![], services: vec![], skew: Settings::SKEW, unsigned: UnsignedBodies::Refused };
        let verifier = Verifier::new(settings);
        let judge = |body| verifier.verify(&message, Some(body), clock().unix(), |_, _| Some(Secret::new(SECRET)));
        assert!(judge(&payload).unwrap().is_some());
        assert!(judge(&sigv4::hash(b"hullo")).is_err(), "{service}");
    }
    let unsigned = aws("s3", Body::Unsigned);
    assert_eq!((unsigned.most_content(), aws("s3", Body::Signed(7)).most_content()), (0, 7));
    let fields = unsigned.sign(&Outgoing { head: HEAD, scheme: "http", content: None }).unwrap();
    assert!(fields.iter().any(|(_, value)| value == "UNSIGNED-PAYLOAD"));
}

#[test]
fn message_signatures_hold_and_cover_the_digest_of_a_body() {
    let content = Bytes::from_static(b"hello");
    let verifier = signature::Verifier::new(Expected {
        components: ["@method", "@target-uri", "x-tenant"].map(component).to_vec(),
        tag: None,
        age: Duration::from_secs(60),
        skew: Duration::ZERO,
    });
    for (of, content, has_digest) in
        [(DigestOf::Bodies, Some(&content), true), (DigestOf::Bodies, None, false), (DigestOf::Everything, None, true)]
    {
        let fields = message_signer(of).sign(&Outgoing { head: HEAD, scheme: "https", content }).unwrap();
        let head = whole(&fields);
        let message = Message::sent(&head, "https").unwrap();
        let key = Arc::new(VerifyingKey::shared(SECRET).unwrap());
        let verified = verifier.verify(&message, clock().unix(), |_| Some(Arc::clone(&key))).unwrap().unwrap();
        assert_eq!(verified.components.contains(&component("content-digest")), has_digest);
        let checker = Checker::of(&message).unwrap();
        assert_eq!(checker.is_some(), has_digest);
        if let Some(checker) = checker {
            checker.check(content.map_or(b"", |content| content)).unwrap();
        }
        let elsewhere = Message::sent(&head, "http").unwrap();
        assert!(verifier.verify(&elsewhere, clock().unix(), |_| Some(Arc::clone(&key))).is_err(), "another scheme");
    }
}

#[test]
fn what_cannot_be_signed_is_a_fault_of_the_gateway_and_its_log_says_why() {
    let head = b"GET / HTTP/1.1\r\nHost: h\r\n";
    let problem = message_signer(DigestOf::Bodies).sign(&Outgoing { head, scheme: "http", content: None }).unwrap_err();
    assert_eq!((problem.fault.slug, problem.fault.status), ("sign/impossible", 500));
    assert!(problem.cause.as_ref().unwrap().contains("x-tenant"));
    let problem =
        aws("s3", Body::Unsigned).sign(&Outgoing { head: b"\xff", scheme: "http", content: None }).unwrap_err();
    assert_eq!(problem.fault.slug, "sign/impossible");
}

#[test]
fn a_request_keeps_the_signatures_of_others_but_none_that_goes_by_the_gateways_label() {
    let head = |fields: &[(&'static str, &'static str)]| {
        let mut head = RequestHead::default();
        head.fields.buffer = Buffer::none();
        fields.iter().for_each(|(name, value)| head.fields.add(*name, *value));
        message_signer(DigestOf::Bodies).prepare(&mut head);
        head.fields.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
    };
    let others =
        [("Signature-Input", "sig=();created=1"), ("Signature", "sig=:AAAA:"), ("Content-Digest", "sha-256=:AAAA:")];
    assert_eq!(head(&others), ["Signature-Input", "Signature"]);
    assert_eq!(head(&[("Signature-Input", "tollgate=();created=1"), ("Signature", "sig=:AAAA:"), ("X", "y")]), ["X"]);
    assert_eq!(head(&[("Signature-Input", "no dictionary"), ("X", "y")]), ["X"], "nothing can be added to that");
}
