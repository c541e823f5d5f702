//! While what keeps the registry cannot be asked; and when the config becomes another one.

use super::*;

/// A list of orders, as one who has this one asks for it.
fn list(bench: &Bench, has: &str) -> Answer {
    let fields = [("Authorization", bench.admin.as_str()), ("If-None-Match", has)];
    bench.ask(Ask::Instances, "services/orders/instances", &fields, "")
}

fn poll(bench: &Bench, has: &str) -> Answer {
    let fields = [("Authorization", bench.admin.as_str()), ("If-None-Match", has)];
    bench.ask(Ask::Instances, "services/orders/instances?watch&after=1&wait=1s", &fields, "")
}

#[test]
fn before_it_was_heard_nothing_is_not_taken_for_none() {
    let bench = Bench::new();
    bench.register("a");
    bench.shelf.hear(false);
    let asked = [
        (Ask::Services, "services"),
        (Ask::Instances, "instances"),
        (Ask::Instances, "services/orders/instances"),
        (Ask::Instances, "services/orders/instances?watch&after=1"),
        (Ask::Get, ONE),
    ];
    for (ask, target) in asked {
        let answer = bench.admin(ask, target, "");
        assert_eq!((answer.status, &answer.body["slug"]), (503, &"registry/unheard".into()), "{target}");
        assert_eq!(answer.field("Retry-After"), Some("1"));
    }
    assert_eq!(events(&bench, &[], "").status, 503);
    assert_eq!(events(&bench, &[("Last-Event-ID", "1")], "").status, 503);
    bench.shelf.hear(true);
    assert_eq!(bench.admin(Ask::Services, "services", "").status, 200);
}

#[test]
fn a_list_is_another_one_once_an_instance_has_lapsed() {
    let bench = Bench::new();
    bench.register("a");
    assert_eq!(list(&bench, "W/\"1\"").status, 304);
    bench.shelf.lapse(Some(Duration::from_secs(30)));
    let lapsed = list(&bench, "W/\"1\"");
    assert_eq!((lapsed.status, lapsed.field("ETag"), &lapsed.body["instances"]), (200, Some("W/\"1-30\""), &json!([])));
    assert_eq!((lapsed.field("Tollgate-Revision"), &lapsed.body["revision"]), (Some("1"), &1.into()));
    assert_eq!(list(&bench, "W/\"1-30\"").status, 304);
    let missed = poll(&bench, "W/\"1\"");
    assert_eq!((missed.status, &missed.body["slug"]), (410, &"registry/compacted".into()), "it lapsed between the two");
    assert_eq!(poll(&bench, "W/\"1-30\"").status, 204);
    bench.shelf.lapse(None);
    assert_eq!((list(&bench, "W/\"1-30\"").status, poll(&bench, "W/\"1-30\"").status), (200, 410));
}

#[test]
fn whoever_follows_is_told_what_lapses() {
    let bench = Bench::new();
    bench.register("a");
    let mut stream = events(&bench, &[], "");
    assert!(bench.next(&mut stream).unwrap().contains("event: snapshot\nid: 1\n"));
    bench.shelf.lapse(Some(Duration::from_secs(30)));
    let without = bench.next(&mut stream).unwrap();
    assert!(without.starts_with("event: snapshot\nid: 1-30\n") && !without.contains("\"id\""), "{without}");
    assert_eq!(bench.next(&mut stream).unwrap(), ":\n\n", "that is told once");
    let mut again = events(&bench, &[("Last-Event-ID", "1-30")], "");
    assert_eq!(bench.next(&mut again).unwrap(), "retry: 1000\n\n");
    assert_eq!(bench.next(&mut again).unwrap(), ":\n\n", "it knows");
    drop(again);
    bench.shelf.lapse(None);
    assert!(bench.next(&mut stream).unwrap().starts_with("event: snapshot\nid: 1\n"));
    let mut missed = events(&bench, &[("Last-Event-ID", "1-30")], "");
    assert_eq!(bench.next(&mut missed).unwrap(), "retry: 1000\n\n");
    assert!(bench.next(&mut missed).unwrap().starts_with("event: snapshot\nid: 1\n"), "what it missed");
}

#[test]
fn a_stream_ends_when_the_config_takes_its_right_away() {
    let bench = Bench::new();
    bench.register("a");
    let follow = |token: &str, target: &str| {
        let token = format!("Bearer {token}");
        let fields = [("Authorization", token.as_str()), ("Accept", "text/event-stream")];
        let mut stream = bench.ask(Ask::Instances, target, &fields, "");
        assert!(bench.next(&mut stream).unwrap().contains("event: snapshot"));
        stream
    };
    let mut of_one = follow(ORDERS, "services/orders/instances");
    bench.registry.access.set(&config(&CONFIG.replace(ALL, "another-another-another")));
    assert_eq!(bench.next(&mut of_one).unwrap(), ":\n\n", "its right is as it was");
    drop(of_one);
    bench.registry.access.set(&config(CONFIG));
    let (mut of_one, mut of_all) = (follow(ORDERS, "services/orders/instances"), follow(ALL, "instances"));
    bench.registry.access.set(&config(&CONFIG.replace(ORDERS, "another-another-another").replace("'*'", "'bil*'")));
    bench.register("b");
    assert!(bench.next(&mut of_one).is_none(), "whoever has the old token follows no more");
    let all = bench.next(&mut of_all).unwrap();
    assert!(all.starts_with("event: snapshot") && !all.contains("\"id\""), "it may know of other services now: {all}");
    bench.registry.access.close();
    assert!(bench.next(&mut of_all).is_none(), "this registry is in force no more");
}

/// A stream of this credential over all services, and its first piece.
fn follow_all(bench: &Bench, credential: &str) -> (Answer, String) {
    let fields = [("Authorization", credential), ("Accept", "text/event-stream")];
    let mut stream = bench.ask(Ask::Instances, "instances", &fields, "");
    let first = bench.next(&mut stream).unwrap();
    (stream, first)
}

#[test]
fn a_reload_that_changes_no_right_is_nothing_to_those_who_wait() {
    let bench = Bench::new();
    bench.register("a");
    let (mut stream, _) = follow_all(&bench, &format!("Bearer {ALL}"));
    // It waits.
    assert_eq!(bench.next(&mut stream).unwrap(), ":\n\n");
    bench.registry.access.set(&config(&CONFIG.replace("watchers: 2", "watchers: 1")));
    bench.register("b");
    let next = bench.next(&mut stream).unwrap();
    assert!(next.starts_with("event: put\n"), "{next}");
}

#[test]
fn a_stream_of_the_admin_token_ends_with_that_token() {
    let bench = Bench::new();
    let other = tempfile::tempdir().unwrap();
    let [own, other] = [bench.folder.path(), other.path()].map(|folder| Token::load_or_make(folder).unwrap());
    bench.registry.access.admin_will_be(&own);
    bench.registry.access.set(&config(CONFIG));
    let (mut stream, _) = follow_all(&bench, &bench.admin);
    bench.registry.access.set(&config(CONFIG));
    assert_eq!(bench.next(&mut stream).unwrap(), ":\n\n", "it is the same still");
    bench.registry.access.admin_will_be(&other);
    assert_eq!(bench.next(&mut stream).unwrap(), ":\n\n", "until that config is in force");
    bench.registry.access.set(&config(CONFIG));
    assert!(bench.next(&mut stream).is_none());
}

#[test]
fn whoever_may_know_of_other_services_has_another_list() {
    let bench = Bench::new();
    bench.register("a");
    let credential = format!("Bearer {ALL}");
    let list = |has: &str| {
        let fields = [("Authorization", credential.as_str()), ("If-None-Match", has)];
        bench.ask(Ask::Instances, "instances", &fields, "")
    };
    let first = list("");
    let tag = first.field("ETag").unwrap().to_owned();
    assert_eq!(list(&tag).status, 304);
    bench.registry.access.set(&config(&CONFIG.replace("'*'", "'bil*'")));
    let next = list(&tag);
    assert_eq!((next.status, next.field("ETag") == Some(&*tag)), (200, false));
    // Nor does a stream go on from there.
    let id = tag.trim_start_matches("W/").trim_matches('"');
    let fields = [("Authorization", credential.as_str()), ("Accept", "text/event-stream"), ("Last-Event-ID", id)];
    let mut stream = bench.ask(Ask::Instances, "instances", &fields, "");
    assert!(bench.next(&mut stream).unwrap().contains("event: snapshot"));
}

#[test]
fn so_many_wait_as_the_config_in_force_says() {
    let bench = Bench::new();
    let (_one, two) = (events(&bench, &[], ""), events(&bench, &[], ""));
    assert_eq!(events(&bench, &[], "").status, 503);
    bench.registry.access.set(&config(&CONFIG.replace("watchers: 2", "watchers: 1")));
    drop(two);
    assert_eq!(events(&bench, &[], "").status, 503, "one waits still from before");
    bench.registry.access.set(&config(CONFIG));
    assert_eq!(events(&bench, &[], "").status, 200);
}
