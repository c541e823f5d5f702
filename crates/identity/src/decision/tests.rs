use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::Semaphore;
use tollgate_core::facts::{Conn, Route};
use tollgate_core::policy::BoxFuture;

use super::*;

/// Answers with this, and counts how often it was asked.
#[derive(Debug)]
struct Engine {
    says: Mutex<Result<(u16, String), &'static str>>,
    asked: AtomicUsize,
    last: Mutex<Option<Call>>,
    gate: Semaphore,
}

#[derive(Debug)]
struct Port(Arc<Engine>);

impl Caller for Port {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        let engine = Arc::clone(&self.0);
        Box::pin(async move {
            let _open = engine.gate.acquire().await.unwrap();
            engine.asked.fetch_add(1, Ordering::AcqRel);
            *engine.last.lock().unwrap() = Some(call);
            let (status, body) = engine.says.lock().unwrap().clone().map_err(|why| CallError(why.to_owned()))?;
            Ok(Answer { status, body: body.into_bytes(), ..Answer::default() })
        })
    }
}

fn settings() -> Settings {
    Settings {
        url: "http://127.0.0.1:8181/v1/data/shop/allow".to_owned(),
        token: Some("shown".to_owned()),
        told: Told::default(),
        timeout: Duration::from_secs(1),
        cache: Duration::from_secs(10),
        remember: 100,
        at_once: 2,
    }
}

fn engine() -> Arc<Engine> {
    let says = Mutex::new(Ok((200, r#"{"result":true}"#.to_owned())));
    Arc::new(Engine { says, asked: AtomicUsize::new(0), last: Mutex::default(), gate: Semaphore::new(1000) })
}

fn opa(settings: Settings, engine: &Arc<Engine>, clock: &Clock) -> Opa {
    let opa = Opa::new("opa", settings, clock.clone());
    opa.start(&(Arc::new(Port(Arc::clone(engine))) as Arc<dyn Caller>), &Handle::current());
    opa
}

fn clock() -> Clock {
    Clock::fake(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

/// A request for this path and query.
fn request(path: &str, query: &str, fields: &[(&'static str, &'static str)]) -> Exchange {
    use tollgate_core::buffer::Buffer;
    use tollgate_core::head::Part;
    let address = ([127, 0, 0, 1], 1).into();
    let mut x =
        Exchange::new(Arc::new(Conn::new(address, address, 0)), Arc::new(Route::new("shop", "/r")), clock().now());
    let text = format!("GET{path}{query}Shop.example");
    x.head.fields.buffer = Buffer::holding(text.as_bytes());
    let (method, path_end) = (3, 3 + path.len());
    let query_end = path_end + query.len();
    x.head.method_part = Part { start: 0, end: method };
    x.head.normal_path = Some(path.as_bytes().to_vec());
    x.head.query = (!query.is_empty()).then_some(Part { start: u16_of(path_end), end: u16_of(query_end) });
    x.head.host = Part { start: u16_of(query_end), end: u16_of(text.len()) };
    fields.iter().for_each(|(name, value)| x.head.fields.add(*name, *value));
    let claims = json!({ "sub": "alice", "org": { "unit": "sales", "level": 3 }, "roles": ["user"] });
    let serde_json::Value::Object(claims) = claims else { panic!() };
    x.principal = Some(Arc::new(crate::principal(&"idp".into(), &claims, None)));
    x
}

async fn outcome(opa: &Opa, x: &Exchange) -> Result<(), &'static str> {
    let decided = match opa.decide(x) {
        Deciding::Known(decided) => decided,
        Deciding::Asking(asking) => asking.await,
    };
    decided.map_err(|problem| problem.fault.slug)
}

#[tokio::test]
async fn a_decision_in_the_store_is_not_asked_for_again() {
    let (engine, clock) = (engine(), clock());
    let store: Arc<dyn CacheStore> = Arc::new(crate::marks::Marks::new(9));
    let make = |settings| {
        let opa = opa(settings, &engine, &clock);
        opa.keep_in(&store);
        opa
    };
    let count = || engine.asked.load(Ordering::Acquire);
    let before = make(settings());
    assert_eq!(outcome(&before, &request("/a", "", &[])).await, Ok(()));
    *engine.says.lock().unwrap() = Ok((200, r#"{"result":false}"#.to_owned()));
    assert_eq!(outcome(&before, &request("/b", "", &[])).await, Err("decision/denied"));
    let after = make(settings());
    assert_eq!(outcome(&after, &request("/a", "", &[])).await, Ok(()));
    assert_eq!(outcome(&after, &request("/b", "", &[])).await, Err("decision/denied"));
    assert_eq!(count(), 2);
    for other in [
        Settings { url: "http://127.0.0.1:8181/v1/data/shop/deny".to_owned(), ..settings() },
        Settings { token: None, ..settings() },
        Settings { cache: Duration::ZERO, ..settings() },
        Settings { remember: 0, ..settings() },
    ] {
        assert_eq!(outcome(&make(other), &request("/a", "", &[])).await, Err("decision/denied"), "asked anew");
    }
    assert_eq!(count(), 6);
    clock.advance(Duration::from_secs(10));
    assert_eq!((outcome(&after, &request("/a", "", &[])).await, count()), (Err("decision/denied"), 7));
}

#[tokio::test]
async fn only_what_the_document_says_is_allowed() {
    let (engine, clock) = (engine(), clock());
    let opa = opa(Settings { remember: 0, ..settings() }, &engine, &clock);
    for (says, is) in [
        (r#"{"result":true}"#, Ok(())),
        (r#"{"result":true,"decision_id":"x"}"#, Ok(())),
        (r#"{"result":{"allow":true,"x":1}}"#, Ok(())),
        (r#"{"result":false}"#, Err("decision/denied")),
        (r#"{"result":{"allow":false,"reason":"not yours"}}"#, Err("decision/denied")),
        (r#"{"result":{}}"#, Err("decision/denied")),
        (r#"{}"#, Err("decision/denied")),
        (r#"{"result":"true"}"#, Err("decision/unavailable")),
        (r#"{"result":1}"#, Err("decision/unavailable")),
        (r#"{"result":null}"#, Err("decision/unavailable")),
        (r#"{"result":{"allow":"yes"}}"#, Err("decision/unavailable")),
        (r#"{"result":true,"result":false}"#, Err("decision/unavailable")),
        (r#"[true]"#, Err("decision/unavailable")),
        ("true", Err("decision/unavailable")),
        ("", Err("decision/unavailable")),
    ] {
        *engine.says.lock().unwrap() = Ok((200, says.to_owned()));
        assert_eq!(outcome(&opa, &request("/a", "", &[])).await, is, "{says}");
    }
    for status in [201, 204, 301, 400, 401, 404, 500, 503] {
        *engine.says.lock().unwrap() = Ok((status, r#"{"result":true}"#.to_owned()));
        assert_eq!(outcome(&opa, &request("/a", "", &[])).await, Err("decision/unavailable"), "{status}");
    }
    *engine.says.lock().unwrap() = Err("refused");
    assert_eq!(outcome(&opa, &request("/a", "", &[])).await, Err("decision/unavailable"));
    assert!(matches!(opa.standing(), Standing::Stale { error, .. } if error == "refused"));
    *engine.says.lock().unwrap() = Ok((200, "{}".to_owned()));
    assert_eq!(outcome(&opa, &request("/a", "", &[])).await, Err("decision/denied"));
    assert_eq!(opa.standing(), Standing::Good);
    let nobody = Opa::new("opa", settings(), clock);
    assert_eq!(outcome(&nobody, &request("/a", "", &[])).await, Err("decision/unavailable"), "before it is started");
}

#[tokio::test]
async fn an_answer_holds_for_its_time_and_for_its_question_alone() {
    let (engine, clock) = (engine(), clock());
    let opa = opa(settings(), &engine, &clock);
    let asked = || engine.asked.load(Ordering::Acquire);
    for _ in 0..3 {
        assert_eq!(outcome(&opa, &request("/a", "", &[])).await, Ok(()));
    }
    assert_eq!(asked(), 1);
    *engine.says.lock().unwrap() = Ok((200, r#"{"result":false}"#.to_owned()));
    assert_eq!(outcome(&opa, &request("/b", "", &[])).await, Err("decision/denied"));
    assert_eq!(outcome(&opa, &request("/b", "", &[])).await, Err("decision/denied"));
    assert_eq!((outcome(&opa, &request("/a", "", &[])).await, asked()), (Ok(()), 2));
    clock.advance(Duration::from_secs(10));
    assert_eq!((outcome(&opa, &request("/a", "", &[])).await, asked()), (Err("decision/denied"), 3));
    // What nobody decided is asked again.
    *engine.says.lock().unwrap() = Err("refused");
    for more in 1..3 {
        assert_eq!(outcome(&opa, &request("/c", "", &[])).await, Err("decision/unavailable"));
        assert_eq!(asked(), 3 + more);
    }
}

#[tokio::test]
async fn one_question_is_asked_for_all_who_have_it_and_so_many_at_a_time() {
    let engine = Arc::new(Engine {
        gate: Semaphore::new(0),
        says: Mutex::new(Ok((200, "{}".to_owned()))),
        ..Arc::into_inner(engine()).unwrap()
    });
    let opa = opa(settings(), &engine, &clock());
    let [first, again, other] = ["/a", "/a", "/b"].map(|path| opa.decide(&request(path, "", &[])));
    assert_eq!(outcome(&opa, &request("/c", "", &[])).await, Err("decision/crowded"));
    engine.gate.add_permits(9);
    for deciding in [first, again, other] {
        let Deciding::Asking(asking) = deciding else { panic!("nothing is known") };
        assert_eq!(asking.await.unwrap_err().fault.slug, "decision/denied");
    }
    assert_eq!(engine.asked.load(Ordering::Acquire), 2);
}

#[tokio::test]
async fn it_is_told_what_the_file_says_and_no_credential() {
    let engine = engine();
    let told = Told {
        headers: vec!["x-tenant".to_owned(), "x-none".to_owned()],
        query: true,
        claims: Some(vec![
            vec!["org".to_owned(), "unit".to_owned()],
            vec!["none".to_owned()],
            vec!["roles".to_owned()],
        ]),
    };
    let opa = opa(Settings { told, ..settings() }, &engine, &clock());
    let fields = [("Authorization", "Bearer canary"), ("Cookie", "s=canary"), ("X-Tenant", "acme"), ("X-Tenant", "b")];
    outcome(&opa, &request("/orders/a%2Fb%20c/", "a=1&access_token=canary&a=%202", &fields)).await.unwrap();
    let call = engine.last.lock().unwrap().take().unwrap();
    assert_eq!((call.method, &*call.url), ("POST", "http://127.0.0.1:8181/v1/data/shop/allow"));
    assert!(call.fields.contains(&("Authorization", "Bearer shown".to_owned())));
    let input: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    let expected = json!({ "input": {
        "request": {
            "method": "GET", "scheme": "http", "host": "shop.example", "path": "/orders/a%2Fb%20c/", "segments": ["orders", "a/b c", ""],
            "headers": { "x-tenant": ["acme", "b"] }, "query": { "a": ["1", " 2"] },
        },
        "route": { "name": "/r", "api": "shop" },
        "client": { "address": "127.0.0.1" },
        "caller": {
            "source": "idp", "subject": "alice", "consumer": null, "scopes": [],
            "claims": { "org": { "unit": "sales" }, "roles": ["user"] },
        },
    } });
    assert_eq!(input, expected);
    assert!(!String::from_utf8_lossy(&call.body).contains("canary"));
}

fn u16_of(n: usize) -> u16 {
    u16::try_from(n).unwrap()
}
