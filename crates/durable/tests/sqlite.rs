//! The contract, and what only SQLite promises: what a restart leaves, and who keeps the folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assertion is a failed test")]

use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tollgate_core::clock::Clock;
use tollgate_durable::sqlite::{Bounds, Settings};
use tollgate_durable::{Change, Durable, LeaseId, OnlyIf, Revision, Seen, Sqlite, Trouble, Watch};
use tollgate_testkit::durable::{self, Clause};

fn settings(folder: &Path) -> Settings {
    Settings {
        folder: folder.to_owned(),
        history: 10_000,
        bounds: Bounds { grace: Duration::from_secs(30), most: 100_000 },
    }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

fn open(folder: &Path, clock: &Clock) -> Sqlite {
    Sqlite::open(&settings(folder), clock.clone()).unwrap()
}

fn hold(clause: Clause) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Clock::real());
    block_on(clause(&store));
}

tollgate_testkit::durable_contract!(hold);

fn fake() -> Clock {
    Clock::fake(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

/// Two keys under leases of 10 s and 60 s, and one without.
async fn filled(store: &Sqlite) -> (LeaseId, LeaseId) {
    let (short, long) =
        (store.grant(Duration::from_secs(10)).await.unwrap(), store.grant(Duration::from_secs(60)).await.unwrap());
    for (key, lease) in [("a/short", Some(short)), ("a/long", Some(long)), ("a/kept", None)] {
        durable::done(store.put(key, b"1".to_vec(), lease, OnlyIf::Always).await);
    }
    (short, long)
}

async fn keys(store: &Sqlite) -> Vec<String> {
    store.list("a/").await.unwrap().entries.into_iter().map(|entry| entry.key).collect()
}

/// As if the process had been killed: nothing is written any more, and the lock is free. The files are copied while it is open.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let to = copy.path().join(file.file_name());
        std::fs::copy(file.path(), &to).unwrap();
        let when = file.metadata().unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(to).unwrap().set_modified(when).unwrap();
    }
    copy
}

#[test]
fn what_was_answered_outlives_a_kill_and_leases_begin_again() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        let store = open(folder.path(), &clock);
        let (short, _) = filled(&store).await;
        let before = store.list("").await.unwrap();
        clock.advance(Duration::from_secs(9));
        assert_eq!(store.renew(short).await, Ok(Some(Duration::from_secs(10))));
        let copy = killed(folder.path());
        // Down for as long as the grace allows, beyond every end that the leases had.
        clock.advance(Duration::from_secs(20));
        let again = open(copy.path(), &clock);
        let found = again.list("").await.unwrap();
        assert_eq!(found.entries, before.entries);
        assert!(found.revision > before.revision, "what one process gives out before it is killed is no other one's");
        assert_eq!(again.watch("a/", before.revision).next().await, Ok(Seen::Compacted));
        clock.advance(Duration::from_secs(9));
        again.look();
        assert_eq!(again.renew(short).await, Ok(Some(Duration::from_secs(10))), "its whole time, from the restart on");
    });
}

#[test]
fn time_beyond_the_grace_counts_against_leases() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        let store = open(folder.path(), &clock);
        let (short, long) = filled(&store).await;
        let copy = killed(folder.path());
        // 30 s of grace, 5 s between stamps, and 20 s that count.
        clock.advance(Duration::from_secs(55));
        let again = open(copy.path(), &clock);
        assert_eq!(keys(&again).await, ["a/kept", "a/long"], "it is gone before anybody is shown it");
        assert_eq!(again.renew(short).await, Ok(None));
        clock.advance(Duration::from_secs(39));
        // Whatever is written, leases that have ended go before it.
        durable::done(again.put("b", Vec::new(), None, OnlyIf::Always).await);
        assert_eq!(keys(&again).await, ["a/kept", "a/long"]);
        clock.advance(Duration::from_secs(1));
        durable::done(again.put("b", Vec::new(), None, OnlyIf::Always).await);
        assert_eq!(keys(&again).await, ["a/kept"], "40 s of its 60 were left");
        assert_eq!(again.renew(long).await, Ok(None));
    });
}

#[test]
fn what_ended_or_was_taken_away_before_a_kill_stays_gone() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        let store = open(folder.path(), &clock);
        let (_, long) = filled(&store).await;
        let from = store.list("").await.unwrap().revision;
        let mut watch = store.watch("a/", from);
        clock.advance(Duration::from_secs(10));
        store.look();
        let gone = durable::changes(&mut *watch, Revision(from.0 + 1)).await;
        assert_eq!(gone.len(), 1);
        durable::done(store.delete("a/kept", OnlyIf::Always).await);
        // Shown means: on the disk.
        let again = open(killed(folder.path()).path(), &clock);
        assert_eq!(keys(&again).await, ["a/long"]);
        assert!(store.revoke(long).await.unwrap());
        let again = open(killed(folder.path()).path(), &clock);
        assert_eq!(keys(&again).await, [""; 0]);
    });
}

#[test]
fn renewing_writes_nothing() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        let store = open(folder.path(), &clock);
        let (short, _) = filled(&store).await;
        let written = || std::fs::metadata(folder.path().join("registry.db-wal")).unwrap().modified().unwrap();
        let before = written();
        for _ in 0..1000 {
            assert!(store.renew(short).await.unwrap().is_some());
        }
        store.look();
        assert_eq!(written(), before);
    });
}

#[test]
fn another_process_reads_along_and_takes_over_when_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::real();
    block_on(async {
        let first = open(folder.path(), &clock);
        let second = open(folder.path(), &clock);
        assert!(first.is_keeper() && !second.is_keeper());
        let (short, _) = filled(&first).await;
        durable::eventually("it reads along", async || keys(&second).await.len() == 3).await;
        let from = second.list("").await.unwrap().revision;
        let mut watch = second.watch("a/", from);
        durable::done(first.delete("a/kept", OnlyIf::Always).await);
        let seen = durable::changes(&mut *watch, Revision(from.0 + 1)).await;
        assert!(matches!(&*seen, [Change::Gone { key, .. }] if key == "a/kept"), "{seen:?}");
        tokio::join!(
            async {
                // It waits until it may.
                durable::done(second.put("a/new", Vec::new(), None, OnlyIf::Always).await);
                assert_eq!(second.renew(short).await, Ok(Some(Duration::from_secs(10))));
            },
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                first.hand_over(Duration::from_secs(5));
            }
        );
        assert!(second.is_keeper() && !first.is_keeper());
        durable::eventually("it reads along", async || keys(&first).await.contains(&"a/new".to_owned())).await;
        drop(second);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!first.is_keeper(), "who handed over does not take it back");
    });
}

/// Something done to the file behind the store's back.
fn meddle(folder: &Path, sql: &str) {
    rusqlite::Connection::open(folder.join("registry.db")).unwrap().execute_batch(sql).unwrap();
}

/// Waits until a watch says that nothing can be vouched for.
async fn doubted(watch: &mut dyn Watch) -> Trouble {
    let doubting = async {
        loop {
            match watch.next().await {
                Err(trouble) => break trouble,
                Ok(Seen::Confirmed(_)) => {}
                other => panic!("nothing was to be seen: {other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), doubting).await.unwrap()
}

#[test]
fn what_ends_is_over_even_if_the_disk_refuses_to_let_go_of_it() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    let on_disk = || {
        let file = rusqlite::Connection::open(folder.path().join("registry.db")).unwrap();
        let mut asked = file.prepare("SELECT key FROM entries ORDER BY key").unwrap();
        let keys = asked.query_map([], |row| row.get(0)).unwrap();
        keys.collect::<Result<Vec<String>, _>>().unwrap()
    };
    block_on(async {
        let store = open(folder.path(), &clock);
        let (_, long) = filled(&store).await;
        let from = store.list("").await.unwrap().revision;
        let mut watch = store.watch("a/", from);
        durable::confirmed(&mut *watch, from).await;
        meddle(folder.path(), "CREATE TRIGGER no BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'not now'); END");
        let refused = store.delete("a/kept", OnlyIf::Always).await.unwrap_err();
        assert!(refused.to_string().contains("not now"), "{refused}");
        clock.advance(Duration::from_secs(10));
        store.look();
        let gone = durable::changes(&mut *watch, Revision(from.0 + 1)).await;
        assert!(matches!(&*gone, [Change::Gone { key, .. }] if key == "a/short"), "{gone:?}");
        durable::confirmed(&mut *watch, Revision(from.0 + 1)).await;
        assert_eq!(keys(&store).await, ["a/kept", "a/long"], "the others live on");
        assert!(store.renew(long).await.unwrap().is_some());
        assert_eq!(on_disk(), ["a/kept", "a/long", "a/short"]);
        meddle(folder.path(), "DROP TRIGGER no");
        clock.advance(Duration::from_secs(1));
        store.look();
        durable::eventually("the disk lets go of it", async || on_disk() == ["a/kept", "a/long"]).await;
        assert_eq!(store.list("").await.unwrap().revision, Revision(from.0 + 1), "once");
    });
}

#[test]
fn who_ends_in_order_leaves_its_revisions_to_the_next() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        let store = open(folder.path(), &clock);
        filled(&store).await;
        let before = store.list("").await.unwrap();
        store.hand_over(Duration::from_secs(5));
        let again = open(folder.path(), &clock);
        assert_eq!((again.is_keeper(), again.list("").await.unwrap()), (true, before));
    });
}

#[test]
fn leases_outlive_a_disk_that_took_nothing_for_long() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        let store = open(folder.path(), &clock);
        let (short, _) = filled(&store).await;
        meddle(folder.path(), "CREATE TRIGGER no BEFORE INSERT ON facts BEGIN SELECT RAISE(ABORT, 'full'); END");
        // For longer than the grace and every time to live.
        for _ in 0..40 {
            clock.advance(Duration::from_secs(5));
            assert!(store.renew(short).await.unwrap().is_some());
            store.look();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(store.put("a/new", Vec::new(), None, OnlyIf::Always).await.is_err());
        let copy = killed(folder.path());
        meddle(copy.path(), "DROP TRIGGER no");
        clock.advance(Duration::from_secs(20));
        let again = open(copy.path(), &clock);
        assert_eq!(again.renew(short).await, Ok(Some(Duration::from_secs(10))));
        // What somebody brings back without the lock's file goes by what the disk says.
        std::fs::remove_file(folder.path().join("registry.lock")).unwrap();
        let copy = killed(folder.path());
        meddle(copy.path(), "DROP TRIGGER no");
        assert_eq!(keys(&open(copy.path(), &clock)).await, ["a/kept"]);
    });
}

#[test]
fn who_reads_along_vouches_only_while_the_keeper_shows_that_it_is_there() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        drop(open(folder.path(), &clock));
        let keeper = std::fs::File::options().write(true).open(folder.path().join("registry.lock")).unwrap();
        keeper.lock().unwrap();
        let reader = open(folder.path(), &clock);
        let from = reader.list("").await.unwrap().revision;
        let mut watch = reader.watch("", from);
        durable::confirmed(&mut *watch, from).await;
        clock.advance(Duration::from_secs(10));
        let trouble = doubted(&mut *watch).await;
        assert!(trouble.to_string().contains("no sign of life"), "{trouble}");
        // Wherever its clock of the day stands.
        keeper.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        durable::confirmed(&mut *watch, from).await;
    });
}

#[test]
fn what_cannot_be_read_along_is_not_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::real();
    block_on(async {
        let first = open(folder.path(), &clock);
        let second = open(folder.path(), &clock);
        durable::done(first.put("a/b", Vec::new(), None, OnlyIf::Always).await);
        durable::eventually("it reads along", async || keys(&second).await.len() == 1).await;
        let from = second.list("").await.unwrap().revision;
        let mut watch = second.watch("a/", from);
        durable::confirmed(&mut *watch, from).await;
        meddle(folder.path(), "ALTER TABLE entries RENAME TO elsewhere");
        let trouble = doubted(&mut *watch).await;
        assert!(trouble.to_string().contains("cannot be read"), "{trouble}");
        meddle(folder.path(), "ALTER TABLE elsewhere RENAME TO entries");
        durable::confirmed(&mut *watch, from).await;
    });
}

#[test]
fn it_is_kept_within_other_bounds_from_now_on() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), fake());
    block_on(async {
        let store = open(folder.path(), &clock);
        let (short, _) = filled(&store).await;
        let (grace, put) = (Duration::from_secs(30), || store.put("a/new", Vec::new(), None, OnlyIf::Always));
        store.set(Bounds { grace, most: 3 });
        assert!(put().await.is_err_and(|full| full.to_string().contains("there are 3 keys already")));
        store.set(Bounds { grace, most: 4 });
        durable::done(put().await);
        // One that takes over later goes by the grace that was set meanwhile.
        let copy = killed(folder.path());
        let keeper = std::fs::File::open(copy.path().join("registry.lock")).unwrap();
        keeper.lock().unwrap();
        let reader = open(copy.path(), &clock);
        reader.set(Bounds { grace: Duration::from_secs(300), most: 4 });
        clock.advance(Duration::from_secs(200));
        keeper.unlock().unwrap();
        durable::eventually("it takes over", async || reader.is_keeper()).await;
        assert_eq!(reader.renew(short).await, Ok(Some(Duration::from_secs(10))));
    });
}

#[test]
fn a_file_that_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("registry.db"),
        "this is a text that is no database at all, and long enough to be sure",
    )
    .unwrap();
    let error = Sqlite::open(&settings(folder.path()), Clock::real()).unwrap_err();
    assert!(error.contains("not a database"), "{error}");
}
