//! Leases.

use tollgate_durable::{Durable, LeaseId, OnlyIf, Written};

use super::{Held, SHORT, entry, eventually, grant, put, put_with};

/// After its time, and not before.
pub fn a_lease_that_ends_takes_its_keys_along(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let lease = grant(store).await;
        put_with(store, "lease/end/a", lease).await;
        put_with(store, "lease/end/b", lease).await;
        put(store, "lease/end/other", b"").await;
        let of = store.get("lease/end/a").await.expect("it can be asked").and_then(|entry| entry.lease);
        assert_eq!(of, Some(lease));
        let is_gone = async || {
            let keys = store.list("lease/end/").await.expect("it can be asked").entries;
            assert!(keys.len() == 3 || keys.len() == 1, "both or none: {keys:?}");
            keys.len() == 1
        };
        assert!(!is_gone().await, "it has only begun");
        eventually("the lease ends", is_gone).await;
        assert_eq!(store.renew(lease).await, Ok(None));
    })
}

/// For longer than its time; and what was never granted is not renewed.
pub fn a_lease_that_is_renewed_lasts(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let lease = grant(store).await;
        put_with(store, "lease/kept", lease).await;
        for _ in 0..10 {
            tokio::time::sleep(SHORT / 4).await;
            let lasts = store.renew(lease).await.expect("it can be asked").expect("it has not ended");
            assert!(lasts >= SHORT && lasts < SHORT * 10, "{lasts:?}");
        }
        assert!(store.get("lease/kept").await.is_ok_and(|found| found.is_some()));
        assert_eq!(store.renew(LeaseId(4711)).await, Ok(None));
        assert_eq!(store.revoke(lease).await, Ok(true));
    })
}

/// With its keys; once.
pub fn a_lease_that_is_revoked_is_gone_at_once(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let (lease, other) = (grant(store).await, grant(store).await);
        assert_ne!(lease, other);
        put_with(store, "lease/revoked/a", lease).await;
        put_with(store, "lease/revoked/b", other).await;
        assert_eq!(store.revoke(lease).await, Ok(true));
        let left = store.list("lease/revoked/").await.expect("it can be asked").entries;
        assert_eq!(left.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["lease/revoked/b"]);
        assert_eq!(store.renew(lease).await, Ok(None));
        assert_eq!(store.revoke(lease).await, Ok(false));
        assert_eq!(store.revoke(other).await, Ok(true));
    })
}

/// A key ends with the lease with which it was put last.
pub fn what_is_put_again_without_its_lease_outlives_it(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let (lease, next) = (grant(store).await, grant(store).await);
        for key in ["lease/left/none", "lease/left/next", "lease/left/same"] {
            put_with(store, key, lease).await;
        }
        put(store, "lease/left/none", b"").await;
        put_with(store, "lease/left/next", next).await;
        assert_eq!(store.revoke(lease).await, Ok(true));
        let left = store.list("lease/left/").await.expect("it can be asked").entries;
        let left: Vec<_> = left.iter().map(|entry| (entry.key.as_str(), entry.lease)).collect();
        assert_eq!(left, [("lease/left/next", Some(next)), ("lease/left/none", None)]);
        assert_eq!(store.revoke(next).await, Ok(true));
    })
}

/// Nor one that never was.
pub fn nothing_is_put_under_a_lease_that_has_ended(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let lease = grant(store).await;
        assert_eq!(store.revoke(lease).await, Ok(true));
        let there = put(store, "lease/none/there", b"").await;
        for lease in [lease, LeaseId(4711)] {
            let put = async |key, only_if| store.put(key, b"new".to_vec(), Some(lease), only_if).await;
            assert_eq!(put("lease/none/a", OnlyIf::Absent).await, Ok(Written::NoLease));
            assert_eq!(put("lease/none/a", OnlyIf::Always).await, Ok(Written::NoLease));
            assert_eq!(put("lease/none/there", OnlyIf::Unchanged(there)).await, Ok(Written::NoLease));
        }
        let left = store.list("lease/none/").await.expect("it can be asked").entries;
        assert_eq!(left, [entry("lease/none/there", b"", there, there)]);
    })
}
