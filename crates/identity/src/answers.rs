//! What other servers answered, in the store: a source that is made anew after a change of the config need not ask again, and gateways
//! that share a store ask once.
//!
//! Behind what each worker remembers (`Remembered`): only who would ask the server looks here before. What stands in the store is what the
//! server said and when it was asked, not what was made of it: whoever finds it judges it by the config of now.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tollgate_core::cache::CacheStore;

use crate::remembered::{Digest, digest};

/// Answers of one kind that one server gives to one client.
pub(crate) struct Answers {
    /// Before every key.
    kind: String,
    /// Whose answers, and to whom.
    of: Digest,
    store: OnceLock<Arc<dyn CacheStore>>,
}

/// As it lies in the store.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    /// When it was asked for: milliseconds of Unix time.
    asked: u64,
    said: T,
}

impl Answers {
    /// Nothing is found or kept before there is a store. `of`: all that tells whose answers they are, and to whom.
    pub(crate) fn new(kind: &str, of: &[&str]) -> Self {
        // Lengths, so that no two lists are one text.
        let of: String = of.iter().map(|text| format!("{}:{text}", text.len())).collect();
        Self { kind: format!("{kind}:"), of: digest(&of), store: OnceLock::new() }
    }

    /// From now on in this store. Only the first call counts.
    pub(crate) fn keep_in(&self, store: &Arc<dyn CacheStore>) {
        let _ = self.store.set(Arc::clone(store));
    }

    /// What was answered, and when it was asked for. A store that does not tell is no harm: the server is asked.
    pub(crate) async fn find<T: DeserializeOwned>(&self, about: &Digest) -> Option<(T, SystemTime)> {
        let found = self.store.get()?.get(&self.key(about)).await;
        let found = found.inspect_err(|error| tracing::debug!(kind = self.kind, %error, "the store does not tell"));
        let kept: Kept<T> = serde_json::from_slice(&found.ok()??).ok()?;
        Some((kept.said, UNIX_EPOCH.checked_add(Duration::from_millis(kept.asked))?))
    }

    /// Keeps an answer for so long from when it was asked for.
    pub(crate) fn keep<T: Serialize>(&self, about: &Digest, said: T, asked: SystemTime, lasts: Duration) {
        let Some(store) = self.store.get().filter(|_| !lasts.is_zero()) else { return };
        let asked = asked.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let kept = Kept { asked: u64::try_from(asked).unwrap_or(u64::MAX), said };
        if let Ok(text) = serde_json::to_vec(&kept) {
            store.keep(&self.key(about), text.into(), lasts);
        }
    }

    fn key(&self, about: &Digest) -> Vec<u8> {
        [self.kind.as_bytes(), &self.of, about].concat()
    }
}

/// Until when an answer holds that does so for this long from when it was asked for, and `ends` at the latest; and how long that is
/// from now on. `None`: it does not any more. If it was asked for by a clock that is ahead of ours, it holds from now on.
pub(crate) fn holding(
    asked: SystemTime,
    lasts: Duration,
    ends: Option<SystemTime>,
    now: SystemTime,
) -> Option<(SystemTime, Duration)> {
    let until = asked.min(now).checked_add(lasts)?;
    let until = ends.map_or(until, |ends| ends.min(until));
    let left = until.duration_since(now).ok().filter(|left| !left.is_zero())?;
    Some((until, left))
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::Marks;

    #[test]
    fn an_answer_holds_from_when_it_was_asked_for() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let holds = |asked, lasts, ends: Option<u64>, now| {
            holding(at(asked), Duration::from_secs(lasts), ends.map(at), at(now))
                .map(|(until, left)| (until.duration_since(UNIX_EPOCH).unwrap().as_secs(), left.as_secs()))
        };
        assert_eq!(holds(10, 5, None, 12), Some((15, 3)));
        assert_eq!(holds(10, 5, Some(14), 12), Some((14, 2)));
        assert_eq!(holds(10, 5, Some(12), 12), None);
        assert_eq!(holds(10, 5, None, 15), None);
        assert_eq!(holds(20, 5, None, 15), Some((20, 5)), "a clock ahead");
        assert_eq!(holds(10, 0, None, 10), None);
    }

    #[tokio::test]
    async fn an_answer_is_found_by_who_asks_the_same_server_as_the_same_client() {
        let store: Arc<dyn CacheStore> = Arc::new(Marks::new(9));
        let (about, other) = (digest("t"), digest("u"));
        let of = |of: &[&str]| {
            let answers = Answers::new("k", of);
            answers.keep_in(&store);
            answers
        };
        let own = of(&["https://idp.example", "gateway"]);
        let (asked, minute) = (UNIX_EPOCH + Duration::from_millis(1_700_000_000_123), Duration::from_secs(60));
        own.keep(&about, "yes", asked, minute);
        own.keep(&other, "never", asked, Duration::ZERO);
        assert_eq!(of(&["https://idp.example", "gateway"]).find(&about).await, Some(("yes".to_owned(), asked)));
        assert_eq!(own.find::<String>(&other).await, None);
        assert_eq!(own.find::<u8>(&about).await, None, "of another form");
        for of in [of(&["https://idp.example", "other"]), of(&["https://idp.exampleg", "ateway"])] {
            assert_eq!(of.find::<String>(&about).await, None);
        }
        let without = Answers::new("k", &["https://idp.example", "gateway"]);
        without.keep(&about, "yes", asked, minute);
        assert_eq!(without.find::<String>(&about).await, None, "there is no store");
    }
}
