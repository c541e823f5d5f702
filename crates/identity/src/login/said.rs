//! What an OpenID provider says of itself, as far as a client needs it: read once for all who need it, and again now and then.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;

use crate::metadata;
use crate::remembered::digest;
use crate::together::Together;

/// For how long it holds.
const HOLDS: Duration = Duration::from_secs(600);
/// How long nobody asks again who got no answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Where a provider takes what, and how it answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) authorization: String,
    pub(super) token: String,
    pub(super) userinfo: Option<String>,
    pub(super) end_session: Option<String>,
    /// Whether its answers name it (RFC 9207 §3).
    pub(super) names_itself: bool,
}

/// The metadata of one provider.
pub(super) struct Metadata {
    issuer: String,
    timeout: Duration,
    clock: Clock,
    outside: OnceLock<(Arc<dyn Caller>, Handle)>,
    kept: Mutex<Kept>,
    together: Arc<Together<Result<Arc<Said>, String>>>,
}

/// What it said last, and what is wrong since, each with its time.
#[derive(Clone, Default)]
struct Kept {
    said: Option<(Arc<Said>, Instant)>,
    trouble: Option<(String, Instant)>,
}

impl Metadata {
    pub(super) fn new(issuer: String, timeout: Duration, clock: Clock) -> Arc<Self> {
        let (outside, kept, together) = (OnceLock::new(), Mutex::default(), Together::new(1));
        Arc::new(Self { issuer, timeout, clock, outside, kept, together })
    }

    /// Has the provider asked on this runtime from now on. Only the first call counts.
    pub(super) fn start(&self, caller: &Arc<dyn Caller>, asking: &Handle) {
        let _ = self.outside.set((Arc::clone(caller), asking.clone()));
    }

    /// What it says, or said last.
    ///
    /// # Errors
    /// It cannot be asked, in words for our log.
    pub(super) async fn said(self: &Arc<Self>) -> Result<Arc<Said>, String> {
        let now = self.clock.now();
        let since = |when: Instant| now.saturating_duration_since(when);
        let kept = self.kept().clone();
        match (&kept.said, &kept.trouble) {
            (Some((said, when)), None) if since(*when) < HOLDS => return Ok(Arc::clone(said)),
            // What it said before will do.
            (Some((said, _)), Some((_, when))) if since(*when) < PAUSE => return Ok(Arc::clone(said)),
            (None, Some((why, when))) if since(*when) < PAUSE => return Err(why.clone()),
            _ => {}
        }
        let Some((caller, asking)) = self.outside.get() else { return Err("nobody is asked".to_owned()) };
        let (own, caller) = (Arc::clone(self), Arc::clone(caller));
        let waits = self.together.ask(digest(&self.issuer), asking, || async move {
            let read = own.read(&caller).await;
            own.learn(read)
        });
        match waits {
            Some(waits) => waits.answer().await.unwrap_or_else(|| Err("nobody answers".to_owned())),
            None => Err("nobody answers".to_owned()),
        }
    }

    fn learn(&self, read: Result<Said, String>) -> Result<Arc<Said>, String> {
        let (now, mut kept) = (self.clock.now(), self.kept());
        match read {
            Ok(said) => {
                let said = Arc::new(said);
                *kept = Kept { said: Some((Arc::clone(&said), now)), trouble: None };
                Ok(said)
            }
            Err(why) => {
                if kept.trouble.is_none() {
                    tracing::warn!(
                        issuer = self.issuer,
                        error = why,
                        "what an identity provider says of itself cannot be read"
                    );
                }
                kept.trouble = Some((why.clone(), now));
                kept.said.as_ref().map(|(said, _)| Arc::clone(said)).ok_or(why)
            }
        }
    }

    async fn read(&self, caller: &Arc<dyn Caller>) -> Result<Said, String> {
        let read = |said: &Map<String, Value>| {
            let url = |name: &str| metadata::url(said, &self.issuer, name);
            let some = |name: &str| said.get(name).map(|_| url(name)).transpose();
            let names_itself = said.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true));
            let (userinfo, end_session) = (some("userinfo_endpoint")?, some("end_session_endpoint")?);
            let (authorization, token) = (url("authorization_endpoint")?, url("token_endpoint")?);
            Ok(Said { authorization, token, userinfo, end_session, names_itself })
        };
        metadata::said(&self.issuer, self.timeout, caller, read).await
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::SystemTime;

    use serde_json::json;
    use tollgate_core::caller::{Answer, Call, CallError};
    use tollgate_core::policy::BoxFuture;

    use super::*;

    #[derive(Debug, Default)]
    struct Provider {
        asked: AtomicUsize,
        is_down: std::sync::atomic::AtomicBool,
    }

    impl Caller for Provider {
        fn call(&self, _: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let is_down = self.is_down.load(Ordering::Relaxed);
            let text = json!({ "issuer": "https://idp", "authorization_endpoint": "https://idp/a", "token_endpoint": "https://idp/t" });
            Box::pin(async move {
                tokio::task::yield_now().await;
                match is_down {
                    true => Err(CallError("down".to_owned())),
                    false => Ok(Answer { status: 200, body: text.to_string().into_bytes(), ..Answer::default() }),
                }
            })
        }
    }

    #[tokio::test]
    async fn it_is_read_once_for_all_and_not_again_and_again_from_one_that_is_down() {
        let clock = Clock::fake(SystemTime::UNIX_EPOCH);
        let metadata = Metadata::new("https://idp".to_owned(), Duration::from_secs(1), clock.clone());
        let provider = Arc::new(Provider::default());
        let caller: Arc<dyn Caller> = Arc::clone(&provider) as _;
        assert!(metadata.said().await.is_err(), "nobody is asked yet");
        metadata.start(&caller, &Handle::current());
        provider.is_down.store(true, Ordering::Relaxed);
        let asked = || provider.asked.load(Ordering::Relaxed);
        // Two places for each reading.
        for _ in 0..3 {
            assert!(metadata.said().await.is_err());
            assert_eq!(asked(), 2);
        }
        clock.advance(PAUSE);
        provider.is_down.store(false, Ordering::Relaxed);
        let (one, other) = tokio::join!(metadata.said(), metadata.said());
        assert_eq!((one.unwrap().token.as_str(), other.unwrap().token.as_str()), ("https://idp/t", "https://idp/t"));
        assert_eq!(asked(), 3);
        clock.advance(HOLDS);
        provider.is_down.store(true, Ordering::Relaxed);
        assert!(metadata.said().await.is_ok() && metadata.said().await.is_ok(), "what it said before will do");
        assert_eq!(asked(), 5);
        clock.advance(PAUSE);
        provider.is_down.store(false, Ordering::Relaxed);
        assert!(metadata.said().await.is_ok());
        assert_eq!(asked(), 6);
    }
}
