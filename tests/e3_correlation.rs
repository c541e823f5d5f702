//! E3: the id that follows a request, the trace it belongs to, and whose word about the client is believed.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use tollgate_testkit::{Gateway, Recorder, Request, Response, free_port, strict};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const ID: &str = "X-Correlation-ID";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

struct Bench {
    backend: Recorder,
    gateway: Gateway,
}

impl Bench {
    /// A gateway with these sections, in front of a backend; nobody listens behind `/dead`.
    fn new(sections: &str) -> Self {
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n{sections}\n\
             routes: {{ /**: \"{{{{backend}}}}\", /dead: \"{{{{dead}}}}\", /own: {{ reply: 204 }} }}\n"
        );
        let backend = Recorder::start();
        let dead = format!("127.0.0.1:{}", free_port());
        let values = [("backend", backend.address().to_string()), ("dead", dead)];
        let gateway = Gateway::start(TOLLGATE, &config, &values);
        Self { backend, gateway }
    }

    /// Asks with these fields (each with its line end).
    fn ask(&self, target: &str, fields: &str) -> Response {
        self.gateway.client().call(&format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n"))
    }

    /// The same, with what the backend saw of it.
    fn seen(&self, fields: &str) -> (Response, Request) {
        let response = self.ask("/a", fields);
        let recorded = self.backend.take();
        let bytes: Vec<u8> = recorded.into_iter().flat_map(|c| c.bytes).collect();
        let (mut requests, rest) = strict::requests(&bytes).unwrap();
        assert!(requests.len() == 1 && rest.is_empty());
        (response, requests.remove(0))
    }
}

/// Whether this is an id as the gateway makes them.
fn is_made(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && id.bytes().any(|b| b != b'0')
}

/// The parts of a `traceparent`.
fn trace(request: &Request) -> Vec<String> {
    request.one("traceparent").expect("one traceparent").split('-').map(str::to_owned).collect()
}

#[test]
fn a_request_without_an_id_gets_one_that_is_everywhere_the_same() {
    let bench = Bench::new("");
    let (response, request) = bench.seen("");
    let id = response.one(ID).unwrap();
    assert!(is_made(&id), "{id}");
    assert_eq!(request.one(ID).as_deref(), Some(id.as_str()));
    let line = bench.gateway.access_line("with the id", |line| line["id"] == *id);
    assert_eq!((line["path"].as_str(), line["status"].as_u64()), (Some("/a"), Some(200)));
    assert_eq!(line["trace"].as_str(), Some(trace(&request)[1].as_str()));
    let (other, _) = bench.seen("");
    assert_ne!(other.one(ID).unwrap(), id);
}

#[test]
fn an_id_is_passed_on_as_it_came() {
    let bench = Bench::new("");
    for id in ["order-17", "A.b_c~d+e/f=g:h@i", "1", &"x".repeat(128)] {
        let (response, request) = bench.seen(&format!("x-correlation-id: {id}\r\n"));
        assert_eq!((response.one(ID).as_deref(), request.one(ID).as_deref()), (Some(id), Some(id)));
    }
    let _ = bench.gateway.access_line("with the client's id", |line| line["id"] == "order-17");
}

#[test]
fn a_malformed_id_is_replaced() {
    let bench = Bench::new("");
    for id in ["a b", "a\"b", "<script>", "a\tb", "a,b", "caf\u{e9}", "", &"x".repeat(129)] {
        let (response, request) = bench.seen(&format!("{ID}: {id}\r\n"));
        let made = response.one(ID).unwrap();
        assert!(is_made(&made), "{id:?} became {made:?}");
        assert_eq!(request.one(ID).as_deref(), Some(made.as_str()));
    }
}

#[test]
fn two_ids_in_one_request_are_sent_on_as_one() {
    let bench = Bench::new("");
    let (response, request) = bench.seen(&format!("{ID}: one\r\n{ID}: two\r\n"));
    assert_eq!(request.one(ID), response.one(ID));
    assert!(request.one(ID).is_some());
}

#[test]
fn the_gateways_own_answers_carry_the_id_too() {
    let bench = Bench::new("");
    let own = bench.ask("/own", &format!("{ID}: mine\r\n"));
    assert_eq!((own.status, own.one(ID).as_deref()), (204, Some("mine")));
    let problem = bench.ask("/dead", &format!("{ID}: mine-2\r\n"));
    assert_eq!((problem.status, problem.one(ID).as_deref()), (502, Some("mine-2")));
    assert_eq!(problem.json()["correlation_id"], "mine-2");
    let line = bench.gateway.access_line("of the problem", |line| line["id"] == "mine-2");
    assert_eq!(line["problem"], "upstream/connect-failed");
    let refused = bench.gateway.client().call("GET /a HTTP/1.1\r\n\r\n");
    let id = refused.one(ID).unwrap();
    assert_eq!((refused.status, refused.json()["correlation_id"].as_str()), (400, Some(id.as_str())));
}

#[test]
fn an_answer_carries_the_id_once_whatever_the_backend_says() {
    let backend = Recorder::answering(|_| {
        tollgate_testkit::Script::reply(format!(
            "HTTP/1.1 200 OK\r\n{ID}: other\r\nX-Trace-No: other\r\nContent-Length: 0\r\n\r\n"
        ))
    });
    for (name, sections) in [(ID, ""), ("X-Trace-No", "correlation: { header: X-Trace-No }")] {
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n{sections}\nroutes: {{ /**: \"{{{{backend}}}}\" }}\n"
        );
        let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
        let answer = gateway.client().call(&format!("GET /a HTTP/1.1\r\nHost: g\r\n{name}: mine\r\n\r\n"));
        assert_eq!(answer.all(name), ["mine"]);
    }
}

#[test]
fn nobodys_id_is_taken_over_if_the_file_says_never() {
    let bench = Bench::new("correlation: { accept: never }");
    let sent = format!("{ID}: mine\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let (response, request) = bench.seen(&sent);
    assert!(is_made(&response.one(ID).unwrap()));
    assert_eq!(request.all(ID), response.all(ID));
    assert_ne!(trace(&request)[1], TRACE);
}

#[test]
fn only_trusted_proxies_name_the_id_if_the_file_says_so() {
    let sent = format!("{ID}: mine\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let near = Bench::new("correlation: { accept: trusted }\ntrust: { proxies: 127.0.0.1 }");
    let (response, request) = near.seen(&sent);
    assert_eq!((response.one(ID).as_deref(), trace(&request)[1].as_str()), (Some("mine"), TRACE));
    let far = Bench::new("correlation: { accept: trusted }\ntrust: { proxies: 192.0.2.0/24 }");
    let (response, request) = far.seen(&sent);
    assert!(is_made(&response.one(ID).unwrap()));
    assert_ne!(trace(&request)[1], TRACE);
}

#[test]
fn the_answer_goes_without_the_id_if_the_file_says_so() {
    let bench = Bench::new("correlation: { echo: false }");
    let (response, request) = bench.seen(&format!("{ID}: mine\r\n"));
    assert!(response.all(ID).is_empty());
    assert_eq!(request.one(ID).as_deref(), Some("mine"));
    assert!(bench.ask("/own", "").all(ID).is_empty());
}

#[test]
fn the_id_may_have_a_header_of_its_own() {
    let bench = Bench::new("correlation: { header: X-Request-ID }");
    let (response, request) = bench.seen("x-request-id: mine\r\nX-Correlation-ID: other\r\n");
    assert_eq!(response.all("X-Request-ID"), ["mine"]);
    assert_eq!(request.all("X-Request-ID"), ["mine"]);
    assert_eq!((response.all(ID), request.all(ID)), (vec![], vec!["other".to_owned()]), "just another field now");
    let (response, request) = bench.seen("X-Request-ID: a b\r\n");
    assert!(is_made(&response.one("x-request-id").unwrap()));
    assert_eq!(request.all("x-request-id"), response.all("x-request-id"), "the malformed one is not sent on");
}

#[test]
fn a_trace_goes_on_with_a_span_of_the_gateways_own() {
    let bench = Bench::new("");
    let (response, request) = bench.seen(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=b\r\n"));
    let parts = trace(&request);
    assert_eq!((parts[0].as_str(), parts[1].as_str(), parts[3].as_str()), ("00", TRACE, "01"));
    assert!(parts[2] != SPAN && parts[2].len() == 16 && parts[2] != "0".repeat(16), "{parts:?}");
    assert_eq!(request.one("tracestate").as_deref(), Some("a=b"));
    assert_eq!(response.one(ID).as_deref(), Some(TRACE), "without an id of its own, a request goes by its trace");
    let (_, next) = bench.seen(&format!("traceparent: 00-{TRACE}-{SPAN}-00\r\n"));
    assert_eq!((trace(&next)[3].as_str(), trace(&next)[2] == parts[2]), ("00", false));
}

#[test]
fn a_malformed_trace_is_replaced() {
    let bench = Bench::new("");
    for sent in [
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-01-x"),
        "x".to_owned(),
        String::new(),
    ] {
        let (_, request) = bench.seen(&format!("traceparent: {sent}\r\ntracestate: a=b\r\n"));
        let parts = trace(&request);
        assert!(is_made(&parts[1]) && parts[1] != TRACE, "{sent}: {parts:?}");
        // W3C Trace Context §3.3: without a valid parent its state means nothing.
        assert!(request.all("tracestate").is_empty(), "{sent}");
    }
}

#[test]
fn what_a_client_says_of_itself_is_dropped() {
    let bench = Bench::new("");
    let (_, request) = bench.seen(
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
         X-Forwarded-Port: 1\r\nX-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7;proto=https\r\nVia: 1.1 evil\r\n\
         X-Forwarded-Prefix: /admin\r\nX-Forwarded-Ssl: on\r\n",
    );
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["shop.test"]);
    assert_eq!(request.all("x-forwarded-prefix"), [""; 0]);
    assert_eq!(request.all("x-forwarded-ssl"), [""; 0]);
    assert_eq!(request.all("forwarded"), ["for=127.0.0.1;host=shop.test;proto=http"]);
    assert!(request.all("x-real-ip").is_empty() && request.all("x-forwarded-port").is_empty());
    assert_eq!(request.one("host").as_deref(), Some("shop.test"));
    let _ = bench.gateway.access_line("of the peer", |line| line["client"] == "127.0.0.1");
}

#[test]
fn what_a_trusted_proxy_says_is_believed_and_added_to() {
    let bench = Bench::new("trust: { proxies: [127.0.0.0/8, 10.0.0.0/8] }");
    let (_, request) = bench.seen(
        "X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: public.test\r\nVia: 1.1 front\r\n",
    );
    assert_eq!(request.all("x-forwarded-for"), ["198.51.100.1, 203.0.113.7, 10.0.0.9, 127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.all("x-forwarded-host"), ["public.test"]);
    assert_eq!(request.all("via"), ["1.1 front, 1.1 tollgate"]);
    // From the right, the first that is no proxy of ours; what stands left of it may be made up.
    let _ = bench.gateway.access_line("of the client", |line| line["client"] == "203.0.113.7");
    // The other field says the same.
    let own = "for=127.0.0.1;host=shop.test;proto=https";
    assert_eq!(request.all("forwarded"), [format!("for=203.0.113.7;host=public.test;proto=https, {own}")]);
}

#[test]
fn forwarded_is_believed_where_the_proxies_write_it() {
    let bench = Bench::new("trust: { proxies: 127.0.0.1, headers: forwarded }");
    let sent = "Forwarded: for=192.0.2.60;proto=https;by=203.0.113.43\r\n\
                Forwarded: for=\"[2001:db8::17]:4711\";host=public.test;proto=https\r\n";
    let (_, request) = bench.seen(sent);
    let own = "for=127.0.0.1;host=shop.test;proto=https";
    let said = "for=192.0.2.60;proto=https;by=203.0.113.43, for=\"[2001:db8::17]:4711\";host=public.test;proto=https";
    assert_eq!(request.all("forwarded"), [format!("{said}, {own}")]);
    let _ = bench.gateway.access_line("of the client", |line| line["client"] == "2001:db8::17");
    assert_eq!(request.all("x-forwarded-for"), ["2001:db8::17, 127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.all("x-forwarded-host"), ["public.test"]);
}

#[test]
fn the_scheme_is_that_of_the_element_that_names_the_client() {
    let bench = Bench::new("trust: { proxies: [127.0.0.1, 10.0.0.0/8], headers: forwarded }");
    for (sent, scheme) in [
        ("for=203.0.113.7;proto=https, for=10.0.0.9;proto=http", "https"),
        ("for=203.0.113.7, for=10.0.0.9;proto=https", "https"),
        ("for=unknown;proto=https, for=10.0.0.9;proto=http", "https"),
        // What stands left of the client may be the client's.
        ("for=10.0.0.1;proto=https, for=203.0.113.7;proto=http", "http"),
        ("for=203.0.113.7;proto=gopher", "http"),
    ] {
        let (_, request) = bench.seen(&format!("Forwarded: {sent}\r\n"));
        assert_eq!(request.all("x-forwarded-proto"), [scheme], "{sent}");
    }
}

/// nginx, HAProxy's `option forwardfor` and the balancers of clouds write one family of fields and pass the other as their
/// client sent it.
#[test]
fn what_a_trusted_proxy_does_not_write_is_its_clients_and_dropped() {
    let x_forwarded = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: public.test\r\n";
    let spoofed = "Forwarded: for=10.9.9.9;host=admin.test;proto=https\r\nX-Real-IP: 10.9.9.9\r\nX-Forwarded-Port: 443\r\n\
                   X-Forwarded-Prefix: /admin\r\nX_Forwarded_For: 10.9.9.9\r\n";
    let (front, others) = ("for=203.0.113.7;host=public.test;proto=http", ["x-real-ip", "x-forwarded-port"]);
    let own = "for=127.0.0.1;host=shop.test;proto=http";
    let bench = Bench::new("trust: { proxies: 127.0.0.1 }");
    let (_, request) = bench.seen(&format!("{x_forwarded}{spoofed}"));
    assert_eq!(request.all("forwarded"), [format!("{front}, {own}")]);
    assert_eq!(request.all("x-forwarded-for"), ["203.0.113.7, 127.0.0.1"]);
    assert_eq!((request.all("x-forwarded-proto"), request.all("x-forwarded-host")), one("http", "public.test"));
    let _ = bench.gateway.access_line("of the client", |line| line["client"] == "203.0.113.7");
    let gone = others.into_iter().chain(["x-forwarded-prefix", "x_forwarded_for"]);
    assert!(gone.clone().all(|name| request.all(name).is_empty()));

    let bench = Bench::new("trust: { proxies: 127.0.0.1, headers: forwarded }");
    let spoofed = "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: admin.test\r\n\
                   X-Real-IP: 10.9.9.9\r\nX-Forwarded-Prefix: /admin\r\nX_Forwarded_For: 10.9.9.9\r\n";
    let (_, request) = bench.seen(&format!("Forwarded: {front}\r\n{spoofed}"));
    assert_eq!(request.all("forwarded"), [format!("{front}, {own}")]);
    assert_eq!(request.all("x-forwarded-for"), ["203.0.113.7, 127.0.0.1"]);
    assert_eq!((request.all("x-forwarded-proto"), request.all("x-forwarded-host")), one("http", "public.test"));
    let _ = bench.gateway.access_line("of the client", |line| line["client"] == "203.0.113.7");
    assert!(gone.clone().all(|name| request.all(name).is_empty()));
}

fn one(proto: &str, host: &str) -> (Vec<String>, Vec<String>) {
    (vec![proto.to_owned()], vec![host.to_owned()])
}

/// Programs that know fields as variables (CGI, WSGI, Rack, PHP) read `X_Forwarded_For` as `X-Forwarded-For`.
#[test]
fn an_underscore_makes_no_field_of_the_gateways_own() {
    let bench = Bench::new("correlation: { header: X-Request-ID }");
    let disguised = [
        "X_Forwarded_For",
        "X-Forwarded_Proto",
        "x_real_ip",
        "Content_Length",
        "TRANSFER_ENCODING",
        "Host_",
        "X_Request_Id",
        "x-request_id",
        "User_Agent",
        "X_Forwarded_Prefix",
    ];
    let sent: String = disguised.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let (_, request) = bench.seen(&format!("{sent}My_Own: kept\r\n"));
    let kept = ["Host_"];
    for name in disguised {
        assert_eq!(request.all(name).is_empty(), !kept.contains(&name), "{name}");
    }
    assert_eq!(request.one("my_own").as_deref(), Some("kept"));
    assert_eq!(request.all("x-request-id").len(), 1);
}

#[test]
fn conditions_see_the_client_and_not_the_proxy() {
    let routes = r#"
listen: { "{{http}}": http, "{{health}}": health }
trust: { proxies: 127.0.0.1 }
routes: { /a: { when: 'ip_in("203.0.113.0/24") && request.scheme == "https"', reply: 204 } }
"#;
    let gateway = Gateway::start(TOLLGATE, routes, &[]);
    let from = |fields: &str| gateway.client().call(&format!("GET /a HTTP/1.1\r\nHost: g\r\n{fields}\r\n")).status;
    assert_eq!(from("X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n"), 204);
    assert_eq!(from("X-Forwarded-For: 203.0.113.7\r\n"), 404);
    assert_eq!(from("X-Forwarded-For: 203.0.113.7, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"), 404);
}
