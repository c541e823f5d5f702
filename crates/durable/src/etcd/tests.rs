//! What real servers do too seldom, or not to the moment: by a caller that answers as a test says.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tollgate_core::caller::{Answer, Call, CallError, Caller, Chunks, Opened};
use tollgate_core::clock::Clock;
use tollgate_core::policy::BoxFuture;

use super::{Etcd, EtcdCredentials, EtcdSettings};
use crate::{Change, Durable, OnlyIf, Revision, Seen, Trouble, Watch, Written};

type Answering = dyn Fn(&Call) -> Result<Answer, CallError> + Send + Sync;

/// Answers as it is told; notes what it was asked.
struct Port {
    answering: Box<Answering>,
    /// What each watch that is opened shows, before it shows nothing more.
    watches: Mutex<VecDeque<Vec<String>>>,
    asked: Mutex<Vec<String>>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Port")
    }
}

impl Caller for Port {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        self.asked.lock().unwrap().push(call.url.clone());
        let answer = (self.answering)(&call);
        Box::pin(async move { answer })
    }

    fn open(&self, call: Call) -> BoxFuture<'static, Result<Opened, CallError>> {
        let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
        let from = body["create_request"]["start_revision"].as_str().unwrap().to_owned();
        self.asked.lock().unwrap().push(format!("{} from {from}", call.url));
        let shown = self.watches.lock().unwrap().pop_front();
        Box::pin(async move {
            let Some(shown) = shown else { std::future::pending().await };
            let chunks = shown.into_iter().map(String::into_bytes).collect();
            Ok(Opened { status: 200, fields: Vec::new(), chunks: Box::new(Shown(chunks)) })
        })
    }
}

/// Chunks, and then no more; the connection ends with one that is empty.
#[derive(Debug)]
struct Shown(VecDeque<Vec<u8>>);

impl Chunks for Shown {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, CallError>> {
        Box::pin(async {
            match self.0.pop_front() {
                Some(chunk) if chunk.is_empty() => Ok(None),
                Some(chunk) => Ok(Some(chunk)),
                None => std::future::pending().await,
            }
        })
    }
}

fn etcd(
    clock: &Clock,
    watches: &[&[&str]],
    answering: impl Fn(&Call) -> Result<Answer, CallError> + Send + Sync + 'static,
) -> (Arc<Port>, Etcd) {
    let watches = watches.iter().map(|shown| shown.iter().map(|chunk| (*chunk).to_owned()).collect()).collect();
    let port = Arc::new(Port { answering: Box::new(answering), watches: Mutex::new(watches), asked: Mutex::default() });
    let endpoints = vec!["http://a:1".to_owned(), "http://b:1/".to_owned()];
    let credentials = EtcdCredentials { user: "gateway".to_owned(), password: "secret".to_owned() };
    let settings = EtcdSettings { endpoints, credentials: Some(credentials), prefix: "/t".to_owned() };
    let etcd = Etcd::new(settings, Arc::clone(&port) as Arc<dyn Caller>, clock.clone()).unwrap();
    (port, etcd)
}

fn clock() -> Clock {
    Clock::fake(SystemTime::UNIX_EPOCH)
}

fn said(status: u16, body: &str) -> Result<Answer, CallError> {
    Ok(Answer { status, fields: Vec::new(), body: body.as_bytes().to_vec() })
}

fn dead() -> Result<Answer, CallError> {
    Err(CallError("connection refused".to_owned()))
}

const NO_AUTH: &str = r#"{"message":"etcdserver: authentication is not enabled","code":9}"#;
const NO_LEADER: &str = r#"{"message":"etcdserver: no leader","code":14}"#;
const CREATED: &str = "{\"result\":{\"header\":{\"revision\":\"99\"},\"created\":true}}\n";

/// A watch's message with these changes: `/t/KEY` is put, at that revision.
fn shows(events: &[(&str, u64)], is_fragment: bool) -> String {
    let events = events.iter().map(|(key, revision)| {
        let key = data_encoding::BASE64.encode(format!("/t/{key}").as_bytes());
        serde_json::json!({ "kv": { "key": key, "mod_revision": revision.to_string() } })
    });
    let events: Vec<_> = events.collect();
    // The head is ahead of what is shown.
    let result = serde_json::json!({ "header": { "revision": "99" }, "events": events, "fragment": is_fragment });
    format!("{}\n", serde_json::json!({ "result": result }))
}

fn stands_at(revision: u64) -> impl Fn(&Call) -> Result<Answer, CallError> + Send + Sync + 'static {
    move |call| match call.url.rsplit('/').next() {
        Some("authenticate") => said(412, NO_AUTH),
        Some("range") => said(200, &format!(r#"{{"header":{{"revision":"{revision}"}}}}"#)),
        _ => dead(),
    }
}

/// The keys of a batch, and of which revision it is.
async fn batch(watch: &mut dyn Watch) -> (u64, Vec<String>) {
    match watch.next().await {
        Ok(Seen::Changed(Revision(revision), changes)) => {
            let key = |change: Change| match change {
                Change::Put(entry) => entry.key,
                Change::Gone { key, .. } => key,
            };
            (revision, changes.into_iter().map(key).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_that_answers_is_asked_first_from_then_on() {
    let (port, etcd) = etcd(&clock(), &[], |call| match &*call.url {
        "http://a:1/v3/auth/authenticate" => dead(),
        "http://b:1/v3/auth/authenticate" => said(200, r#"{"token":"let-me-in"}"#),
        _ if call.fields.iter().any(|field| *field == ("authorization", "let-me-in".to_owned())) => said(200, "{}"),
        _ => dead(),
    });
    assert_eq!(etcd.get("k").await, Ok(None));
    assert_eq!(etcd.get("k").await, Ok(None));
    let asked = [
        "http://a:1/v3/auth/authenticate",
        "http://b:1/v3/auth/authenticate",
        "http://b:1/v3/kv/range",
        "http://b:1/v3/kv/range",
    ];
    assert_eq!(*port.asked.lock().unwrap(), asked);
    assert!(!format!("{etcd:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_has_asked_everybody_and_says_what_each_said() {
    let (_, etcd) = etcd(&clock(), &[], |call| match &*call.url {
        "http://a:1/v3/auth/authenticate" => said(412, NO_AUTH),
        "http://a:1/v3/kv/range" => said(503, NO_LEADER),
        _ => said(404, "Not Found\n"),
    });
    let why = etcd.get("k").await.unwrap_err().to_string();
    assert!(why.starts_with("etcd: http://a:1: no leader; http://b:1: it answers 404: is it etcd"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_fetched_once_more_and_no_more_than_once() {
    let (port, etcd) = etcd(&clock(), &[], |call| match call.url.rsplit('/').next() {
        Some("authenticate") => said(200, r#"{"token":"let-me-in"}"#),
        _ => said(401, r#"{"message":"etcdserver: invalid auth token","code":16}"#),
    });
    let why = etcd.get("k").await.unwrap_err().to_string();
    assert!(why.contains("it refuses the token that it has just given") && !why.contains("let-me-in"), "{why}");
    let asked = port.asked.lock().unwrap();
    assert_eq!(
        asked.len(),
        7,
        "a token, and the question with it, and both again; of the other, with the same first: {asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_another_made_too_perhaps_is_not_told_as_anybodys() {
    let there = r#"{"header":{"revision":"9"},"kvs":[{"key":"L3Qvaw==","mod_revision":"7"}]}"#;
    let (_, etcd) = etcd(&clock(), &[], move |call| match &*call.url {
        "http://a:1/v3/kv/txn" => dead(),
        "http://b:1/v3/kv/txn" => said(200, r#"{"header":{"revision":"9"}}"#),
        url if url.ends_with("range") => said(200, there),
        _ => said(412, NO_AUTH),
    });
    let put = etcd.put("k", b"v".to_vec(), None, OnlyIf::Unchanged(Revision(7))).await;
    let Err(Trouble::Unavailable(why)) = put else { panic!("{put:?}") };
    assert!(why.ends_with("whether the change was made is not known"), "{why}");
    // If all answered, it is a conflict.
    let (_, etcd) = self::etcd(&clock(), &[], move |call| match call.url.rsplit('/').next() {
        Some("txn") => said(200, r#"{"header":{"revision":"9"}}"#),
        Some("range") => said(200, there),
        _ => said(412, NO_AUTH),
    });
    let put = etcd.put("k", b"v".to_vec(), None, OnlyIf::Unchanged(Revision(7))).await;
    assert_eq!(put, Ok(Written::Conflict(None)));
}

#[tokio::test(start_paused = true)]
async fn revisions_are_shown_whole_however_they_come() {
    let pieces = [
        CREATED.to_owned(),
        shows(&[("old", 5), ("a", 6), ("b", 6)], true),
        shows(&[("c", 6), ("d", 7)], true),
        shows(&[("e", 7)], false),
        shows(&[("f", 8), ("g", 9), ("x~mark", 10)], false),
    ];
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let (port, etcd) = etcd(&clock(), &[&pieces], stands_at(10));
    let mut watch = etcd.watch("", Revision(5));
    let batches: [(u64, &[&str]); 4] = [(6, &["a", "b", "c"]), (7, &["d", "e"]), (8, &["f"]), (9, &["g"])];
    for (revision, keys) in batches {
        assert_eq!(batch(&mut *watch).await, (revision, keys.iter().map(|key| (*key).to_owned()).collect()));
    }
    assert_eq!(watch.next().await, Ok(Seen::Confirmed(Revision(10))), "the mark is seen, and not shown");
    assert_eq!(port.asked.lock().unwrap()[1], "http://a:1/v3/watch from 6");
}

#[tokio::test(start_paused = true)]
async fn what_was_shown_by_half_is_shown_by_the_next_member_and_once() {
    let first = [CREATED.to_owned(), shows(&[("a", 6), ("b", 7)], true), String::new()];
    let second = [CREATED.to_owned(), shows(&[("b", 7), ("c", 7)], false)];
    let [first, second] = [&first[..], &second[..]].map(|pieces| pieces.iter().map(String::as_str).collect::<Vec<_>>());
    let (port, etcd) = etcd(&clock(), &[&first, &second], stands_at(7));
    let mut watch = etcd.watch("", Revision(5));
    assert_eq!(batch(&mut *watch).await, (6, vec!["a".to_owned()]));
    assert_eq!(batch(&mut *watch).await, (7, vec!["b".to_owned(), "c".to_owned()]));
    let asked = port.asked.lock().unwrap().clone();
    let watches: Vec<_> = asked.iter().filter(|url| url.contains("watch")).collect();
    assert_eq!(watches, ["http://a:1/v3/watch from 6", "http://b:1/v3/watch from 7"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_quorum_said_too_long_ago_is_not_confirmed() {
    let clock = clock();
    let (late, answers) = (clock.clone(), Mutex::new(0));
    let (port, etcd) = etcd(&clock, &[&[CREATED]], move |call| {
        if call.url.ends_with("range") {
            let mut answers = answers.lock().unwrap();
            *answers += 1;
            // The first three take as long as that.
            if *answers <= 3 {
                late.advance(Duration::from_secs(1));
            }
            return said(200, r#"{"header":{"revision":"9"}}"#);
        }
        said(412, NO_AUTH)
    });
    let mut watch = etcd.watch("", Revision(9));
    assert_eq!(watch.next().await, Ok(Seen::Confirmed(Revision(9))));
    assert_eq!(port.asked.lock().unwrap().iter().filter(|url| url.ends_with("range")).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_went_back_is_listed_again() {
    let (_, etcd) = etcd(&clock(), &[&[CREATED]], stands_at(4));
    assert_eq!(etcd.watch("", Revision(5)).next().await, Ok(Seen::Compacted), "it has not what was shown");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_show_what_was_put_is_left() {
    let (port, etcd) = etcd(&clock(), &[&[CREATED], &[CREATED, &shows(&[("a", 6)], false)]], |call| {
        match call.url.rsplit('/').next() {
            Some("authenticate") => said(412, NO_AUTH),
            Some("range") => said(200, r#"{"header":{"revision":"6"}}"#),
            Some("put") => said(200, r#"{"header":{"revision":"7"}}"#),
            _ => dead(),
        }
    });
    let mut watch = etcd.watch("", Revision(5));
    let shown = tokio::time::timeout(Duration::from_secs(2), batch(&mut *watch)).await;
    assert_eq!(shown, Ok((6, vec!["a".to_owned()])));
    let asked = port.asked.lock().unwrap();
    assert!(asked.contains(&"http://a:1/v3/kv/put".to_owned()), "{asked:?}");
    assert!(asked.contains(&"http://b:1/v3/watch from 6".to_owned()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_without_an_end_is_given_up_and_listed_instead() {
    let endless = "x".repeat(9 * 1024 * 1024);
    let (_, etcd) = etcd(&clock(), &[&[CREATED, &endless]], stands_at(9));
    let mut watch = etcd.watch("", Revision(5));
    assert_eq!(watch.next().await, Ok(Seen::Compacted));
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_as_soon_as_they_begin_are_not_begun_without_a_pause() {
    let ends: &[&str] = &[CREATED, ""];
    let (port, etcd) = etcd(&clock(), &[ends; 100], stands_at(9));
    let mut watch = etcd.watch("", Revision(5));
    let trying = async {
        loop {
            assert!(watch.next().await.is_err());
        }
    };
    let endless: Result<(), _> = tokio::time::timeout(Duration::from_secs(5), trying).await;
    assert!(endless.is_err());
    let watches = port.asked.lock().unwrap().iter().filter(|url| url.contains("watch")).count();
    assert!((8..=20).contains(&watches), "{watches}");
}
