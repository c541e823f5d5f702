use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use data_encoding::BASE64;
use serde_json::json;
use tollgate_core::caller::{self, CallError};
use tollgate_core::facts::{Conn, Route};
use tollgate_core::policy::BoxFuture;

use super::*;
use crate::client::Proof;

const NOW: u64 = 1_767_225_600;

/// Answers with this, and counts how often it was asked.
#[derive(Debug)]
struct Provider {
    says: Mutex<Result<(u16, Value), &'static str>>,
    asked: AtomicUsize,
    last: Mutex<Option<Call>>,
    gate: tokio::sync::Semaphore,
}

impl Provider {
    fn new(says: Value) -> Arc<Self> {
        let (says, gate) = (Mutex::new(Ok((200, says))), tokio::sync::Semaphore::new(1_000_000));
        Arc::new(Self { says, asked: AtomicUsize::new(0), last: Mutex::default(), gate })
    }
}

#[derive(Debug)]
struct Port(Arc<Provider>);

impl Caller for Port {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<caller::Answer, CallError>> {
        let provider = Arc::clone(&self.0);
        Box::pin(async move {
            let _open = provider.gate.acquire().await.unwrap();
            provider.asked.fetch_add(1, Ordering::AcqRel);
            *lock(&provider.last) = Some(call);
            let (status, body) = lock(&provider.says).clone().map_err(|why| CallError(why.to_owned()))?;
            Ok(caller::Answer { status, body: body.to_string().into_bytes(), ..caller::Answer::default() })
        })
    }
}

fn settings() -> Settings {
    Settings {
        issuer: "https://idp.example".to_owned(),
        url: Some("https://idp.example/introspect".to_owned()),
        client: client(Proof::Basic("s:e%c".to_owned())),
        audiences: vec!["orders".to_owned()],
        cache: Duration::from_secs(30),
        negative: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        skew: Duration::from_secs(30),
        largest: 1000,
        remember: 1000,
        at_once: 2,
        trader: None,
        bound: crate::bound::Settings { bound: crate::bound::Bound::Optional, forwarded: false, dpop: None },
    }
}

fn client(proof: Proof) -> Client {
    Client { id: "gate way".to_owned(), proof }
}

fn source(provider: &Arc<Provider>, settings: Settings) -> (OpaqueSource, Clock) {
    let clock = Clock::fake(UNIX_EPOCH + Duration::from_secs(NOW));
    let source = OpaqueSource::new("opaque", settings, clock.clone());
    let port: Arc<dyn Caller> = Arc::new(Port(Arc::clone(provider)));
    source.start(&port, &Handle::current());
    (source, clock)
}

fn asked(token: &str) -> Exchange {
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
    let clock = Clock::real();
    let mut x = Exchange::new(Arc::new(Conn::new(local, local, 0)), Arc::new(Route::default()), clock.now());
    x.head.fields.add("Authorization", format!("Bearer {token}"));
    x
}

/// What becomes of a token: the subject, or the fault.
async fn judged(source: &OpaqueSource, token: &str) -> Result<String, &'static str> {
    let x = asked(token);
    let checked = match source.authenticate(&x, Effort::Full) {
        Found::Checked(checked) => checked,
        Found::Checking(checking) => checking.await,
        _ => panic!("it takes every token"),
    };
    checked.map(|principal| principal.subject.to_string()).map_err(|problem| problem.fault.slug)
}

fn good() -> Value {
    json!({ "active": true, "sub": "alice", "aud": ["orders"], "iss": "https://idp.example", "exp": NOW + 600, "scope": "a b" })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

#[tokio::test]
async fn an_answer_holds_for_a_while_and_so_does_a_refusal() {
    let provider = Provider::new(good());
    let (source, clock) = source(&provider, settings());
    let count = || provider.asked.load(Ordering::Acquire);
    for _ in 0..3 {
        assert_eq!(judged(&source, "t").await.as_deref(), Ok("alice"));
    }
    assert_eq!(count(), 1);
    *lock(&provider.says) = Ok((200, json!({ "active": false })));
    clock.advance(Duration::from_secs(29));
    assert_eq!(judged(&source, "t").await.as_deref(), Ok("alice"));
    clock.advance(Duration::from_secs(1));
    for _ in 0..3 {
        assert_eq!(judged(&source, "t").await, Err("token/inactive"), "revocation is seen");
    }
    assert_eq!(count(), 2);
    clock.advance(Duration::from_secs(10));
    assert_eq!(judged(&source, "t").await, Err("token/inactive"));
    assert_eq!(count(), 3);
}

#[tokio::test]
async fn an_answer_in_the_store_is_judged_anew_and_holds_as_long_as_if_it_had_been_asked_for() {
    let provider = Provider::new(good());
    let store: Arc<dyn CacheStore> = Arc::new(crate::marks::Marks::new(9));
    let make = |settings| {
        let (source, clock) = source(&provider, settings);
        source.keep_in(&store);
        (source, clock)
    };
    let count = || provider.asked.load(Ordering::Acquire);
    let (before, _) = make(settings());
    assert_eq!(judged(&before, "t").await.as_deref(), Ok("alice"));
    *lock(&provider.says) = Ok((200, json!({ "active": false })));
    assert_eq!(judged(&before, "u").await, Err("token/inactive"));
    assert_eq!(count(), 2);

    let (after, clock) = make(settings());
    clock.advance(Duration::from_secs(9));
    assert_eq!(judged(&after, "t").await.as_deref(), Ok("alice"));
    assert_eq!(judged(&after, "u").await, Err("token/inactive"));
    let (stock, _) = make(Settings { audiences: vec!["stock".to_owned()], ..settings() });
    assert_eq!(judged(&stock, "t").await, Err("token/audience"), "by the config of now");
    assert_eq!(count(), 2, "nobody asked");

    clock.advance(Duration::from_secs(1));
    assert_eq!(judged(&after, "u").await, Err("token/inactive"));
    assert_eq!(count(), 3, "a refusal holds for ten seconds from when it was asked for");
    let other = Client { id: "other".to_owned(), proof: Proof::None };
    let (other, _) = make(Settings { client: other, ..settings() });
    assert_eq!((judged(&other, "t").await, count()), (Err("token/inactive"), 4), "another client may be told less");
    let (stricter, clock) = make(Settings { cache: Duration::from_secs(5), ..settings() });
    clock.advance(Duration::from_secs(5));
    assert_eq!((judged(&stricter, "t").await, count()), (Err("token/inactive"), 5), "shorter by the config of now");
}

#[tokio::test]
async fn an_answer_holds_no_longer_than_the_token() {
    let provider = Provider::new(with("exp", json!(NOW + 1)));
    let (source, clock) = source(&provider, Settings { skew: Duration::ZERO, ..settings() });
    assert_eq!(judged(&source, "t").await.as_deref(), Ok("alice"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(judged(&source, "t").await, Err("token/inactive"));
}

#[tokio::test]
async fn what_the_provider_says_is_judged() {
    for (says, expected) in [
        (good(), Ok("alice")),
        (with("active", json!(false)), Err("token/inactive")),
        (with("active", json!("true")), Err("token/unavailable")),
        (json!({}), Err("token/unavailable")),
        (json!([]), Err("token/unavailable")),
        (with("exp", json!(NOW - 31)), Err("token/inactive")),
        (with("exp", json!("soon")), Err("token/unavailable")),
        (with("nbf", json!(NOW + 31)), Err("token/inactive")),
        (with("iss", json!("https://evil.example")), Err("token/inactive")),
        (with("aud", json!("stock")), Err("token/audience")),
        (with("aud", json!(7)), Err("token/audience")),
        (with("cnf", json!({ "jkt": "x" })), Err("token/inactive")),
    ] {
        let provider = Provider::new(says.clone());
        let (source, _) = source(&provider, settings());
        assert_eq!(judged(&source, "t").await.as_deref().map_err(|slug| *slug), expected, "{says}");
    }
}

#[tokio::test]
async fn all_who_bring_a_token_wait_for_one_answer_and_how_many_are_asked_about_is_bounded() {
    let provider = Provider::new(good());
    let held = provider.gate.acquire_many(1_000_000).await.unwrap();
    let (source, _) = source(&provider, settings());
    let waiting: Vec<_> = (0..50)
        .map(|n| (source.clone(), if n % 2 == 0 { "a" } else { "b" }))
        .map(|(source, token)| tokio::spawn(async move { judged(&source, token).await }))
        .collect();
    while source.0.together.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(judged(&source, "c").await, Err("token/crowded"));
    drop(held);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().as_deref(), Ok("alice"));
    }
    assert_eq!(provider.asked.load(Ordering::Acquire), 2);
    assert_eq!(source.0.together.len(), 0);
}

#[tokio::test]
async fn trouble_of_the_provider_is_never_the_clients() {
    let provider = Provider::new(good());
    let (source, _) = source(&provider, settings());
    for says in [Err("refused"), Ok((401, json!({}))), Ok((500, json!({}))), Ok((302, json!({})))] {
        *lock(&provider.says) = says;
        assert_eq!(judged(&source, "t").await, Err("token/unavailable"));
        assert!(matches!(source.standing(), Standing::Stale { .. }));
    }
    *lock(&provider.says) = Ok((200, good()));
    assert_eq!(judged(&source, "t").await.as_deref(), Ok("alice"), "that is not remembered");
    assert_eq!(source.standing(), Standing::Good);
}

#[tokio::test]
async fn the_question_is_as_the_standards_say() {
    let provider = Provider::new(good());
    let (basic, _) = source(&provider, settings());
    judged(&basic, "a+b/c=").await.unwrap();
    let call = lock(&provider.last).take().unwrap();
    assert_eq!(String::from_utf8(call.body).unwrap(), "token=a%2Bb%2Fc%3D&token_type_hint=access_token");
    let joined = BASE64.encode(b"gate+way:s%3Ae%25c");
    assert!(call.fields.contains(&("Authorization", format!("Basic {joined}"))), "{:?}", call.fields);
    let (post, _) = source(&provider, Settings { client: client(Proof::Post("s:e%c".to_owned())), ..settings() });
    judged(&post, "t").await.unwrap();
    let body = String::from_utf8(lock(&provider.last).take().unwrap().body).unwrap();
    assert!(body.ends_with("&client_id=gate+way&client_secret=s%3Ae%25c"), "{body}");
}
