//! Watches.

use std::time::Duration;

use tokio::time::timeout;
use tollgate_durable::{Change, Durable, OnlyIf, Seen};

use super::{Held, changes, confirmed, done, first_byte, grant, key, next, next_change, put, put_at, put_with};
use crate::deadline::PATIENCE;

/// What was before it begins, and what comes while it lasts.
pub fn a_watch_shows_all_from_its_revision_on_and_once(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let zero = put(store, "watch/all/before", b"").await;
        let one = put(store, "watch/all/a", b"1").await;
        let two = put(store, "watch/all/a", b"2").await;
        put(store, "watch/elsewhere", b"").await;
        let three = done(store.delete("watch/all/a", OnlyIf::Always).await);
        let mut watch = store.watch("watch/all/", zero);
        let gone = |revision| Change::Gone { key: "watch/all/a".to_owned(), revision };
        let before = [put_at("watch/all/a", b"1", one, one), put_at("watch/all/a", b"2", one, two), gone(three)];
        assert_eq!(changes(&mut *watch, three).await, before);
        let four = put(store, "watch/all/a", b"4").await;
        put(store, "watch/elsewhere", b"again").await;
        let five = done(store.delete("watch/all/a", OnlyIf::Always).await);
        assert_eq!(changes(&mut *watch, five).await, [put_at("watch/all/a", b"4", four, four), gone(five)]);
        let mut later = store.watch("watch/all/", two);
        let after = [gone(three), put_at("watch/all/a", b"4", four, four), gone(five)];
        assert_eq!(changes(&mut *later, five).await, after, "another one, from later on");
    })
}

/// As if the key had been deleted.
pub fn a_watch_shows_that_a_lease_ended(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let (ends, revoked) = (grant(store).await, grant(store).await);
        put_with(store, "watch/lease/ends", ends).await;
        let from = put_with(store, "watch/lease/revoked", revoked).await;
        let mut watch = store.watch("watch/lease/", from);
        assert_eq!(store.revoke(revoked).await, Ok(true));
        assert_eq!(key(next_change(&mut *watch).await), "watch/lease/revoked");
        let Change::Gone { key, revision } = next_change(&mut *watch).await else { panic!("nothing was put") };
        assert!(key == "watch/lease/ends" && revision > from, "{key} {revision:?}");
    })
}

/// Its caller may be busy with something else, at any moment.
pub fn a_watch_that_is_dropped_and_asked_again_loses_nothing(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let from = store.list("watch/drop/").await.expect("it can be asked").revision;
        let mut watch = store.watch("watch/drop/", from);
        let writes = async {
            let mut last = from;
            for n in 0..100u8 {
                last = put(store, "watch/drop/key", &[n]).await;
            }
            last
        };
        let reads = async {
            let mut seen = Vec::new();
            let reading = async {
                while seen.last() != Some(&99) {
                    // Sometimes dropped before it was even polled twice.
                    let wait = Duration::from_micros(u64::try_from(seen.len()).unwrap_or(0) % 7 * 300);
                    match timeout(wait, watch.next()).await {
                        Ok(Ok(Seen::Changed(_, changes))) => seen.extend(changes.into_iter().map(first_byte)),
                        Ok(Ok(Seen::Compacted)) => panic!("nothing was forgotten"),
                        // Nobody changed it so far.
                        Err(_) | Ok(Ok(Seen::Confirmed(_)) | Err(_)) => tokio::task::yield_now().await,
                    }
                }
            };
            timeout(PATIENCE, reading).await.expect("the watch shows the last change");
            seen
        };
        let (_, seen) = tokio::join!(writes, reads);
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    })
}

/// At least once a second; a machine that is busy is given some more.
pub fn a_watch_says_again_and_again_that_nothing_changed(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let from = put(store, "watch/quiet/a", b"").await;
        let mut watch = store.watch("watch/quiet/", from);
        confirmed(&mut *watch, from).await;
        let five = async {
            for _ in 0..5 {
                confirmed(&mut *watch, from).await;
            }
        };
        timeout(Duration::from_secs(10), five).await.expect("it comes about every second");
    })
}

/// A confirmation is of now: it knows of changes of other keys, and comes after those of its own.
pub fn a_watch_confirms_what_changed_elsewhere_and_nothing_before_it_showed_it(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let from = put(store, "watch/now/a", b"").await;
        let mut watch = store.watch("watch/now/", from);
        for n in 0..4u8 {
            let elsewhere = put(store, "watch/not-now", &[n]).await;
            confirmed(&mut *watch, elsewhere).await;
            let own = put(store, "watch/now/a", &[n]).await;
            let mut is_shown = false;
            loop {
                match next(&mut *watch).await {
                    Seen::Changed(revision, changes) => {
                        assert!(revision >= own && changes.len() == 1 && !is_shown, "{revision:?} {changes:?}");
                        is_shown = true;
                    }
                    Seen::Confirmed(revision) if revision >= own => break,
                    Seen::Confirmed(_) => {}
                    Seen::Compacted => panic!("nothing was forgotten"),
                }
            }
            assert!(is_shown, "it confirmed what it had not shown");
        }
    })
}
