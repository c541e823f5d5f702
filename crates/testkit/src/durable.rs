//! What holds of every store that keeps what the gateway must not forget: the contract of [`Durable`], clause by clause. Each store runs all of
//! it: see [`durable_contract`](crate::durable_contract).
//!
//! Time is the machine's; each clause has keys of its own, so that one store may serve all of them, one after the other or together.

mod keys;
mod leases;
mod watches;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;
use tollgate_durable::{Change, Durable, Entry, LeaseId, OnlyIf, Revision, Seen, Trouble, Watch, Written};

pub use self::keys::*;
pub use self::leases::*;
pub use self::watches::*;
use crate::deadline::PATIENCE;

/// A clause, to be held against a store.
pub type Clause = for<'a> fn(&'a dyn Durable) -> Held<'a>;
/// It panics if the clause does not hold.
pub type Held<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Shortest lease that a clause asks for; a store may give more.
const SHORT: Duration = Duration::from_secs(2);

/// Makes a test of each clause. `$run`: a function that makes a store, holds the [`Clause`] that it is given against it, and takes it down.
#[macro_export]
macro_rules! durable_contract {
    ($run:path) => {
        $crate::durable_contract!($run:
            what_was_put_is_there_until_it_is_deleted,
            a_change_is_made_only_if_its_condition_holds,
            what_is_refused_makes_no_revision,
            of_many_who_put_what_must_be_absent_one_wins,
            nobodys_change_is_lost_between_those_who_put_what_they_read,
            a_prefix_ends_where_it_ends,
            a_long_listing_is_of_one_revision,
            what_is_too_long_is_refused,
            a_lease_that_ends_takes_its_keys_along,
            a_lease_that_is_renewed_lasts,
            a_lease_that_is_revoked_is_gone_at_once,
            what_is_put_again_without_its_lease_outlives_it,
            nothing_is_put_under_a_lease_that_has_ended,
            a_watch_shows_all_from_its_revision_on_and_once,
            a_watch_shows_that_a_lease_ended,
            a_watch_that_is_dropped_and_asked_again_loses_nothing,
            a_watch_says_again_and_again_that_nothing_changed,
            a_watch_confirms_what_changed_elsewhere_and_nothing_before_it_showed_it,
        );
    };
    ($run:path: $($clause:ident),+ $(,)?) => {
        $(
            #[test]
            fn $clause() {
                $run($crate::durable::$clause);
            }
        )+
    };
}

/// Puts a value; gives when.
pub async fn put(store: &dyn Durable, key: &str, value: &[u8]) -> Revision {
    done(store.put(key, value.to_vec(), None, OnlyIf::Always).await)
}

async fn put_with(store: &dyn Durable, key: &str, lease: LeaseId) -> Revision {
    done(store.put(key, Vec::new(), Some(lease), OnlyIf::Always).await)
}

async fn grant(store: &dyn Durable) -> LeaseId {
    store.grant(SHORT).await.expect("a lease")
}

/// When it was made.
///
/// # Panics
/// When it was not.
pub fn done(written: Result<Written, Trouble>) -> Revision {
    match written {
        Ok(Written::Done(revision)) => revision,
        other => panic!("it was not made: {other:?}"),
    }
}

/// What a watch sees next, whatever goes wrong meanwhile.
///
/// # Panics
/// When it sees nothing for long.
pub async fn next(watch: &mut dyn Watch) -> Seen {
    let patient = async {
        loop {
            match watch.next().await {
                Ok(seen) => break seen,
                Err(Trouble::Unavailable(_)) => {}
                Err(refused) => panic!("{refused}"),
            }
        }
    };
    timeout(PATIENCE, patient).await.expect("the watch sees something")
}

/// All changes that a watch shows up to this revision.
///
/// # Panics
/// When it does not come to it.
pub async fn changes(watch: &mut dyn Watch, until: Revision) -> Vec<Change> {
    let mut all = Vec::new();
    loop {
        match next(watch).await {
            Seen::Changed(revision, changes) => {
                assert!(!changes.is_empty(), "a change of nothing");
                all.extend(changes);
                if revision >= until {
                    return all;
                }
            }
            Seen::Confirmed(revision) => assert!(revision < until, "{until:?} was confirmed, and not shown"),
            Seen::Compacted => panic!("nothing was forgotten"),
        }
    }
}

/// The next change, which must be one alone.
async fn next_change(watch: &mut dyn Watch) -> Change {
    loop {
        match next(watch).await {
            Seen::Changed(_, mut changes) if changes.len() == 1 => return changes.remove(0),
            Seen::Confirmed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until a watch confirms this revision. Nothing of its keys may change until then.
///
/// # Panics
/// When it does not, or something changes.
pub async fn confirmed(watch: &mut dyn Watch, at_least: Revision) {
    let confirming = async {
        loop {
            match next(watch).await {
                Seen::Confirmed(revision) if revision >= at_least => break,
                Seen::Confirmed(_) => {}
                other => panic!("nothing was to be seen: {other:?}"),
            }
        }
    };
    timeout(PATIENCE, confirming).await.expect("the watch confirms it");
}

/// Asks again and again until it is so.
///
/// # Panics
/// When it does not come to be so.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"));
}

/// All of them at the same time, on this thread.
async fn together<T: Debug>(all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        for (one, result) in &mut waiting {
            if result.is_none()
                && let std::task::Poll::Ready(value) = one.as_mut().poll(cx)
            {
                *result = Some(value);
            }
        }
        let is_over = waiting.iter().all(|(_, result)| result.is_some());
        if is_over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

fn entry(key: &str, value: &[u8], created: Revision, modified: Revision) -> Entry {
    Entry { key: key.to_owned(), value: value.to_vec(), created, modified, lease: None }
}

fn put_at(key: &str, value: &[u8], created: Revision, modified: Revision) -> Change {
    Change::Put(entry(key, value, created, modified))
}

fn key(change: Change) -> String {
    change.key().to_owned()
}

fn first_byte(change: Change) -> u8 {
    match change {
        Change::Put(entry) => entry.value[0],
        Change::Gone { key, .. } => panic!("{key} is gone"),
    }
}
