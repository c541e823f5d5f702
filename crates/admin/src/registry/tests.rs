//! The API over a directory in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

mod outages;
mod shelf;

use std::future::poll_fn;

use tokio::runtime::Builder;
use tollgate_core::body::BodyStream;
use tollgate_core::serde_json::{self, Value};
use tollgate_testkit::bench::exchange;

use tollgate_core::body::Body;
use tollgate_registry::directory::Change;

use self::shelf::Shelf;
use super::asked::Known;
use super::shown::Text;
use super::*;
use crate::Token;

const ORDERS: &str = "orders-orders-orders-orders";
const ALL: &str = "lookup-lookup-lookup-lookup";
const CONFIG: &str = "
listen: 8080
registry:
  register:
    orders: { token: orders-orders-orders-orders }
    bil*: { token: billing-billing-billing }
  read:
    '*': { token: lookup-lookup-lookup-lookup }
  watchers: 2
routes: { /a: { reply: 204 } }
";

/// Begins to end once it is told to.
#[derive(Debug, Default)]
struct End(tokio::sync::Notify);

impl Ending for End {
    fn begun(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.notified())
    }
}

/// The API, with time that passes by itself when all wait.
struct Bench {
    registry: Arc<Registry>,
    guard: Arc<Guard>,
    shelf: Arc<Shelf>,
    end: Arc<End>,
    admin: String,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

fn config(text: &str) -> tollgate_config::model::Registry {
    tollgate_config::load_text("test", text, &|_| None, &[]).unwrap().config.registry.unwrap()
}

struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Value,
    stream: Option<Box<dyn BodyStream>>,
}

impl Bench {
    fn new() -> Self {
        let config = config(CONFIG);
        let folder = tempfile::tempdir().unwrap();
        let token = Token::load_or_make(folder.path()).unwrap();
        let (shelf, end, admin) = (Arc::<Shelf>::default(), Arc::<End>::default(), token.authorization());
        let registry = Registry {
            directory: Arc::clone(&shelf) as _,
            access: Access::new(&config),
            ttl: config.ttl.value.0,
            clock: Clock::real(),
            ending: Arc::clone(&end) as _,
        };
        let guard =
            Arc::new(Guard::new(token, vec![tollgate_config::model::HostPattern::Exact("bench.example".into())]));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        Self { registry: Arc::new(registry), guard, shelf, end, admin, runtime, folder }
    }

    fn answers(&self, ask: Ask) -> Answers {
        Answers { ask, registry: Arc::clone(&self.registry), guard: Arc::clone(&self.guard) }
    }

    /// What is answered to this.
    fn ask(&self, ask: Ask, target: &str, fields: &[(&str, &str)], said: &str) -> Answer {
        let method = match ask {
            Ask::Services | Ask::Instances | Ask::Get => "GET",
            Ask::Register => "PUT",
            Ask::Deregister => "DELETE",
            _ => "POST",
        };
        let mut x = exchange(method, &format!("/v1/registry/{target}"), fields);
        x.content = Some(said.to_owned().into());
        let answers = self.answers(ask);
        self.runtime.block_on(async {
            match answers.call(&mut x).await {
                Ok(reply) => Answer::of(reply).await,
                Err(problem) => {
                    let members = problem.members.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
                    let mut body: serde_json::Map<String, Value> = members.collect();
                    body.insert("slug".into(), problem.fault.slug.into());
                    body.insert("detail".into(), problem.detail.as_ref().into());
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    let fields = problem.headers.iter().map(|(name, value)| ((*name).to_owned(), text(value)));
                    Answer { status: problem.fault.status, fields: fields.collect(), body: body.into(), stream: None }
                }
            }
        })
    }

    /// The same as whoever may do all.
    fn admin(&self, ask: Ask, target: &str, said: &str) -> Answer {
        self.ask(ask, target, &[("Authorization", &self.admin)], said)
    }

    fn register(&self, id: &str) {
        let answer = self.admin(
            Ask::Register,
            &format!("services/orders/instances/{id}"),
            r#"{ "address": "10.0.0.1", "port": 81 }"#,
        );
        assert!(answer.status < 300, "{}", answer.body);
    }

    /// The next piece of a stream.
    fn next(&self, answer: &mut Answer) -> Option<String> {
        let stream = answer.stream.as_mut().unwrap();
        let piece = self.runtime.block_on(poll_fn(|cx| stream.poll_next(cx)));
        piece.map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap())
    }
}

impl Answer {
    async fn of(reply: Reply) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = reply.head.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
        let (mut body, mut stream) = (Value::Null, None);
        match reply.body {
            Body::Full(bytes) => body = serde_json::from_slice(&bytes).unwrap(),
            Body::Stream(_, mut pieces) if reply.head.fields.text("content-type") == Some("application/json") => {
                let mut all = Vec::new();
                while let Some(piece) = poll_fn(|cx| pieces.poll_next(cx)).await {
                    all.extend_from_slice(&piece.unwrap());
                }
                body = serde_json::from_slice(&all).unwrap();
            }
            Body::Stream(_, pieces) => stream = Some(pieces),
            Body::Empty | Body::Wire(_) => {}
        }
        Self { status: reply.head.status, fields, body, stream }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

const ONE: &str = "services/orders/instances/a";

#[test]
fn an_instance_registers_is_changed_renewed_drained_and_taken_away() {
    let bench = Bench::new();
    let said = r#"{ "address": "10.0.0.1", "port": 81, "ttl": "10s", "zone": "z1", "tags": ["canary"], "load": { "cpu": 0.25 } }"#;
    let new = bench.admin(Ask::Register, ONE, said);
    assert_eq!((new.status, &new.body["expires"]), (201, &"2030-03-17T17:46:50.000Z".into()));
    assert_eq!((&new.body["renew_every"], &new.body["revision"]), (&"3333ms".into(), &1.into()));
    assert_eq!((&new.body["load"]["cpu_utilization"], new.field("Tollgate-Revision")), (&0.25.into(), Some("1")));
    let again = bench.admin(Ask::Register, ONE, said);
    assert_eq!((again.status, &again.body["address"]), (200, &"10.0.0.1".into()));
    let renewed =
        bench.admin(Ask::Renew, &format!("{ONE}/renew"), r#"{ "load": { "named_metrics": { "queue": 2 } } }"#);
    assert_eq!((renewed.status, &renewed.body["load"]), (200, &json!({ "named_metrics": { "queue": 2.0 } })));
    assert_eq!(bench.admin(Ask::Renew, &format!("{ONE}/renew"), "").status, 200);
    assert_eq!(bench.admin(Ask::Drain, &format!("{ONE}/drain"), "").body["draining"], true);
    assert_eq!(
        bench.admin(Ask::Services, "services", "").body["services"][0],
        json!({ "name": "orders", "instances": 1, "draining": 1 })
    );
    assert_eq!(bench.admin(Ask::Undrain, &format!("{ONE}/undrain"), "").body["draining"], false);
    assert_eq!(bench.admin(Ask::Get, ONE, "").body["zone"], "z1");
    for _ in 0..2 {
        assert_eq!(bench.admin(Ask::Deregister, ONE, "").status, 204, "also if it is gone");
    }
    for (ask, verb) in [(Ask::Get, ""), (Ask::Renew, "/renew"), (Ask::Drain, "/drain"), (Ask::Undrain, "/undrain")] {
        let gone = bench.admin(ask, &format!("{ONE}{verb}"), "");
        assert_eq!((gone.status, &gone.body["slug"]), (404, &"registry/not-found".into()), "{verb}");
        assert_eq!(gone.body["detail"], "`a` of `orders` is not registered");
    }
}

#[test]
fn without_an_address_it_is_where_it_asks_from() {
    let bench = Bench::new();
    let registered = bench.admin(Ask::Register, "services/orders/instances/%5B::1%5D:81", r#"{ "port": 81 }"#);
    assert_eq!((registered.status, &registered.body["id"]), (201, &"[::1]:81".into()));
    assert!(registered.body["address"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok());
    assert_eq!(registered.body["ttl"], "30s");
}

#[test]
fn what_is_wrong_is_told_all_at_once() {
    let bench = Bench::new();
    let wrong = bench.admin(Ask::Register, "services/or%20ders/instances/a", r#"{ "port": 0, "ttl": 5, "colour": 1 }"#);
    assert_eq!((wrong.status, &wrong.body["slug"]), (422, &"registry/invalid".into()));
    let places: Vec<_> =
        wrong.body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(places, ["/colour", "", "/port", "/ttl"]);
    for (ask, said, slug) in [
        (Ask::Register, "", "registry/malformed"),
        (Ask::Register, "{", "registry/malformed"),
        (Ask::Register, "[]", "registry/invalid"),
        (Ask::Renew, "{", "registry/malformed"),
        (Ask::Renew, r#"{ "port": 1 }"#, "registry/invalid"),
    ] {
        assert_eq!(bench.admin(ask, ONE, said).body["slug"], slug, "{said}");
    }
    for query in ["x=1", "after=x&watch", "wait=61s&watch", "wait=1&watch", "after=1"] {
        let wrong = bench.admin(Ask::Instances, &format!("services/orders/instances?{query}"), "");
        assert_eq!((wrong.status, &wrong.body["slug"]), (400, &"registry/malformed".into()), "{query}");
    }
    assert_eq!(bench.admin(Ask::Get, &format!("{ONE}?watch"), "").status, 400);
}

#[test]
fn conditions_hold_or_nothing_is_changed() {
    let bench = Bench::new();
    let with = |ask, name: &str, value: &str| {
        let said = if ask == Ask::Register { r#"{ "port": 82 }"# } else { "" };
        bench.ask(ask, ONE, &[("Authorization", &bench.admin), (name, value)], said).status
    };
    assert_eq!(with(Ask::Register, "If-Match", "*"), 412);
    assert_eq!(with(Ask::Deregister, "If-Match", "*"), 412);
    assert_eq!(with(Ask::Register, "If-None-Match", "*"), 201);
    assert_eq!(with(Ask::Register, "If-None-Match", "*"), 412);
    assert_eq!(with(Ask::Register, "If-Match", "\"1\""), 412, "there are no strong validators");
    assert_eq!(with(Ask::Register, "If-Match", "*"), 200);
    assert_eq!(with(Ask::Deregister, "If-Match", "*"), 204);
}

#[test]
fn a_full_registry_says_so() {
    let bench = Bench::new();
    ["a", "b", "c"].into_iter().for_each(|id| bench.register(id));
    let full = bench.admin(Ask::Register, "services/orders/instances/d", r#"{ "port": 81 }"#);
    assert_eq!((full.status, &full.body["slug"]), (507, &"registry/full".into()));
    bench.register("a");
}

#[test]
fn whoever_may_register_a_service_may_do_no_more() {
    let bench = Bench::new();
    let as_of = |token: &str, ask, target: &str| {
        let fields = [("Authorization", format!("Bearer {token}"))];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        bench.ask(ask, target, &fields, r#"{ "port": 81 }"#)
    };
    assert_eq!(as_of(ORDERS, Ask::Register, ONE).status, 201);
    assert_eq!(as_of("billing-billing-billing", Ask::Register, "services/billing-2/instances/b").status, 201);
    let other = as_of(ORDERS, Ask::Register, "services/billing/instances/a");
    assert_eq!((other.status, &other.body["slug"]), (403, &"registry/forbidden".into()));
    assert!(other.body["detail"].as_str().unwrap().contains("may not register instances of `billing`"));
    for ask in [Ask::Register, Ask::Renew, Ask::Drain, Ask::Undrain, Ask::Deregister] {
        assert_eq!(as_of(ALL, ask, ONE).status, 403, "{ask:?}");
    }
    // Each sees what is theirs.
    let services = |token| as_of(token, Ask::Services, "services").body["services"].as_array().unwrap().len();
    let instances = |token| as_of(token, Ask::Instances, "instances").body["instances"].as_array().unwrap().len();
    assert_eq!([services(ORDERS), services("billing-billing-billing"), services(ALL)], [1, 1, 2]);
    assert_eq!([instances(ORDERS), instances(ALL)], [1, 2]);
    assert_eq!(as_of(ORDERS, Ask::Get, ONE).status, 200);
    assert_eq!(as_of(ORDERS, Ask::Get, "services/billing-2/instances/b").status, 403);
}

#[test]
fn strangers_are_told_so() {
    let bench = Bench::new();
    let nobody = bench.ask(Ask::Register, ONE, &[], r#"{ "port": 81 }"#);
    assert_eq!((nobody.status, nobody.field("WWW-Authenticate")), (401, Some("Bearer realm=\"tollgate\"")));
    for wrong in ["Bearer wrong", "Basic YTpi", "Bearer orders-orders-orders-order"] {
        let refused = bench.ask(Ask::Register, ONE, &[("Authorization", wrong)], "nonsense");
        assert_eq!((refused.status, &refused.body["slug"]), (401, &"registry/unauthorized".into()), "{wrong}");
        assert!(refused.field("WWW-Authenticate").unwrap().contains("invalid_token"));
    }
    let page =
        bench.ask(Ask::Services, "services", &[("Authorization", &bench.admin), ("Origin", "http://evil.example")], "");
    assert_eq!((page.status, &page.body["slug"]), (403, &"admin/foreign-origin".into()));
}

#[test]
fn a_list_is_of_those_that_are_wanted_and_known_by_its_revision() {
    let bench = Bench::new();
    let put = |id: &str, said: &str| bench.admin(Ask::Register, &format!("services/orders/instances/{id}"), said);
    put("a", r#"{ "port": 1, "tags": ["x", "y"], "version": "v1", "zone": "z" }"#);
    put("b", r#"{ "port": 1, "tags": ["x"], "version": "v2" }"#);
    let ids = |query: &str| {
        let list = bench.admin(Ask::Instances, &format!("services/orders/instances{query}"), "");
        list.body["instances"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect::<String>()
    };
    assert_eq!(
        [ids(""), ids("?tag=x"), ids("?tag=x&tag=y"), ids("?version=v2"), ids("?zone=z"), ids("?zone=q")],
        ["ab", "ab", "a", "b", "a", ""]
    );
    let list = bench.admin(Ask::Instances, "services/orders/instances", "");
    assert_eq!(
        (list.field("ETag"), &list.body["revision"], &list.body["age_ms"]),
        (Some("W/\"2\""), &2.into(), &7.into())
    );
    let had = [("Authorization", bench.admin.as_str()), ("If-None-Match", "W/\"2\"")];
    assert_eq!(bench.ask(Ask::Instances, "services/orders/instances", &had, "").status, 304);
    put("a", r#"{ "port": 1 }"#);
    assert_eq!(bench.ask(Ask::Instances, "services/orders/instances", &had, "").status, 200);
}

#[test]
fn changes_are_waited_for() {
    let bench = Bench::new();
    let poll = |query: &str| bench.admin(Ask::Instances, &format!("services/orders/instances?watch&{query}"), "");
    let all = poll("wait=1s");
    assert_eq!((all.status, &all.body["instances"]), (200, &json!([])), "without a revision, all at once");
    let nothing = poll("after=0&wait=60s");
    assert_eq!((nothing.status, nothing.field("Tollgate-Revision")), (204, Some("0")));
    bench.register("a");
    bench.admin(Ask::Register, "services/billing/instances/b", r#"{ "port": 81 }"#);
    let come = poll("after=0");
    assert_eq!(
        (come.status, &come.body["revision"], come.body["changes"].as_array().unwrap().len()),
        (200, &2.into(), 1)
    );
    assert_eq!(
        (&come.body["changes"][0]["change"], &come.body["changes"][0]["instance"]["id"]),
        (&"put".into(), &"a".into())
    );
    bench.admin(Ask::Deregister, ONE, "");
    let gone = poll("after=2");
    assert_eq!(gone.body["changes"], json!([{ "change": "gone", "revision": 3, "service": "orders", "id": "a" }]));
    let ahead = poll("after=99&wait=1s");
    assert_eq!((ahead.status, &ahead.body["slug"]), (410, &"registry/compacted".into()), "of another registry");
    bench.shelf.forget();
    let lost = poll("after=1");
    assert_eq!(
        (lost.status, &lost.body["slug"], &lost.body["revision"]),
        (410, &"registry/compacted".into(), &3.into())
    );
    bench.end.0.notify_one();
    assert_eq!(poll("after=3&wait=60s").status, 204, "the gateway ends");
}

/// Whoever filters knows only those that it asked for: one that changes out of them is gone.
#[test]
fn what_does_not_count_any_more_is_gone() {
    let bench = Bench::new();
    let put = |tags: &str| bench.admin(Ask::Register, ONE, &format!(r#"{{ "port": 1, "tags": [{tags}] }}"#));
    put("\"x\"");
    put("");
    let poll = bench.admin(Ask::Instances, "services/orders/instances?watch&after=1&tag=x", "");
    assert_eq!(poll.body["changes"], json!([{ "change": "gone", "revision": 2, "service": "orders", "id": "a" }]));
}

fn events(bench: &Bench, fields: &[(&str, &str)], query: &str) -> Answer {
    let mut all = vec![("Authorization", bench.admin.as_str()), ("Accept", "text/event-stream;q=0.9, */*;q=0.1")];
    all.extend_from_slice(fields);
    bench.ask(Ask::Instances, &format!("services/orders/instances{query}"), &all, "")
}

#[test]
fn changes_are_told_as_events() {
    let bench = Bench::new();
    bench.register("a");
    let mut stream = events(&bench, &[], "");
    assert_eq!((stream.status, stream.field("Content-Type")), (200, Some("text/event-stream")));
    let first = bench.next(&mut stream).unwrap();
    assert!(first.starts_with("retry: 1000\n\nevent: snapshot\nid: 1\ndata: {\"revision\":1,"), "{first}");
    let data: Vec<_> = first.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let snapshot: Value = serde_json::from_str(&data.join("\n")).unwrap();
    assert_eq!(snapshot["instances"][0]["id"], "a");
    assert!(first.ends_with("\n\n"));
    bench.register("b");
    bench.admin(Ask::Deregister, ONE, "");
    let next = bench.next(&mut stream).unwrap();
    assert!(next.starts_with("event: put\nid: 2\ndata: {\"change\":\"put\""), "{next}");
    assert!(
        next.contains(
            "\n\nevent: gone\nid: 3\ndata: {\"change\":\"gone\",\"revision\":3,\"service\":\"orders\",\"id\":\"a\"}"
        ),
        "{next}"
    );
    assert_eq!(bench.next(&mut stream).unwrap(), ":\n\n", "nothing changes, and the connection lives");
    bench.end.0.notify_one();
    assert_eq!(bench.next(&mut stream), None);
}

#[test]
fn whoever_comes_back_is_told_what_it_missed() {
    let bench = Bench::new();
    ["a", "b"].into_iter().for_each(|id| bench.register(id));
    let mut again = events(&bench, &[("Last-Event-ID", "1")], "?after=0");
    assert_eq!(bench.next(&mut again).unwrap(), "retry: 1000\n\n");
    let missed = bench.next(&mut again).unwrap();
    assert!(missed.starts_with("event: put\nid: 2\n") && missed.matches("event:").count() == 1, "{missed}");
    drop(again);
    bench.shelf.forget();
    let mut lost = events(&bench, &[("Last-Event-ID", "1")], "");
    assert_eq!(bench.next(&mut lost).unwrap(), "retry: 1000\n\n");
    assert!(
        bench.next(&mut lost).unwrap().starts_with("event: snapshot\nid: 2\n"),
        "all anew, since it cannot be told"
    );
}

#[test]
fn only_so_many_wait() {
    let bench = Bench::new();
    let (one, _other) = (events(&bench, &[], ""), events(&bench, &[], ""));
    for refused in [events(&bench, &[], ""), bench.admin(Ask::Instances, "services/orders/instances?watch&after=0", "")]
    {
        assert_eq!((refused.status, &refused.body["slug"]), (503, &"registry/too-many-watchers".into()));
        assert_eq!(refused.field("Retry-After"), Some("1"));
    }
    assert_eq!(bench.admin(Ask::Instances, "services/orders/instances", "").status, 200, "lists do not wait");
    drop(one);
    assert_eq!(events(&bench, &[], "").status, 200);
}

/// Changes of one revision belong together: who is cut off among them must be told all of them again.
#[test]
fn only_the_last_event_of_a_revision_names_it() {
    let bench = Bench::new();
    let gone = |id: &str, revision| Change::Gone { service: "orders".into(), id: id.into(), revision };
    let asker = Arc::new(Asker::admin(&exchange("GET", "/", &[]), [0; 32]));
    let subject = Subject { registry: Arc::clone(&bench.registry), service: None, filter: Arc::default(), asker };
    let told = subject
        .changes(vec![gone("a", 7), gone("b", 7), gone("c", 8)], Known { revision: 6, lapsed: 0, sees: 0 })
        .next()
        .unwrap();
    let told = String::from_utf8(told.to_vec()).unwrap();
    let ids: Vec<_> = told.split("\n\n").map(|event| event.contains("\nid: ")).collect();
    assert_eq!(ids, [false, true, true, false]);
}

#[test]
fn a_long_list_comes_in_pieces() {
    let bench = Bench::new();
    bench.register("a");
    let one = bench.shelf.list(None).instances[0].clone();
    let mut text = Text::list("\"revision\":1", vec![one; 1000], "");
    let mut pieces = Vec::new();
    while let Some(piece) = text.next() {
        assert!(piece.len() <= 64 * 1024);
        pieces.push(piece);
    }
    assert!(pieces.len() > 5);
    let all: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    assert_eq!(all["instances"].as_array().unwrap().len(), 1000);
}
