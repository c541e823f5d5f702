//! Messages of providers that were used: each is good for once (SAML 2.0 Profiles §4.1.4.5), wherever it is brought to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_core::cache::CacheStore;
use tollgate_core::problem::Problem;

use super::faults::{CROWDED, REPLAYED, because};
use crate::checks::{Check, on};
use crate::remembered::digest;

/// Whether the message with this ID of this issuer was not used yet.
///
/// # Errors
/// It was; or nobody can tell.
pub(crate) async fn is_new(store: &Arc<dyn CacheStore>, issuer: &str, id: &str) -> Result<(), Problem> {
    match store.get(&mark(issuer, id)).await {
        Ok(Some(_)) if on(Check::SamlReplay) => Err(REPLAYED.problem()),
        Ok(_) => Ok(()),
        Err(error) => Err(because(&CROWDED, error).header("Retry-After", "5")),
    }
}

/// No name of an entity or an ID has the letter between them: XML does not.
fn mark(issuer: &str, id: &str) -> Vec<u8> {
    [b"saml ", &digest(&format!("{issuer}\0{id}"))[..]].concat()
}

/// Takes the message with this ID of this issuer, once within that time.
///
/// # Errors
/// It was used before; or nobody can tell.
pub(crate) async fn take(store: &Arc<dyn CacheStore>, issuer: &str, id: &str, lasts: Duration) -> Result<(), Problem> {
    match store.add(&mark(issuer, id), Bytes::new(), lasts).await {
        Ok(false) if on(Check::SamlReplay) => Err(REPLAYED.problem()),
        Ok(_) => Ok(()),
        Err(error) => Err(because(&CROWDED, error).header("Retry-After", "5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::Marks;

    #[tokio::test]
    async fn each_is_good_for_once() {
        let store: Arc<dyn CacheStore> = Arc::new(Marks::new(2));
        let slug = async |issuer: &str, id: &str| {
            let taken = take(&store, issuer, id, Duration::from_secs(60)).await;
            taken.map_or_else(|problem| problem.fault.slug, |()| "")
        };
        assert_eq!(slug("a", "1").await, "");
        assert_eq!(slug("a", "1").await, "saml/replayed");
        assert_eq!(slug("b", "1").await, "", "another one's");
        assert_eq!(slug("a", "2").await, "saml/crowded", "without room for its mark none is taken");
    }
}
