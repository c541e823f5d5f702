//! R2: what the gateway must not forget, in etcd: the contract, on one node and on three; names and passwords, TLS, what is forgotten.
//! Outages are in `r2_etcd_outages.rs`.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

#[path = "r2_etcd/reach.rs"]
mod reach;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tollgate_core::clock::Clock;
use tollgate_durable::{Durable, Etcd, EtcdCredentials, EtcdSettings, OnlyIf, Revision, Seen, Trouble};
use tollgate_net::tls::{Pair, Roots};
use tollgate_testkit::durable::{Clause, changes, confirmed, next, put};
use tollgate_testkit::{Authority, durable_contract};

use self::reach::{caller, runtime, settings, store};

/// Started by the first test that wants it, and ended with the last.
type Shared = Mutex<Weak<tollgate_testkit::Etcd>>;

static ONE: Shared = Mutex::new(Weak::new());
static THREE: Shared = Mutex::new(Weak::new());

fn shared(place: &'static Shared, start: fn() -> tollgate_testkit::Etcd) -> Arc<tollgate_testkit::Etcd> {
    let mut place: MutexGuard<'_, _> = place.lock().unwrap_or_else(PoisonError::into_inner);
    place.upgrade().unwrap_or_else(|| {
        let etcd = Arc::new(start());
        *place = Arc::downgrade(&etcd);
        etcd
    })
}

mod one_node {
    use super::{Clause, ONE, durable_contract, runtime, settings, shared, store};

    fn held(clause: Clause) {
        let (etcd, runtime) = (shared(&ONE, tollgate_testkit::Etcd::start), runtime());
        runtime.block_on(clause(&store(settings(&etcd), &runtime)));
    }

    durable_contract!(held);
}

mod three_nodes {
    use super::{Clause, THREE, durable_contract, runtime, settings, shared, store};

    fn held(clause: Clause) {
        let (etcd, runtime) = (shared(&THREE, tollgate_testkit::Etcd::cluster), runtime());
        runtime.block_on(clause(&store(settings(&etcd), &runtime)));
    }

    durable_contract!(held);
}

/// As this user, with this password.
fn user(etcd: &tollgate_testkit::Etcd, user: &str, password: &str) -> EtcdSettings {
    let credentials = EtcdCredentials { user: user.to_owned(), password: password.to_owned() };
    EtcdSettings { credentials: Some(credentials), ..settings(etcd) }
}

/// Why it was refused.
fn refused<T: std::fmt::Debug>(asked: Result<T, Trouble>) -> String {
    match asked {
        Err(Trouble::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn clusters_with_prefixes_of_their_own_see_nothing_of_each_other() {
    let (etcd, runtime) = (tollgate_testkit::Etcd::start(), runtime());
    let of = |prefix: &str| store(EtcdSettings { prefix: prefix.to_owned(), ..settings(&etcd) }, &runtime);
    let (shop, bank) = (of("/shop"), of("/shop-of-others/"));
    runtime.block_on(async {
        let from = put(&shop, "instances/a", b"ours").await;
        put(&bank, "instances/a", b"theirs").await;
        let mut watch = shop.watch("", Revision(0));
        assert_eq!(changes(&mut *watch, from).await.len(), 1);
        // Something else has changed: so a mark is put, and it is nobody's.
        confirmed(&mut *watch, Revision(from.0 + 1)).await;
        let listing = shop.list("").await.unwrap();
        assert_eq!(listing.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["instances/a"]);
        assert_eq!(listing.entries[0].value, b"ours");
    });
    let keys = etcd.tell(&["get", "", "--prefix", "--keys-only"]);
    let keys: Vec<&str> = keys.split_whitespace().collect();
    assert_eq!(keys, ["/shop-of-others/instances/a", "/shop/instances/a", "/shop/~mark"]);
}

#[test]
fn no_mark_is_put_while_nothing_else_changes() {
    let (etcd, runtime) = (tollgate_testkit::Etcd::start(), runtime());
    let store = store(settings(&etcd), &runtime);
    runtime.block_on(async {
        let from = put(&store, "instances/a", b"").await;
        let mut watch = store.watch("instances/", from);
        for _ in 0..4 {
            assert_eq!(next(&mut *watch).await, Seen::Confirmed(from));
        }
        assert_eq!(store.list("").await.unwrap().revision, from);
    });
}

#[test]
fn what_is_compacted_is_to_be_listed_again() {
    let (etcd, runtime) = (tollgate_testkit::Etcd::start(), runtime());
    let store = store(settings(&etcd), &runtime);
    runtime.block_on(async {
        let first = put(&store, "instances/a", b"1").await;
        put(&store, "instances/a", b"2").await;
        let third = put(&store, "instances/a", b"3").await;
        etcd.tell(&["compact", &third.0.to_string()]);
        let mut watch = store.watch("instances/", first);
        assert_eq!(next(&mut *watch).await, Seen::Compacted);
        assert_eq!(next(&mut *watch).await, Seen::Compacted, "and so it stays");
        let listing = store.list("instances/").await.unwrap();
        assert_eq!(listing.entries[0].modified, third);
        let mut watch = store.watch("instances/", listing.revision);
        let fourth = put(&store, "instances/a", b"4").await;
        assert_eq!(changes(&mut *watch, fourth).await.len(), 1);
    });
}

#[test]
fn who_has_no_name_or_a_wrong_password_or_no_right_is_refused_and_told_so() {
    let (etcd, runtime) = (tollgate_testkit::Etcd::start(), runtime());
    etcd.enable_auth("/tollgate/");
    runtime.block_on(async {
        let nobody = store(settings(&etcd), &runtime);
        let why = refused(nobody.get("a").await);
        assert!(why.contains("user name is empty"), "{why}");
        assert!(matches!(nobody.watch("", Revision(0)).next().await, Err(Trouble::Refused(_))));
        let wrong = store(user(&etcd, "gateway", "guessed-it"), &runtime);
        for why in [refused(wrong.get("a").await), refused(wrong.watch("", Revision(0)).next().await)] {
            assert!(why.contains("user `gateway`: authentication failed") && !why.contains("guessed-it"), "{why}");
        }
        assert!(!format!("{wrong:?}").contains("guessed-it"));
        let elsewhere = EtcdSettings { prefix: "/others/".to_owned(), ..user(&etcd, "gateway", "secret") };
        let elsewhere = store(elsewhere, &runtime);
        let put = elsewhere.put("a", Vec::new(), None, OnlyIf::Always).await;
        for why in [refused(put), refused(elsewhere.watch("", Revision(0)).next().await)] {
            assert!(why.contains("permission denied"), "{why}");
        }
        // It has been told about a name and a password, and need not be.
        let free = tollgate_testkit::Etcd::start();
        assert_eq!(store(user(&free, "gateway", "secret"), &runtime).get("a").await, Ok(None));
    });
}

#[test]
fn a_token_that_is_not_known_any_more_is_fetched_anew() {
    let (mut etcd, runtime) = (tollgate_testkit::Etcd::start(), runtime());
    etcd.enable_auth("/tollgate/");
    let store = store(user(&etcd, "gateway", "secret"), &runtime);
    let (first, mut watch) = runtime.block_on(async {
        let first = put(&store, "a", b"1").await;
        let mut watch = store.watch("", first);
        confirmed(&mut *watch, first).await;
        (first, watch)
    });
    // It forgets all tokens with its end.
    etcd.kill(0);
    etcd.start_again(0);
    runtime.block_on(async {
        let second = put(&store, "a", b"2").await;
        assert_eq!(changes(&mut *watch, second).await.len(), 1);
    });
    // So it does when rights change.
    etcd.tell(&["--user", "root:root", "role", "grant-permission", "tollgate", "readwrite", "/other"]);
    runtime.block_on(async {
        let third = put(&store, "a", b"3").await;
        assert_eq!(changes(&mut *watch, third).await.len(), 1);
        confirmed(&mut *watch, third).await;
        // The watch is the first that is refused.
        let mut anew = store.watch("", first);
        etcd.tell(&["--user", "root:root", "role", "grant-permission", "tollgate", "readwrite", "/another"]);
        assert_eq!(changes(&mut *anew, third).await.len(), 2);
    });
}

#[test]
fn a_token_that_rested_too_long_is_fetched_anew() {
    let (etcd, runtime) = (tollgate_testkit::Etcd::with(&["--auth-token-ttl", "1"]), runtime());
    etcd.enable_auth("/tollgate/");
    let tired = store(user(&etcd, "gateway", "secret"), &runtime);
    runtime.block_on(async {
        put(&tired, "a", b"1").await;
        // Time passes, as a lease tells that somebody else has.
        let other = store(user(&etcd, "gateway", "secret"), &runtime);
        let lease = other.grant(std::time::Duration::from_secs(4)).await.unwrap();
        let Ok(tollgate_durable::Written::Done(from)) = other.put("b", Vec::new(), Some(lease), OnlyIf::Absent).await
        else {
            panic!("it was not put")
        };
        let mut watch = other.watch("b", from);
        while matches!(next(&mut *watch).await, Seen::Confirmed(_)) {}
        put(&tired, "a", b"2").await;
    });
}

#[test]
fn tls_is_spoken_by_who_shows_a_certificate_and_believes_the_authority() {
    let authority = Authority::new("etcd");
    let (etcd, runtime) = (tollgate_testkit::Etcd::tls(&authority), runtime());
    let (cert, key, ca) = etcd.client_files();
    let with = |roots: Roots, pair: Option<Pair>| {
        Etcd::new(settings(&etcd), caller(roots, pair, &runtime), Clock::real()).unwrap()
    };
    let pair = Pair { cert: cert.to_owned(), key: key.to_owned() };
    runtime.block_on(async {
        let store = with(Roots::File(ca.to_owned()), Some(pair.clone()));
        let from = put(&store, "a", b"1").await;
        let mut watch = store.watch("", Revision(0));
        assert_eq!(changes(&mut *watch, from).await.len(), 1);
        confirmed(&mut *watch, from).await;
        let members = store.members().await;
        assert!(members[0].status.as_ref().unwrap().is_leader, "{members:?}");
        for stranger in [with(Roots::File(ca.to_owned()), None), with(Roots::System, Some(pair.clone()))] {
            assert!(matches!(stranger.get("a").await, Err(Trouble::Unavailable(_))));
            assert!(matches!(stranger.watch("", Revision(0)).next().await, Err(Trouble::Unavailable(_))));
        }
    });
}

#[test]
fn what_is_no_endpoint_is_said_before_anything_is_asked() {
    let runtime = runtime();
    for endpoint in ["", "127.0.0.1:2379", "http://", "http://user:password@host:1", "https://host:1/path"] {
        let caller = caller(Roots::System, None, &runtime);
        let settings = EtcdSettings { endpoints: vec![endpoint.to_owned()], credentials: None, prefix: String::new() };
        let why = Etcd::new(settings, caller, Clock::real()).unwrap_err();
        assert!(why.contains("is no endpoint; write http://HOST:PORT"), "{why}");
    }
}
