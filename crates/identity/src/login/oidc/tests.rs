use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use serde_json::json;
use tollgate_core::caller::{Answer, CallError};
use tollgate_core::policy::BoxFuture;

use super::*;
use crate::client::Proof;
use crate::jwk::Algorithm;
use crate::signing::SigningKey;

const NOW: u64 = 1_767_225_600;
const ISSUER: &str = "https://idp.example";

/// A provider that answers at its token endpoint what a test says.
#[derive(Debug)]
struct Provider {
    key: SigningKey,
    answer: Mutex<(u16, Value)>,
    userinfo: Mutex<Value>,
}

impl Caller for Provider {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        let (status, text) = match call.url.strip_prefix(ISSUER) {
            Some("/.well-known/openid-configuration") => (
                200,
                json!({
                    "issuer": ISSUER, "authorization_endpoint": "https://idp.example/a", "token_endpoint": "https://idp.example/t",
                    "jwks_uri": "https://idp.example/k", "userinfo_endpoint": "https://idp.example/u",
                    "authorization_response_iss_parameter_supported": true,
                }),
            ),
            Some("/k") => (200, json!({ "keys": [self.key.public()] })),
            Some("/t") => self.answer.lock().unwrap().clone(),
            Some("/u") => (200, self.userinfo.lock().unwrap().clone()),
            _ => (404, Value::Null),
        };
        Box::pin(std::future::ready(Ok(Answer { status, body: text.to_string().into_bytes(), ..Answer::default() })))
    }
}

struct Bench {
    provider: Arc<Provider>,
    oidc: Oidc,
    under_way: UnderWay,
}

impl Bench {
    async fn new(userinfo: bool) -> Self {
        Self::asking(userinfo, &[]).await
    }

    /// With these parameters beside its own.
    async fn asking(userinfo: bool, parameters: &[(&str, &str)]) -> Self {
        let (key, _) = SigningKey::generate(Algorithm::Es256, "JWT").unwrap();
        let (answer, said) = (Mutex::new((400, json!({}))), Mutex::new(json!({})));
        let provider = Arc::new(Provider { key, answer, userinfo: said });
        let timeout = Duration::from_secs(1);
        let settings = Settings {
            issuer: ISSUER.to_owned(),
            tenants: None,
            client: Client { id: "web".to_owned(), proof: Proof::None },
            scopes: vec!["openid".to_owned(), "orders.write".to_owned()],
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            userinfo,
            keys: keys::Settings {
                from: keys::From::Issuer(ISSUER.to_owned()),
                refresh: Duration::from_secs(600),
                keep: Duration::from_secs(600),
                timeout,
            },
            timeout,
        };
        let oidc = Oidc::new(settings, Clock::fake(UNIX_EPOCH + Duration::from_secs(NOW)));
        let caller: Arc<dyn Caller> = Arc::clone(&provider) as _;
        oidc.start(&caller, &Handle::current());
        oidc.ring().heard().await;
        let (_, under_way) = oidc.set_out("/orders".to_owned(), "https://app/auth/callback".to_owned()).await.unwrap();
        Self { provider, oidc, under_way }
    }

    /// A good ID token, but for what is changed in it.
    fn id_token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": "web", "sub": "alice", "nonce": self.under_way.nonce, "iat": NOW, "exp": NOW + 300,
            "sid": "s1", "groups": ["staff"],
        });
        change(&mut claims);
        self.provider.key.sign(claims.as_object().unwrap()).unwrap()
    }

    fn answers(&self, id_token: Option<String>, more: &Value) {
        let mut answer =
            json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 60, "refresh_token": "rt" });
        if let Some(id_token) = id_token {
            answer["id_token"] = id_token.into();
        }
        for (name, value) in more.as_object().unwrap() {
            answer[name] = value.clone();
        }
        *self.provider.answer.lock().unwrap() = (200, answer);
    }

    async fn comes_back(&self) -> Result<Session, Problem> {
        let with = CameBack { code: Some("code"), issuer: Some(ISSUER), error: None };
        self.oidc.came_back(with, &self.under_way, Duration::from_secs(3600)).await
    }

    async fn slug(&self, id_token: String) -> &'static str {
        self.answers(Some(id_token), &json!({}));
        self.comes_back().await.map_or_else(|problem| problem.fault.slug, |_| "")
    }
}

#[tokio::test]
async fn whoever_comes_back_is_who_the_provider_says() {
    let bench = Bench::new(false).await;
    assert_eq!(bench.slug(bench.id_token(|_| ())).await, "");
    let changed = async |change: fn(&mut Value)| bench.slug(bench.id_token(change)).await;
    assert_eq!(changed(|claims| claims["nonce"] = json!("another")).await, "login/token");
    assert_eq!(changed(|claims| drop(claims.as_object_mut().unwrap().remove("nonce"))).await, "login/token");
    assert_eq!(changed(|claims| claims["iss"] = json!("https://evil.example")).await, "login/token");
    assert_eq!(changed(|claims| claims["aud"] = json!("other")).await, "login/token");
    assert_eq!(changed(|claims| claims["aud"] = json!(["web", "other"])).await, "login/token", "without `azp`");
    assert_eq!(changed(|claims| claims["azp"] = json!("other")).await, "login/token");
    assert_eq!(changed(|claims| claims["exp"] = json!(NOW - 61)).await, "login/token");
    assert_eq!(changed(|claims| claims["iat"] = json!(NOW + 61)).await, "login/token");
    assert_eq!(changed(|claims| claims["sub"] = json!("")).await, "login/token");
    let (stranger, _) = SigningKey::generate(Algorithm::Es256, "JWT").unwrap();
    let claims = json!({ "iss": ISSUER, "aud": "web", "sub": "alice", "nonce": bench.under_way.nonce, "iat": NOW, "exp": NOW + 300 });
    assert_eq!(bench.slug(stranger.sign(claims.as_object().unwrap()).unwrap()).await, "login/token");
}

/// OpenID Connect Core 1.0 §3.1.3.7: the browser may leave out on its way what is asked for.
#[tokio::test]
async fn how_and_when_somebody_signed_in_is_held_against_what_was_asked_for() {
    let bench = Bench::asking(false, &[("acr_values", "gold silver"), ("max_age", "600")]).await;
    for (acr, auth_time, slug) in [
        (json!("silver"), json!(NOW - 600), ""),
        (json!("bronze"), json!(NOW), "login/token"),
        (json!(null), json!(NOW), "login/token"),
        (json!("gold"), json!(NOW - 661), "login/token"),
        (json!("gold"), json!(null), "login/token"),
    ] {
        let token = bench.id_token(|claims| (claims["acr"], claims["auth_time"]) = (acr.clone(), auth_time.clone()));
        assert_eq!(bench.slug(token).await, slug, "{acr} {auth_time}");
    }
}

/// RFC 9207 §2.4.
#[tokio::test]
async fn another_providers_answer_is_none() {
    let bench = Bench::new(false).await;
    bench.answers(Some(bench.id_token(|_| ())), &json!({}));
    for issuer in [None, Some("https://other.example")] {
        let with = CameBack { code: Some("code"), issuer, error: None };
        let problem =
            bench.oidc.came_back(with, &bench.under_way, Duration::from_secs(60)).await.map(drop).unwrap_err();
        assert_eq!(problem.fault.slug, "login/state");
    }
    let with = CameBack { code: None, issuer: Some(ISSUER), error: Some("access_denied") };
    let problem = bench.oidc.came_back(with, &bench.under_way, Duration::from_secs(60)).await.map(drop).unwrap_err();
    assert_eq!(problem.fault.slug, "login/refused");
}

#[tokio::test]
async fn what_was_granted_is_what_the_provider_says_and_no_id_token() {
    let bench = Bench::new(false).await;
    let forged = bench.id_token(|claims| (claims["scp"], claims["client_id"]) = (json!("admin"), json!("other")));
    bench.answers(Some(forged), &json!({ "scope": "openid" }));
    let session = bench.comes_back().await.unwrap();
    assert_eq!((&session.claims["scope"], &session.claims["client_id"]), (&json!("openid"), &json!("web")));
    assert!(!session.claims.contains_key("scp"));
    // RFC 6749 §6: one that is not said is the one of before, not whatever was asked for.
    bench.answers(None, &json!({ "access_token": "at2" }));
    let renewed = bench.oidc.renew(session).await.map_err(|_| ()).unwrap();
    assert_eq!((&renewed.claims["scope"], renewed.token.unwrap().text.as_str()), (&json!("openid"), "at2"));
}

#[tokio::test]
async fn what_the_provider_does_not_say_any_more_holds_no_more() {
    let bench = Bench::new(true).await;
    *bench.provider.userinfo.lock().unwrap() = json!({ "sub": "alice", "role": "admin" });
    bench.answers(Some(bench.id_token(|_| ())), &json!({}));
    let session = bench.comes_back().await.unwrap();
    assert_eq!((&session.claims["groups"], &session.claims["role"]), (&json!(["staff"]), &json!("admin")));
    *bench.provider.userinfo.lock().unwrap() = json!({ "sub": "alice" });
    bench.answers(Some(bench.id_token(|claims| drop(claims.as_object_mut().unwrap().remove("groups")))), &json!({}));
    let renewed = bench.oidc.renew(session.clone()).await.map_err(|_| ()).unwrap();
    assert!(!renewed.claims.contains_key("groups") && !renewed.claims.contains_key("role"));
    assert_eq!((&renewed.claims["scope"], &renewed.claims["client_id"]), (&session.claims["scope"], &json!("web")));
    bench.answers(Some(bench.id_token(|claims| claims["sub"] = json!("bob"))), &json!({}));
    assert!(matches!(bench.oidc.renew(session).await, Err(NotRenewed::Over(_))), "another user's");
}

/// Back-Channel Logout 1.0 §2.6.
#[tokio::test]
async fn only_a_logout_token_ends_sessions() {
    let bench = Bench::new(false).await;
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let good =
        json!({ "iss": ISSUER, "aud": "web", "iat": NOW, "exp": NOW + 60, "jti": "1", "sid": "s1", "events": event });
    let told = async |change: fn(&mut Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        bench.oidc.logged_out(&bench.provider.key.sign(claims.as_object().unwrap()).unwrap()).await.is_ok()
    };
    assert!(told(|_| ()).await);
    assert!(!told(|claims| claims["events"] = json!({})).await);
    assert!(!told(|claims| claims["nonce"] = json!("n")).await);
    assert!(!told(|claims| claims["iss"] = json!("https://evil.example")).await);
    assert!(!told(|claims| claims["aud"] = json!("other")).await);
    assert!(!told(|claims| claims["iat"] = json!(NOW - 301)).await);
    assert!(!told(|claims| drop(claims.as_object_mut().unwrap().remove("jti"))).await);
    assert!(!told(|claims| drop(claims.as_object_mut().unwrap().remove("sid"))).await);
    assert!(bench.oidc.logged_out(&bench.id_token(|_| ())).await.is_err(), "an ID token");
}
