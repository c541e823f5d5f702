use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;

use super::*;
use crate::content_digest::Checker;

mod rfc9421;

/// What the package http-message-signatures signed: `tests/clients/signature_python.py` made it.
#[derive(Deserialize)]
struct Python {
    time: u64,
    keys: serde_json::Map<String, serde_json::Value>,
    requests: Vec<Request>,
}

#[derive(Clone, Debug, Deserialize)]
struct Request {
    algorithm: String,
    method: String,
    scheme: String,
    host: String,
    path: String,
    query: Option<String>,
    covered: Vec<String>,
    tag: Option<String>,
    /// It has neither a nonce nor an end.
    plain: bool,
    /// It names the algorithm.
    alg: bool,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Request {
    fn message(&self) -> Message<'_> {
        let fields = self.headers.iter().map(|(name, value)| (name.as_bytes(), value.trim().as_bytes())).collect();
        let (method, scheme, host, path) = (&self.method, &self.scheme, &self.host, &self.path);
        Message { method, scheme, host, path, query: self.query.as_deref(), fields }
    }

    fn components(&self) -> Vec<Component> {
        let read = |text: &String| Component::read(&text.replacen('"', "", if text.starts_with('"') { 2 } else { 0 }));
        self.covered.iter().map(|text| read(text).unwrap()).collect()
    }

    fn header(&mut self, name: &str) -> &mut String {
        let (_, value) = self.headers.iter_mut().find(|(have, _)| have == name).unwrap();
        value
    }
}

impl Python {
    fn key(&self, name: &str) -> Option<Arc<VerifyingKey>> {
        let algorithm = Algorithm::of(name)?;
        let text = self.keys.get(name)?.as_str()?;
        Some(Arc::new(match algorithm {
            Algorithm::HmacSha256 => VerifyingKey::shared(&secret(text)).unwrap(),
            _ => VerifyingKey::from_pem(algorithm, text).unwrap(),
        }))
    }
}

fn secret(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn python() -> Python {
    serde_json::from_str(include_str!("python.json")).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn expected() -> Expected {
    let (age, skew) = (Duration::from_secs(300), Duration::from_secs(10));
    Expected { components: Vec::new(), tag: None, age, skew }
}

/// The fault of a request; empty: it is taken.
fn judged(expected: Expected, all: &Python, request: &Request, now: u64) -> &'static str {
    match Verifier::new(expected).verify(&request.message(), at(now), |name| all.key(name?)) {
        Ok(Some(_)) => "",
        Ok(None) => "none",
        Err(problem) => problem.fault.slug,
    }
}

#[test]
fn what_the_python_package_signs_is_taken() {
    let all = python();
    assert!(all.requests.len() > 20);
    for request in &all.requests {
        let expected = Expected { components: request.components(), tag: request.tag.clone(), ..expected() };
        let verifier = Verifier::new(expected);
        let verified = verifier.verify(&request.message(), at(all.time), |name| all.key(name?));
        let verified = verified.unwrap_or_else(|problem| panic!("{request:?}: {problem:?}")).unwrap();
        assert_eq!((&*verified.label, verified.key.as_deref()), ("sig", Some(&*request.algorithm)));
        assert_eq!((&verified.components, &verified.tag), (&request.components(), &request.tag));
        assert_eq!(verified.nonce.as_deref(), (!request.plain).then_some("n\"o\\nce"));
        let ends = if request.plain { 300 } else { 60 };
        assert_eq!((verified.created, verified.expires), (at(all.time), at(all.time + ends + 10)));
        if let Some(checker) = Checker::of(&request.message()).unwrap() {
            assert!(checker.check(request.body.as_deref().unwrap_or_default().as_bytes()).is_ok());
        }
    }
}

#[test]
fn a_request_is_signed_as_the_python_package_signs_it() {
    let (all, mut compared) = (python(), 0);
    let key = secret(all.keys["hmac-sha256"].as_str().unwrap());
    for request in all.requests.iter().filter(|request| request.plain && request.algorithm == "hmac-sha256") {
        let settings = Settings {
            key: Some(request.algorithm.clone()),
            components: request.components(),
            tag: request.tag.clone(),
            algorithm: if request.alg { Told::Yes } else { Told::No },
            ..settings()
        };
        let signer = Signer::new("sig", Arc::new(SigningKey::shared(&key).unwrap()), settings).unwrap();
        let mut unsigned = request.clone();
        unsigned.headers.retain(|(name, _)| !name.starts_with("Signature"));
        let made = signer.sign(&unsigned.message(), at(all.time)).unwrap();
        let made = made.map(|(name, value)| (name.to_owned(), value));
        assert!(request.headers.ends_with(&made), "{request:?}: {made:?}");
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}

fn settings() -> Settings {
    let (components, optional) = (vec![Component::Method, Component::TargetUri], Vec::new());
    Settings { key: None, components, optional, tag: None, life: None, nonce: Nonce::None, algorithm: Told::No }
}

#[test]
fn what_one_half_of_a_key_signs_the_other_one_takes() {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
    let pem = |der: &[u8]| {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", data_encoding::BASE64.encode(der))
    };
    let ec = |algorithm| {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(pair.public_key()).unwrap();
        (pair.to_pkcs8v1().unwrap().as_ref().to_vec(), pem(public.as_ref()))
    };
    let rsa = |size| {
        let pair = RsaKeyPair::generate(size).unwrap();
        let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(pair.public_key()).unwrap();
        (AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair).unwrap().as_ref().to_vec(), pem(public.as_ref()))
    };
    let ed = Ed25519KeyPair::generate().unwrap();
    let public = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(ed.public_key()).unwrap();
    let keys = [
        (Algorithm::Ed25519, (ed.to_pkcs8().unwrap().as_ref().to_vec(), pem(public.as_ref()))),
        (Algorithm::EcdsaP256Sha256, ec(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING)),
        (Algorithm::EcdsaP384Sha384, ec(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING)),
        (Algorithm::RsaPssSha512, rsa(KeySize::Rsa2048)),
        (Algorithm::RsaV15Sha256, rsa(KeySize::Rsa2048)),
    ];
    for (algorithm, (document, public)) in &keys {
        let key = Arc::new(SigningKey::from_pkcs8(*algorithm, document).unwrap());
        let verifying = Arc::new(VerifyingKey::from_pem(*algorithm, public).unwrap());
        let optional = vec![Component::Field("x-there".to_owned()), Component::Field("x-not".to_owned())];
        let life = Some(Duration::from_secs(20));
        let settings = Settings { optional, life, nonce: Nonce::Random, algorithm: Told::Yes, ..settings() };
        let signer = Signer::new("a", Arc::clone(&key), settings).unwrap();
        let mut request = python().requests[0].clone();
        request.headers = vec![("X-There".to_owned(), "1".to_owned())];
        let made = signer.sign(&request.message(), at(1000)).unwrap();
        request.headers.extend(made.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let take =
            |now| Verifier::new(expected()).verify(&request.message(), at(now), |_| Some(Arc::clone(&verifying)));
        let verified = take(1030).unwrap().unwrap();
        assert_eq!(verified.components.len(), 3);
        assert!(verified.nonce.is_some_and(|nonce| nonce.len() == 22));
        assert_eq!(take(1031).unwrap_err().fault.slug, "signature/expired");
        assert!(signer.sign(&request.message(), at(1000)).unwrap_err().contains("already"));
        // A key is for one algorithm: for no other one can it be read, but for RSA, where it is the other one's, too.
        let is_rsa = |algorithm| matches!(algorithm, Algorithm::RsaPssSha512 | Algorithm::RsaV15Sha256);
        for other in Algorithm::ALL {
            let is_kin = other == *algorithm || (is_rsa(other) && is_rsa(*algorithm));
            assert_eq!(VerifyingKey::from_pem(other, public).is_ok(), is_kin, "{algorithm:?} as {other:?}");
            assert_eq!(SigningKey::from_pkcs8(other, document).is_some(), is_kin, "{algorithm:?} as {other:?}");
        }
        assert!(!format!("{key:?}{verifying:?}").contains("pair"));
    }
    assert!(VerifyingKey::shared(b"short").is_none() && SigningKey::shared(b"short").is_none());
    assert!(
        SigningKey::from_pem(
            Algorithm::Ed25519,
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"
        )
        .unwrap_err()
        .contains("openssl")
    );
}

#[test]
fn a_key_of_a_jwk_set_is_for_its_algorithm() {
    // RFC 9421 §B.1.4, as a JWK.
    let jwk = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs" });
    let jwk = Arc::new(crate::jwk::Key::read(jwk.as_object().unwrap()).unwrap());
    for algorithm in Algorithm::ALL {
        let key = VerifyingKey::from_jwk(algorithm, Arc::clone(&jwk));
        assert_eq!(key.is_some(), algorithm == Algorithm::Ed25519, "{algorithm:?}");
    }
    let key = Arc::new(VerifyingKey::from_jwk(Algorithm::Ed25519, jwk).unwrap());
    rfc9421::ed25519(&key);
}

#[test]
fn what_a_signature_says_is_judged() {
    let all = python();
    let request = all.requests.iter().find(|request| !request.plain && request.algorithm == "hmac-sha256").unwrap();
    let field = |name: &str| Component::Field(name.to_owned());
    for (expected, now, told) in [
        (expected(), all.time + 70, ""),
        (expected(), all.time + 71, "signature/expired"),
        (expected(), all.time - 10, ""),
        (expected(), all.time - 11, "signature/expired"),
        (Expected { age: Duration::from_secs(20), ..expected() }, all.time + 30, ""),
        (Expected { age: Duration::from_secs(20), ..expected() }, all.time + 31, "signature/expired"),
        (Expected { tag: Some("tag".to_owned()), ..expected() }, all.time, ""),
        (Expected { tag: Some("other".to_owned()), ..expected() }, all.time, "none"),
        (Expected { components: vec![field("x-one"), Component::Query], ..expected() }, all.time, ""),
        (Expected { components: vec![field("content-digest-2")], ..expected() }, all.time, "signature/coverage"),
        (
            Expected { components: vec![Component::QueryParam("x".to_owned())], ..expected() },
            all.time,
            "signature/coverage",
        ),
    ] {
        assert_eq!(judged(expected.clone(), &all, request, now), told, "{expected:?} {now}");
    }
}

/// A change of a request, with what is said of it.
type Change = (&'static str, fn(&mut Request));

#[test]
fn what_does_not_hold_is_refused() {
    const CHANGES: &[Change] = &[
        ("none", |r| r.headers.retain(|(name, _)| name != "Signature-Input")),
        ("signature/malformed", |r| r.headers.retain(|(name, _)| name != "Signature")),
        ("signature/malformed", |r| r.header("Signature-Input").insert(0, '(')),
        ("signature/malformed", |r| *r.header("Signature-Input") = "sig=1".to_owned()),
        ("signature/malformed", |r| *r.header("Signature") = "sig=1".to_owned()),
        ("signature/malformed", |r| *r.header("Signature") = r.header("Signature").replace("sig=", "other=")),
        ("signature/malformed", |r| r.headers.extend_from_within(..)),
        ("signature/coverage", |r| *r.header("Signature-Input") = "sig=()".to_owned()),
        ("signature/malformed", |r| *r.header("Signature-Input") = "sig=();created=\"1\"".to_owned()),
        ("signature/malformed", |r| *r.header("Signature-Input") = "sig=();created=-1".to_owned()),
        ("signature/malformed", |r| *r.header("Signature-Input") = "sig=();created=999999999999999".to_owned()),
        ("signature/unknown-key", |r| *r.header("Signature-Input") = "sig=();created=1767323045".to_owned()),
        ("signature/malformed", |r| *r.header("Signature-Input") = "sig=();created=1767323045;keyid=1".to_owned()),
        ("signature/invalid", |r| {
            *r.header("Signature-Input") =
                r.header("Signature-Input").replace("alg=\"hmac-sha256\"", "alg=\"ed25519\"");
        }),
        ("signature/invalid", |r| r.header("Signature-Input").push_str(";more")),
        ("signature/invalid", |r| r.method = "PATCH".to_owned()),
        ("signature/invalid", |r| r.query = Some("b=d".to_owned())),
        ("signature/malformed", |r| r.query = Some("b=ü".to_owned())),
        ("signature/malformed", |r| r.path = "/\n\"@method\": GET".to_owned()),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"x-not\"")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"@status\"")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"@method\"")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"@path\";req")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"date\";sf")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"date\";bs")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"date\";tr")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "\"Date\"")
        }),
        ("signature/malformed", |r| {
            *r.header("Signature-Input") = r.header("Signature-Input").replace("\"@path\"", "date")
        }),
    ];
    let all = python();
    let request = all.requests.iter().find(|request| request.algorithm == "hmac-sha256").unwrap();
    for (at, (told, change)) in CHANGES.iter().enumerate() {
        let mut request = request.clone();
        change(&mut request);
        assert_eq!(judged(expected(), &all, &request, all.time), *told, "change {at}: {request:?}");
    }
}

#[test]
fn of_several_signatures_one_has_to_hold() {
    let all = python();
    let mut request = all.requests[0].clone();
    let bad = |label: &str| {
        let input = format!("{label}=(\"@method\");created={};keyid=\"hmac-sha256\"", all.time);
        [("Signature-Input".to_owned(), input), ("Signature".to_owned(), format!("{label}=:AAAA:"))]
    };
    request.headers.splice(0..0, bad("a"));
    assert_eq!(judged(expected(), &all, &request, all.time), "");
    *request.headers.last_mut().map(|(_, value)| value).unwrap() = "sig=:AAAA:".to_owned();
    assert_eq!(judged(expected(), &all, &request, all.time), "signature/invalid");
    request.headers.extend(["b", "c", "d", "e"].into_iter().flat_map(bad));
    assert_eq!(judged(expected(), &all, &request, all.time), "signature/malformed");
}

#[test]
fn what_cannot_be_written_is_no_signer() {
    let key = Arc::new(SigningKey::shared(&[1; 32]).unwrap());
    let with = |label: &str, settings: Settings| Signer::new(label, Arc::clone(&key), settings);
    let field = |name: &str| vec![Component::Field(name.to_owned())];
    assert!(with("sig", settings()).is_ok());
    assert!(with("Sig", settings()).is_err() && with("", settings()).is_err() && with("a=1", settings()).is_err());
    for settings in [
        Settings { key: Some("é".to_owned()), ..settings() },
        Settings { tag: Some("a\nb".to_owned()), ..settings() },
        Settings { components: field("Date"), ..settings() },
        Settings { components: field("@status"), ..settings() },
        Settings { components: vec![Component::QueryParam("é".to_owned())], ..settings() },
        Settings { optional: vec![Component::Method], ..settings() },
    ] {
        assert!(with("sig", settings.clone()).is_err(), "{settings:?}");
    }
    let signer = with("sig", Settings { components: field("x-not"), ..settings() }).unwrap();
    let request = &python().requests[0];
    let message = Message { fields: Vec::new(), ..request.message() };
    assert!(signer.sign(&message, at(1)).unwrap_err().contains("x-not"));
}

proptest! {
    #[test]
    fn no_input_panics(input in ".*|sig=.*", signature in ".*|sig=:.*:", method in ".*", host in ".*", path in ".*", query in ".*",
        text in ".*|@query-param.*", pick in any::<Index>(), cut in any::<Index>(), with in "[ -~]{0,3}") {
        let all = python();
        let _ = Component::read(&text);
        let mut request = pick.get(&all.requests).clone();
        let value = request.header("Signature-Input");
        let at = cut.index(value.len());
        value.replace_range(at..=at, &with);
        judged(expected(), &all, &request, all.time);
        let query = Some(query);
        request = Request { method, host, path, query, ..request };
        judged(expected(), &all, &request, all.time);
        *request.header("Signature-Input") = input;
        *request.header("Signature") = signature;
        judged(expected(), &all, &request, all.time);
    }

    #[test]
    fn nothing_that_is_covered_can_be_changed(pick in any::<Index>(), what in 0..7_u8, line in any::<Index>(), cut in any::<Index>(),
        with in "[ -~]") {
        let all = python();
        let requests: Vec<_> = all.requests.iter().filter(|request| request.covered.iter().any(|name| name == "@target-uri")).collect();
        let before = *pick.get(&requests);
        let mut after = before.clone();
        let place = match what {
            0 => &mut after.method,
            1 => &mut after.host,
            2 => &mut after.path,
            3 if after.query.is_some() => after.query.as_mut().unwrap(),
            4 => after.header("Signature"),
            5 => after.header("Signature-Input"),
            _ => {
                let covered = before.headers.iter().position(|(name, _)| name == "X-One");
                prop_assume!(covered.is_some() && line.index(2) == 0);
                &mut after.headers[covered.unwrap()].1
            }
        };
        let at = if place.is_empty() { 0 } else { cut.index(place.len()) };
        let end = (at + 1).min(place.len());
        place.replace_range(at..end, &with);
        let lower = |request: &Request| Request { host: request.host.to_lowercase(), ..request.clone() };
        let (one, other) = (lower(before), lower(&after));
        prop_assume!(format!("{one:?}") != format!("{other:?}"));
        // A blank more or less around the values of a field is none of its value.
        prop_assume!(before.headers.iter().zip(&after.headers).all(|(one, other)| one == other || one.1.trim() != other.1.trim()));
        prop_assert_ne!(judged(expected(), &all, &after, all.time), "", "{:?}", after);
    }
}
