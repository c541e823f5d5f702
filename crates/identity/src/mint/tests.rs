use super::*;
use crate::jwt::Token;

const DAY: Duration = Duration::from_secs(86_400);

fn issuer(path: &Path, clock: &Clock) -> Arc<Issuer> {
    let keys = KeysIn::File(path.to_owned(), 30 * DAY);
    let settings = Settings { url: "https://api.example".to_owned(), algorithm: Algorithm::Es256, keys };
    Issuer::open(settings, clock.clone()).unwrap()
}

fn caller(expires: Option<SystemTime>) -> Arc<Principal> {
    let Value::Object(claims) = json!({ "sub": "alice", "email": "a@b", "org": { "unit": "sales" }, "iss": "x" })
    else {
        panic!()
    };
    let (source, subject, consumer) = ("idp".into(), "alice".into(), Some("shop".into()));
    Arc::new(Principal {
        source,
        subject,
        consumer,
        scopes: vec!["read".into(), "write".into()],
        claims,
        expires,
        session: None,
    })
}

/// The keys that are published, the one that signs, and what a new token says.
fn mint(issuer: &Issuer) -> (Value, String, Map<String, Value>) {
    minted(issuer, &caller(None), "orders")
}

fn minted(issuer: &Issuer, caller: &Arc<Principal>, service: &str) -> (Value, String, Map<String, Value>) {
    let claims = vec![vec!["email".to_owned()], vec!["org".to_owned(), "unit".to_owned()], vec!["iss".to_owned()]];
    let recipe = Recipe::new(Vec::new(), Duration::from_secs(60), claims);
    let minted = issuer.mint(caller, &recipe, service).unwrap();
    let text = str::from_utf8(&minted.token).unwrap().to_owned();
    let token = Token::read(&text).unwrap();
    assert!(issuer.signed(&token));
    (serde_json::from_str(&issuer.published()).unwrap(), token.key.clone().unwrap(), token.claims)
}

fn published(set: &Value) -> Vec<String> {
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_token_says_what_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::fake(UNIX_EPOCH + DAY);
    let issuer = issuer(&folder.path().join("data/keys.json"), &clock);
    let (set, key, claims) = mint(&issuer);
    assert_eq!(published(&set), [key]);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("https://api.example"), &json!("orders")));
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(86_400), &json!(86_460)));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("alice"), &json!("shop")));
    assert_eq!((&claims["scope"], &claims["email"]), (&json!("read write"), &json!("a@b")));
    assert_eq!(claims["unit"], json!("sales"));
}

#[test]
fn a_token_serves_one_caller_at_one_service_for_half_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::fake(UNIX_EPOCH + DAY);
    let issuer = issuer(&folder.path().join("keys.json"), &clock);
    let (alice, other) = (caller(None), caller(None));
    let id = |caller, service| minted(&issuer, caller, service).2["jti"].clone();
    let first = id(&alice, "orders");
    assert_eq!(id(&alice, "orders"), first);
    assert!(id(&other, "orders") != first && id(&alice, "stock") != first);
    clock.advance(Duration::from_secs(29));
    assert_eq!(id(&alice, "orders"), first);
    clock.advance(Duration::from_secs(2));
    assert_ne!(id(&alice, "orders"), first);
    let ends = |seconds| {
        minted(&issuer, &caller(Some(clock.unix() + Duration::from_secs(seconds))), "orders").2["exp"].as_u64()
    };
    let now = clock.unix().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert_eq!((ends(600), ends(30), ends(1)), (Some(now + 60), Some(now + 30), Some(now + 10)));
}

#[test]
fn keys_follow_each_other_and_are_known_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let clock = Clock::fake(UNIX_EPOCH + DAY);
    let (one, two) = (issuer(&path, &clock), issuer(&path, &clock));
    let tend = || [&one, &two].into_iter().for_each(|issuer| issuer.tend(&path, 30 * DAY).unwrap());
    let first = mint(&one).1;
    assert_eq!(mint(&two).1, first, "both have the same");
    clock.advance(30 * DAY - AHEAD);
    tend();
    let (set, signs, _) = mint(&two);
    assert!(signs == first && published(&set).len() == 2, "the next one is published before it signs");
    clock.advance(AHEAD);
    tend();
    let (set, second, _) = mint(&one);
    assert!(second != first && published(&set) == [first.clone(), second.clone()]);
    clock.advance(30 * DAY);
    tend();
    tend();
    let (set, _, _) = mint(&two);
    assert!(!published(&set).contains(&first) && published(&set).contains(&second), "{set}");
    assert_eq!(issuer(&path, &clock).published(), two.published(), "a restart changes nothing");
}

#[test]
fn a_file_that_others_can_read_or_that_is_none_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let clock = Clock::fake(UNIX_EPOCH + DAY);
    let held = issuer(&path, &clock);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(held.tend(&path, DAY).unwrap_err().message.contains("can be read by others"));
    mint(&held);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "{\"keys\":[{\"pkcs8\":\"c2VjcmV0\",\"signs_from\":1}]}").unwrap();
    let error = held.tend(&path, DAY).unwrap_err().to_string();
    assert!(!error.contains("c2VjcmV0"), "{error}");
}
