use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tollgate_core::caller::{Answer, Call, CallError};
use tollgate_core::policy::BoxFuture;

use super::*;

const ISSUER: &str = "https://idp.example/tenant";

/// A provider that answers as it is told to, once it may.
#[derive(Debug)]
struct Provider {
    keys: Mutex<Result<Vec<&'static str>, &'static str>>,
    asked: AtomicUsize,
    may: Arc<Semaphore>,
}

impl Provider {
    fn new(keys: Result<Vec<&'static str>, &'static str>) -> Arc<Self> {
        let may = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Arc::new(Self { keys: Mutex::new(keys), asked: AtomicUsize::new(0), may })
    }

    fn has(&self, keys: Result<Vec<&'static str>, &'static str>) {
        *self.keys.lock().unwrap() = keys;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }
}

fn jwk(id: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
}

impl Caller for Provider {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        let keys = self.keys.lock().unwrap().clone();
        let may = Arc::clone(&self.may);
        self.asked.fetch_add(usize::from(call.url.ends_with("/keys")), Ordering::AcqRel);
        Box::pin(async move {
            let _may = may.acquire().await.unwrap();
            let keys = keys.map_err(|why| CallError(why.to_owned()))?;
            let body = match call.url.strip_prefix("https://idp.example").unwrap() {
                "/tenant/.well-known/openid-configuration" => {
                    json!({ "issuer": ISSUER, "jwks_uri": "https://idp.example/keys" })
                }
                "/keys" => json!({ "keys": keys.iter().map(|id| jwk(id)).collect::<Vec<_>>() }),
                _ => return Ok(Answer { status: 404, ..Answer::default() }),
            };
            Ok(Answer { status: 200, body: body.to_string().into_bytes(), ..Answer::default() })
        })
    }
}

fn ring(provider: &Arc<Provider>, clock: &Clock) -> Arc<KeyRing> {
    let (refresh, keep, timeout) = (Duration::from_secs(600), Duration::from_secs(3600), Duration::from_secs(5));
    let ring = KeyRing::new(Settings { from: From::Issuer(ISSUER.to_owned()), refresh, keep, timeout }, clock.clone());
    let caller: Arc<dyn Caller> = provider.clone();
    ring.start(&caller, &Handle::current());
    ring
}

fn knows(ring: &KeyRing, id: &str) -> bool {
    matches!(ring.look(Some(id), Algorithm::EdDsa), Looked::Keys(_))
}

fn clock() -> Clock {
    Clock::fake(SystemTime::UNIX_EPOCH)
}

#[tokio::test(start_paused = true)]
async fn keys_are_found_by_the_metadata_of_the_issuer() {
    let (provider, clock) = (Provider::new(Ok(vec!["1"])), clock());
    let ring = ring(&provider, &clock);
    assert!(matches!(ring.standing(), Standing::Down { since: None, .. }));
    ring.heard().await;
    assert!(knows(&ring, "1") && !knows(&ring, "2"));
    assert!(matches!(ring.look(Some("1"), Algorithm::Es256), Looked::WrongAlgorithm));
    assert!(matches!(ring.look(None, Algorithm::EdDsa), Looked::Keys(_)));
    assert_eq!(ring.standing(), Standing::Good);
}

#[tokio::test(start_paused = true)]
async fn for_a_new_key_the_provider_is_asked_once_for_all_and_not_too_often() {
    let (provider, clock) = (Provider::new(Ok(vec!["1"])), clock());
    let ring = ring(&provider, &clock);
    ring.heard().await;
    assert!(!ring.may_ask(), "it was asked just now");
    ring.ask().await;
    assert_eq!(provider.asked(), 1);
    clock.advance(THROTTLE);
    provider.has(Ok(vec!["1", "2"]));
    let waiting: Vec<_> =
        (0..100).map(|_| Arc::clone(&ring)).map(|ring| tokio::spawn(async move { ring.ask().await })).collect();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert!(knows(&ring, "2"));
    assert_eq!(provider.asked(), 2, "once for all");
    ring.ask().await;
    assert_eq!(provider.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_while_it_is_asked_waits_for_that() {
    let (provider, clock) = (Provider::new(Ok(vec!["1"])), clock());
    let held =
        Arc::clone(&provider.may).acquire_many_owned(u32::try_from(Semaphore::MAX_PERMITS.min(1 << 20)).unwrap()).await;
    provider.may.forget_permits(Semaphore::MAX_PERMITS);
    let ring = ring(&provider, &clock);
    let asks = {
        let ring = Arc::clone(&ring);
        tokio::spawn(async move { ring.ask().await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!asks.is_finished());
    drop(held);
    asks.await.unwrap();
    assert!(knows(&ring, "1"));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_the_provider_is_down_known_keys_hold_for_a_stated_time() {
    let (provider, clock) = (Provider::new(Ok(vec!["1"])), clock());
    let ring = ring(&provider, &clock);
    ring.heard().await;
    provider.has(Err("refused"));
    clock.advance(Duration::from_secs(600));
    ring.ask().await;
    assert!(knows(&ring, "1") && ring.is_troubled());
    let Standing::Stale { error, .. } = ring.standing() else { panic!("{:?}", ring.standing()) };
    assert!(error.contains("https://idp.example/tenant/.well-known/openid-configuration: refused"), "{error}");
    clock.advance(Duration::from_secs(3599));
    assert!(knows(&ring, "1"));
    clock.advance(Duration::from_secs(2));
    assert!(!knows(&ring, "1"));
    assert!(matches!(ring.standing(), Standing::Down { since: Some(_), .. }));
    // It is asked again by itself.
    provider.has(Ok(vec!["2"]));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(knows(&ring, "2") && !ring.is_troubled());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_published_no_more_is_gone_and_one_that_stays_is_the_same() {
    let (provider, clock) = (Provider::new(Ok(vec!["1", "2"])), clock());
    let ring = ring(&provider, &clock);
    ring.heard().await;
    let key = |id| match ring.look(Some(id), Algorithm::EdDsa) {
        Looked::Keys(keys) => keys[0].clone(),
        other => panic!("{other:?}"),
    };
    let (first, second) = (key("1"), key("2"));
    provider.has(Ok(vec!["2", "3"]));
    clock.advance(THROTTLE);
    ring.ask().await;
    assert!(first.is_gone() && !second.is_gone());
    assert!(Arc::ptr_eq(&second, &key("2")));
}
