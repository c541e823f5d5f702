use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;
use tollgate_core::path::normalised;

use super::*;
use canonical::{Dots, Encoding};

mod suite;

/// What botocore signed: `tests/clients/sigv4_botocore.py` made it.
#[derive(Deserialize)]
struct Botocore {
    key: String,
    secret: String,
    time: u64,
    requests: Vec<Request>,
}

#[derive(Clone, Debug, Deserialize)]
struct Request {
    kind: String,
    service: String,
    region: String,
    token: Option<String>,
    method: String,
    host: String,
    path: String,
    query: String,
    /// The fields before it was signed.
    before: Vec<(String, String)>,
    unsigned: bool,
    /// And afterwards.
    headers: Vec<(String, String)>,
    body: String,
}

fn botocore() -> Botocore {
    serde_json::from_str(include_str!("botocore.json")).unwrap()
}

fn lines(fields: &[(String, String)]) -> Vec<(&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.trim().as_bytes())).collect()
}

impl Request {
    fn message(&self) -> Message<'_> {
        let query = (!self.query.is_empty()).then_some(&*self.query);
        let (method, host, path) = (&self.method, &self.host, &self.path);
        Message { method, scheme: "https", host, path, query, fields: lines(&self.headers) }
    }

    fn is_presigned(&self) -> bool {
        self.kind.ends_with("QueryAuth")
    }

    fn header(&mut self, name: &str) -> &mut String {
        let (_, value) = self.headers.iter_mut().find(|(have, _)| have.eq_ignore_ascii_case(name)).unwrap();
        value
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn settings() -> Settings {
    let (regions, services) = (Vec::new(), Vec::new());
    Settings { regions, services, skew: Settings::SKEW, unsigned: UnsignedBodies::Taken }
}

fn verify(settings: Settings, all: &Botocore, request: &Request, now: u64) -> Result<Option<Verified>, Problem> {
    let body = hash(request.body.as_bytes());
    let lookup = |key: &str, token: Option<&str>| {
        let is_known = key == all.key && token.is_none_or(|token| token == "a/session+token==");
        is_known.then(|| Secret::new(all.secret.as_bytes()))
    };
    Verifier::new(settings).verify(&request.message(), Some(&body), at(now), lookup)
}

/// The fault of a request; empty: it is taken.
fn judged(settings: Settings, all: &Botocore, request: &Request, now: u64) -> &'static str {
    match verify(settings, all, request, now) {
        Ok(Some(_)) => "",
        Ok(None) => "none",
        Err(problem) => problem.fault.slug,
    }
}

#[test]
fn what_botocore_signs_is_taken() {
    let all = botocore();
    assert!(all.requests.len() > 40);
    for request in &all.requests {
        let verified =
            verify(settings(), &all, request, all.time).unwrap_or_else(|problem| panic!("{request:?}: {problem:?}"));
        let verified = verified.unwrap();
        assert_eq!((&verified.key, &verified.token), (&all.key, &request.token), "{request:?}");
        assert_eq!((&verified.region, &verified.service), (&request.region, &request.service));
        assert_eq!(verified.signed, at(all.time));
        let is_unsigned = request.unsigned || request.kind == "S3SigV4QueryAuth";
        assert_eq!(verified.payload == Payload::Unsigned, is_unsigned, "{request:?}");
    }
}

#[test]
fn a_request_is_signed_as_botocore_signs_it() {
    let (all, mut compared) = (botocore(), 0);
    for request in all.requests.iter().filter(|request| !request.is_presigned()) {
        // Botocore puts the time into `Date` where there is one.
        if request.headers.iter().any(|(name, _)| name == "Date") {
            continue;
        }
        let never = ["expect", "user-agent"];
        let fields = request.before.iter().map(|(name, _)| name.to_lowercase());
        let signer = Signer {
            key: all.key.clone(),
            secret: Secret::new(all.secret.as_bytes()),
            token: request.token.clone(),
            region: request.region.clone(),
            service: request.service.clone(),
            fields: fields.filter(|name| !never.contains(&name.as_str())).collect(),
            hash: HashField::WhereNeeded,
        };
        let payload = if request.unsigned { Payload::Unsigned } else { Payload::Hash(hash(request.body.as_bytes())) };
        let mut message = request.message();
        message.fields = lines(&request.before);
        // Whatever somebody else put there is not signed with the rest.
        message.fields.push((b"x-amz-DATE", b"20000101T000000Z"));
        let mut made = signer.sign(&message, &payload, at(all.time)).unwrap();
        let after: Vec<_> = request.headers.iter().filter(|line| !request.before.contains(line)).collect();
        let mut after: Vec<_> = after.into_iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        after.sort();
        made.sort_by_key(|(name, _)| name.to_lowercase());
        let made: Vec<_> = made.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        assert_eq!(made, after, "{request:?}");
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn what_we_sign_we_take() {
    let all = botocore();
    let signer = Signer {
        key: all.key.clone(),
        secret: Secret::new(all.secret.as_bytes()),
        token: None,
        region: "eu-west-1".to_owned(),
        service: "execute-api".to_owned(),
        fields: vec!["x-one".to_owned()],
        hash: HashField::Always,
    };
    let mut request = all.requests[0].clone();
    request.headers = vec![("X-One".to_owned(), "1".to_owned()), ("X-Two".to_owned(), "2".to_owned())];
    let made = signer.sign(&request.message(), &Payload::Hash(hash(b"")), at(all.time)).unwrap();
    assert!(made.iter().any(|(name, _)| *name == "X-Amz-Content-Sha256"));
    request.headers.extend(made.into_iter().map(|(name, value)| (name.to_owned(), value)));
    request.header("X-Two").push('2');
    assert_eq!(judged(settings(), &all, &request, all.time), "", "it is not among the signed fields");
    request.header("X-One").push('1');
    assert_eq!(judged(settings(), &all, &request, all.time), "sigv4/signature");
    request.query = "a=1%".to_owned();
    assert!(signer.sign(&request.message(), &Payload::Unsigned, at(all.time)).is_err());
    let signer = Signer { token: Some("a token".to_owned()), ..signer };
    let shown = format!("{signer:?}");
    assert!(!shown.contains(&all.secret) && !shown.contains("a token"), "{shown}");
}

#[test]
fn a_signature_is_good_for_its_time_region_and_service() {
    let all = botocore();
    let find = |kind: &str| all.requests.iter().find(|request| request.kind == kind).unwrap();
    let (field, url) = (find("SigV4Auth"), find("SigV4QueryAuth"));
    for (request, now, told) in [
        (field, all.time + 300, ""),
        (field, all.time + 301, "sigv4/expired"),
        (field, all.time - 300, ""),
        (field, all.time - 301, "sigv4/expired"),
        (url, all.time + 60, ""),
        (url, all.time + 61, "sigv4/expired"),
        (url, all.time - 301, "sigv4/expired"),
    ] {
        assert_eq!(judged(settings(), &all, request, now), told, "{now}");
    }
    let only = |text: &str| vec!["x".to_owned(), text.to_owned()];
    for (regions, services, told) in [
        (only("eu-central-1"), only("execute-api"), ""),
        (only("eu-central-2"), only("execute-api"), "sigv4/scope"),
        (only("eu-central-1"), only("s3"), "sigv4/scope"),
    ] {
        assert_eq!(judged(Settings { regions, services, ..settings() }, &all, field, all.time), told);
    }
    let other_day = Botocore { time: all.time, ..botocore() };
    let mut request = field.clone();
    *request.header("authorization") = request.header("authorization").replace("20260102", "20260103");
    assert_eq!(judged(settings(), &other_day, &request, all.time), "sigv4/scope");
}

#[test]
fn keys_and_bodies_are_judged_each_by_its_own_fault() {
    let all = botocore();
    let other = |key: &str, secret: &str| Botocore { key: key.to_owned(), secret: secret.to_owned(), ..botocore() };
    let request = &all.requests[0];
    assert_eq!(judged(settings(), &other("other", &all.secret), request, all.time), "sigv4/unknown-key");
    assert_eq!(judged(settings(), &other(&all.key, "other"), request, all.time), "sigv4/signature");
    let mut told =
        all.requests.iter().find(|request| request.kind == "S3SigV4Auth" && !request.body.is_empty()).unwrap().clone();
    told.body.push('!');
    assert_eq!(judged(settings(), &all, &told, all.time), "sigv4/body");
    // Where the hash is signed without being told, another body cannot be told from another signature.
    let mut untold = request.clone();
    untold.body.push('!');
    assert_eq!(judged(settings(), &all, &untold, all.time), "sigv4/signature");
    let verifier = Verifier::new(settings());
    let claim = verifier.read(&untold.message(), at(all.time)).unwrap().unwrap();
    assert!(claim.needs_body() && claim.key() == all.key && claim.token().is_none());
    let secret = Secret::new(all.secret.as_bytes());
    assert_eq!(verifier.judge(&untold.message(), claim, &secret, None).unwrap_err().fault.slug, "sigv4/body");
    // One that is told can be compared later.
    let claim = verifier.read(&told.message(), at(all.time)).unwrap().unwrap();
    assert!(!claim.needs_body());
    let verified = verifier.judge(&told.message(), claim, &secret, None).unwrap();
    assert_eq!(verified.payload.check(&hash(told.body.as_bytes())).unwrap_err().fault.slug, "sigv4/body");
    let strict = Settings { unsigned: UnsignedBodies::Refused, ..settings() };
    let count = all.requests.iter().filter(|request| judged(strict.clone(), &all, request, all.time) == "sigv4/body");
    assert!(count.count() >= 5, "those that are not signed, and the URLs presigned for S3");
}

/// A change of a request, with what is said of it.
type Change = (&'static str, fn(&mut Request));

#[test]
fn what_cannot_be_read_is_refused() {
    const CHANGES: &[Change] = &[
        ("none", |r| *r.header("authorization") = "Bearer x".to_owned()),
        ("sigv4/malformed", |r| *r.header("authorization") = "AWS4-ECDSA-P256-SHA256 Credential=x".to_owned()),
        ("sigv4/malformed", |r| *r.header("authorization") = "aws4-hmac-sha256".to_owned()),
        ("sigv4/malformed", |r| r.header("authorization").push_str(", Signature=00")),
        ("sigv4/malformed", |r| r.header("authorization").push_str(", More=1")),
        ("sigv4/malformed", |r| *r.header("authorization") = r.header("authorization").replace("=host;", "=")),
        ("sigv4/malformed", |r| {
            *r.header("authorization") = r.header("authorization").replace("host;x-amz-date", "host")
        }),
        ("sigv4/malformed", |r| *r.header("authorization") = r.header("authorization").replace("host;", "Host;")),
        ("sigv4/malformed", |r| *r.header("authorization") = r.header("authorization").replace("host;", "host;host;")),
        ("sigv4/malformed", |r| {
            *r.header("authorization") = r.header("authorization").replace("host;", "host;not-there;")
        }),
        ("sigv4/malformed", |r| *r.header("authorization") = r.header("authorization").replace("eu-central-1", "")),
        ("sigv4/malformed", |r| *r.header("authorization") = r.header("authorization").replace("/eu-central-1", "")),
        ("sigv4/scope", |r| {
            *r.header("authorization") = r.header("authorization").replace("aws4_request", "aws5_request")
        }),
        ("sigv4/malformed", |r| *r.header("authorization") = r.header("authorization").to_uppercase()),
        ("sigv4/malformed", |r| *r.header("x-amz-date") = "2026-01-02T03:04:05Z".to_owned()),
        ("sigv4/malformed", |r| *r.header("x-amz-date") = "20260102T036005Z".to_owned()),
        ("sigv4/malformed", |r| r.headers.retain(|(name, _)| name != "X-Amz-Date")),
        ("sigv4/malformed", |r| r.headers.extend_from_within(..)),
        ("sigv4/malformed", |r| r.headers.push(("X-Amz-Target".to_owned(), "unsigned".to_owned()))),
        ("sigv4/malformed", |r| r.headers.push(("X-Amz-Content-Sha256".to_owned(), "unsigned".to_owned()))),
        ("sigv4/malformed", |r| r.path = "/a/.".to_owned()),
        ("sigv4/malformed", |r| r.path = "*".to_owned()),
        ("sigv4/malformed", |r| r.query = "a=1%".to_owned()),
        ("sigv4/malformed", |r| r.query = "X-Amz-Signature=00".to_owned()),
    ];
    let all = botocore();
    for (at, (told, change)) in CHANGES.iter().enumerate() {
        let mut request = all.requests[1].clone();
        change(&mut request);
        assert_eq!(judged(settings(), &all, &request, all.time), *told, "change {at}: {request:?}");
    }
}

#[test]
fn a_presigned_url_that_cannot_be_read_is_refused() {
    let all = botocore();
    let url = all.requests.iter().find(|request| request.kind == "SigV4QueryAuth").unwrap();
    for (from, to, told) in [
        ("X-Amz-Expires=60", "X-Amz-Expires=604801", "sigv4/malformed"),
        ("X-Amz-Expires=60", "X-Amz-Expires=0", "sigv4/malformed"),
        ("X-Amz-Expires=60", "X-Amz-Expires=%2B60", "sigv4/malformed"),
        ("X-Amz-Expires=60", "X-Amz-Expires=600", "sigv4/signature"),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60", "sigv4/malformed"),
        ("X-Amz-Expires=60&", "", "sigv4/malformed"),
        ("=AWS4-HMAC-SHA256", "=AWS4-HMAC-SHA1", "sigv4/malformed"),
        ("X-Amz-Signature=", "X-Amz-Signature=0", "sigv4/malformed"),
        ("X-Amz-Signature=", "X-Amz-SignaturE=", "sigv4/malformed"),
        ("%2F20260102", "%2F20260103", "sigv4/scope"),
        ("z=1", "z=2", "sigv4/signature"),
        ("z=1", "z=1&", "sigv4/signature"),
    ] {
        let query = url.query.replacen(from, to, 1);
        assert_ne!(query, url.query);
        assert_eq!(judged(settings(), &all, &Request { query, ..url.clone() }, all.time), told, "{from} -> {to}");
    }
    let mut chunked = all.requests[1].clone();
    chunked.headers.push(("x-amz-content-sha256".to_owned(), "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned()));
    let value = chunked.header("authorization");
    *value = value.replace("host;", "host;x-amz-content-sha256;");
    assert_eq!(judged(settings(), &all, &chunked, all.time), "sigv4/streaming");
}

/// What a service makes of a request, as far as it is signed.
fn meaning(request: &Request) -> impl PartialEq + use<> {
    let path =
        normalised(if request.path.is_empty() { b"/" } else { request.path.as_bytes() }).map(|path| path.into_owned());
    let mut query: Vec<_> = form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
    query.sort();
    let trim = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| (name.to_lowercase(), trim(value))).collect();
    (request.method.clone(), trim(&request.host), path.ok(), query, headers, request.body.clone())
}

proptest! {
    #[test]
    fn no_input_panics(method in ".*", host in ".*", path in ".*", query in ".*", name in "(?i)x-amz-date|date|.*", value in ".*",
        pick in any::<Index>(), cut in any::<Index>(), with in ".{0,3}") {
        let all = botocore();
        let mut request = pick.get(&all.requests).clone();
        if let Some((_, value)) = request.headers.iter_mut().find(|(name, _)| name == "Authorization") {
            let at = cut.index(value.len());
            value.replace_range(at..=at, &with);
        }
        request.headers.push((name, value));
        let _ = verify(settings(), &all, &request, all.time);
        let _ = verify(settings(), &all, &Request { method, host, path, query, ..request }, all.time);
    }

    #[test]
    fn nothing_that_is_signed_can_be_changed(pick in any::<Index>(), what in 0..6_u8, line in any::<Index>(), cut in any::<Index>(),
        with in "[ -~]") {
        let all = botocore();
        let before = pick.get(&all.requests);
        let mut after = before.clone();
        let place = match what {
            0 => &mut after.method,
            1 => &mut after.host,
            2 => &mut after.path,
            3 => &mut after.query,
            4 if !before.unsigned && before.kind != "S3SigV4QueryAuth" => &mut after.body,
            _ if after.headers.is_empty() => &mut after.method,
            _ => {
                let signed = !["user-agent", "expect"].contains(&line.get(&before.headers).0.to_lowercase().as_str());
                prop_assume!(signed);
                let at = line.index(after.headers.len());
                &mut after.headers[at].1
            }
        };
        let chars: Vec<(usize, char)> = place.char_indices().collect();
        match chars.is_empty() {
            true => place.push_str(&with),
            false => {
                let (at, old) = *cut.get(&chars);
                place.replace_range(at..at + old.len_utf8(), &with);
            }
        }
        // What has no normal form is refused before anybody looks at its signature; AWS clamps `/..`, for one.
        let is_taken = |request: &Request| request.path.is_empty() || normalised(request.path.as_bytes()).is_ok();
        prop_assume!(is_taken(before) && is_taken(&after) && meaning(before) != meaning(&after));
        let told = judged(settings(), &all, &after, all.time);
        prop_assert_ne!(told, "", "{:?}", after);
    }
}
