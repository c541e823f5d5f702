//! Keys, values and conditions.

use tollgate_durable::{Change, Durable, MOST_KEY, MOST_VALUE, OnlyIf, Revision, Trouble, Written};

use super::{Held, changes, done, entry, key, put, together};

/// Values and revisions: when first, when last, and none after it is gone.
pub fn what_was_put_is_there_until_it_is_deleted(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let key = "plain/Zürich /?&=%\"\\";
        assert_eq!(store.get(key).await, Ok(None));
        let first = put(store, key, b"").await;
        assert_eq!(store.get(key).await, Ok(Some(entry(key, b"", first, first))));
        let all_bytes: Vec<u8> = (0..=255).collect();
        let second = put(store, key, &all_bytes).await;
        assert!(second > first, "{second:?} after {first:?}");
        assert_eq!(store.get(key).await, Ok(Some(entry(key, &all_bytes, first, second))));
        let gone = done(store.delete(key, OnlyIf::Always).await);
        assert!(gone > second);
        assert_eq!(store.get(key).await, Ok(None));
        let again = put(store, key, b"again").await;
        assert!(again > gone);
        assert_eq!(store.get(key).await, Ok(Some(entry(key, b"again", again, again))), "it begins anew");
    })
}

/// Absent and unchanged, for putting and for deleting.
pub fn a_change_is_made_only_if_its_condition_holds(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let key = "conditions/a";
        let put_if = |only_if| store.put(key, b"other".to_vec(), None, only_if);
        assert_eq!(put_if(OnlyIf::Unchanged(Revision(1))).await, Ok(Written::Conflict(None)), "there is none");
        assert_eq!(store.delete(key, OnlyIf::Unchanged(Revision(1))).await, Ok(Written::Conflict(None)));
        let first = done(store.put(key, b"1".to_vec(), None, OnlyIf::Absent).await);
        let there = Ok(Written::Conflict(Some(entry(key, b"1", first, first))));
        assert_eq!(put_if(OnlyIf::Absent).await, there);
        assert_eq!(put_if(OnlyIf::Unchanged(Revision(first.0 + 1))).await, there);
        assert_eq!(store.delete(key, OnlyIf::Absent).await, there);
        let second = done(store.put(key, b"2".to_vec(), None, OnlyIf::Unchanged(first)).await);
        let there = Ok(Written::Conflict(Some(entry(key, b"2", first, second))));
        assert_eq!(put_if(OnlyIf::Unchanged(first)).await, there, "it is another one now");
        assert_eq!(store.delete(key, OnlyIf::Unchanged(first)).await, there);
        let gone = done(store.delete(key, OnlyIf::Unchanged(second)).await);
        assert!(gone > second);
        assert!(done(store.delete(key, OnlyIf::Absent).await) >= gone, "it is as it should be");
        assert!(done(store.delete(key, OnlyIf::Always).await) >= gone);
        assert!(done(store.put(key, b"3".to_vec(), None, OnlyIf::Absent).await) > gone);
    })
}

/// Neither a conflict nor a delete of nothing is a change. Others may change what is theirs meanwhile: what is ours stays of its revision.
pub fn what_is_refused_makes_no_revision(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let (kept, none) = ("refused/kept", "refused/none");
        let first = put(store, kept, b"1").await;
        let mut watch = store.watch("refused/", first);
        assert!(matches!(store.put(kept, b"2".to_vec(), None, OnlyIf::Absent).await, Ok(Written::Conflict(_))));
        done(store.delete(none, OnlyIf::Always).await);
        let last = put(store, none, b"now").await;
        assert_eq!(changes(&mut *watch, last).await, [Change::Put(entry(none, b"now", last, last))]);
        assert_eq!(store.get(kept).await, Ok(Some(entry(kept, b"1", first, first))));
    })
}

/// At the same time.
pub fn of_many_who_put_what_must_be_absent_one_wins(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let tries = together((0..8u8).map(|who| store.put("race/one", vec![who], None, OnlyIf::Absent))).await;
        let won: Vec<usize> = (0..tries.len()).filter(|who| matches!(tries[*who], Ok(Written::Done(_)))).collect();
        assert_eq!(won.len(), 1, "{tries:?}");
        let there = store.get("race/one").await.expect("it can be asked").expect("somebody put it");
        assert_eq!(usize::from(there.value[0]), won[0]);
        let lost = |one: &Result<Written, Trouble>| *one == Ok(Written::Conflict(Some(there.clone())));
        assert_eq!(tries.iter().filter(|one| lost(one)).count(), 7, "{tries:?}");
    })
}

/// Each reads, adds one, and puts it if nobody was faster.
pub fn nobodys_change_is_lost_between_those_who_put_what_they_read(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        put(store, "count/all", &[0]).await;
        let adds = (0..4).map(|_| async move {
            for _ in 0..5 {
                loop {
                    let was = store.get("count/all").await.expect("it can be asked").expect("it is there");
                    let only_if = OnlyIf::Unchanged(was.modified);
                    match store.put("count/all", vec![was.value[0] + 1], None, only_if).await {
                        Ok(Written::Done(_)) => break,
                        Ok(Written::Conflict(Some(_))) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        });
        together(adds).await;
        assert_eq!(store.get("count/all").await.expect("it can be asked").expect("it is there").value, [20]);
    })
}

/// `a/` shows neither `a` nor `ab`, and a listing comes in the order of its keys.
pub fn a_prefix_ends_where_it_ends(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        assert_eq!(store.list("bounds/").await.expect("it can be asked").entries, []);
        let before = store.list("bounds/").await.expect("it can be asked").revision;
        for key in
            ["bounds/a/2", "bounds/a", "bounds/ab", "bounds/a/\u{10ffff}", "bounds/a0", "bounds/a/", "bounds/a/10"]
        {
            put(store, key, b"").await;
        }
        let keys = async |prefix| {
            let entries = store.list(prefix).await.expect("it can be asked").entries;
            entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
        };
        let inside = ["bounds/a/", "bounds/a/10", "bounds/a/2", "bounds/a/\u{10ffff}"];
        assert_eq!(keys("bounds/a/").await, inside);
        assert_eq!(keys("bounds/a/\u{10ffff}").await, ["bounds/a/\u{10ffff}"]);
        assert_eq!(keys("bounds/b").await, [""; 0]);
        assert_eq!(keys("bounds/").await.len(), 7);
        let everything = keys("").await;
        assert!(inside.iter().all(|key| everything.iter().any(|other| other == key)), "{everything:?}");
        let after = store.list("bounds/").await.expect("it can be asked").revision;
        assert!(after.0 >= before.0 + 7, "{before:?}, {after:?}");
        let last = put(store, "bounds/a/end", b"").await;
        let mut watch = store.watch("bounds/a/", before);
        let shown: Vec<String> = changes(&mut *watch, last).await.into_iter().map(key).collect();
        assert_eq!(shown, ["bounds/a/2", "bounds/a/\u{10ffff}", "bounds/a/", "bounds/a/10", "bounds/a/end"]);
    })
}

/// It is long enough to come in pieces; what is put meanwhile, at its beginning and at its end, is in it altogether or not at all.
pub fn a_long_listing_is_of_one_revision(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        const KEYS: usize = 1200;
        for some in (0..KEYS).collect::<Vec<_>>().chunks(50) {
            together(some.iter().map(|n| async move { put(store, &format!("long/{n:05}"), b"0").await })).await;
        }
        let (first, last) = ("long/00000", "long/99999");
        let writes = async {
            for n in 0..20u8 {
                put(store, last, &[n]).await;
                put(store, first, &[n]).await;
            }
        };
        let reads = async {
            for _ in 0..10 {
                let listing = store.list("long/").await.expect("it can be asked");
                assert!(listing.entries.is_sorted_by(|one, other| one.key < other.key));
                assert!(listing.entries.iter().all(|entry| entry.modified <= listing.revision));
                let value = |key| Some(listing.entries.iter().find(|entry| entry.key == key)?.value[0]);
                let (first, last) = (value(first).filter(|value| *value != b'0'), value(last));
                // The last was put just before the first.
                let fits = last == first || last == Some(first.map_or(0, |first| first + 1));
                assert!(fits, "{first:?}, {last:?}");
            }
        };
        tokio::join!(writes, reads);
        assert_eq!(store.list("long/").await.expect("it can be asked").entries.len(), KEYS + 1);
    })
}

/// Up to the bounds all is well.
pub fn what_is_too_long_is_refused(store: &dyn Durable) -> Held<'_> {
    Box::pin(async move {
        let longest = format!("too/{}", "k".repeat(MOST_KEY - 4));
        put(store, &longest, &vec![b'v'; MOST_VALUE]).await;
        assert_eq!(store.get(&longest).await.map(|found| found.map(|found| found.value.len())), Ok(Some(MOST_VALUE)));
        let put = async |key: &str, value| store.put(key, value, None, OnlyIf::Always).await;
        assert!(matches!(put("too/value", vec![b'v'; MOST_VALUE + 1]).await, Err(Trouble::Refused(_))));
        assert!(matches!(put(&format!("{longest}k"), Vec::new()).await, Err(Trouble::Refused(_))));
        assert_eq!(store.list("too/").await.map(|listing| listing.entries.len()), Ok(1));
    })
}
