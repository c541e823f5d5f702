//! L2: instances whose requests fail are left out for a while; and no try waits for longer than it may.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::{Gate, Gateway, Recorder, Response, Script, Step, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn gateway(to: &[String], service: &str, route: &str) -> Gateway {
    let to: Vec<String> = to.iter().map(|address| format!("\"{address}\"")).collect();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n\
         services: {{ s: {{ to: [{}], {service} }} }}\nroutes: {{ /**: {{ to: s, {route} }} }}\n",
        to.join(", ")
    );
    Gateway::start(TOLLGATE, &config, &[])
}

/// A backend that answers with its name and the status that it is told.
fn answering_with(name: &'static str, status: u16) -> (Recorder, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let told = Arc::clone(&status);
    let backend = Recorder::answering(move |_| {
        let length = name.len();
        Script::reply(format!("HTTP/1.1 {} Told\r\nContent-Length: {length}\r\n\r\n{name}", told.load(SeqCst)))
    });
    (backend, status)
}

fn of(recorder: &Recorder) -> String {
    recorder.address().to_string()
}

fn get(gateway: &Gateway) -> Response {
    gateway.client().get("/a")
}

/// Who answers many requests, over connections of their own.
fn answering(gateway: &Gateway) -> BTreeSet<String> {
    (0..20).map(|_| get(gateway).text()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn standing(gateway: &Gateway, address: &str) -> String {
    let status = gateway.status();
    let instances = status["services"][0]["instances"].as_array().unwrap();
    let instance = instances.iter().find(|i| i["address"] == address).unwrap();
    instance["standing"].as_str().unwrap_or_default().to_owned()
}

/// Sends requests until the instance stands so.
fn ask_until(gateway: &Gateway, address: &str, wanted: &str) {
    wait_until(&format!("{address} is {wanted}"), || {
        get(gateway);
        standing(gateway, address) == wanted
    });
}

fn slug(response: &Response) -> String {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:tollgate:problem:").to_owned()
}

#[test]
fn an_instance_that_answers_with_errors_is_left_out_and_comes_back() {
    let ((a, status), (b, _)) = (answering_with("a", 503), answering_with("b", 200));
    let gateway = gateway(&[of(&a), of(&b)], "outlier: { consecutive: 3, eject_for: 2s }", "");
    ask_until(&gateway, &of(&a), "ejected");
    let asked = a.recorded().iter().map(|c| c.bytes.windows(4).filter(|w| w == b"GET ").count()).sum::<usize>();
    assert_eq!(asked, 3, "not before, and none more");
    assert_eq!(gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"consecutive\"}"), 1.0);
    assert_eq!(gateway.metric("tollgate_service_instances{service=\"s\",state=\"ejected\"}"), 1.0);
    status.store(200, SeqCst);
    wait_until("its time is over", || standing(&gateway, &of(&a)) == "healthy");
    assert_eq!(answering(&gateway), set(&["a", "b"]));
    gateway.await_metric("tollgate_service_instances{service=\"s\",state=\"ejected\"}", |count| count == 0.0);
    wait_until("the log tells", || gateway.log().contains("an ejected instance is used again"));
}

#[test]
fn an_instance_without_a_connection_costs_a_few_tries_and_then_none() {
    let (b, _) = answering_with("b", 200);
    let dead = format!("127.0.0.1:{}", free_port());
    let gateway = gateway(&[dead.clone(), of(&b)], "outlier: { consecutive: 2, eject_for: 10m, longest: 10m }", "");
    ask_until(&gateway, &dead, "ejected");
    let failed = "tollgate_attempts_total{service=\"s\",outcome=\"connect_failed\"}";
    gateway.await_metric(failed, |count| count == 2.0);
    assert_eq!(answering(&gateway), set(&["b"]));
    assert_eq!(gateway.metric(failed), 2.0, "it is not tried any more");
}

#[test]
fn answers_of_the_application_are_no_failures_unless_the_file_says_so() {
    let ((a, _), (b, _)) = (answering_with("a", 500), answering_with("b", 500));
    let lenient = gateway(&[of(&a), of(&b)], "outlier: { consecutive: 1 }", "");
    assert_eq!(answering(&lenient), set(&["a", "b"]));
    assert_eq!(standing(&lenient, &of(&a)), "healthy");
    let nothing = gateway(&[of(&a), of(&b)], "outlier: { consecutive: 1, status: [] }", "");
    assert_eq!(answering(&nothing), set(&["a", "b"]));
    let strict = gateway(&[of(&a), of(&b)], "outlier: { consecutive: 1, status: 500-599 }", "");
    wait_until("one of them is out", || {
        get(&strict);
        strict.metric("tollgate_ejections_total{service=\"s\",reason=\"consecutive\"}") == 1.0
    });
}

#[test]
fn each_time_lasts_twice_as_long_up_to_the_longest() {
    let ((a, _), (b, _)) = (answering_with("a", 503), answering_with("b", 200));
    let outlier = "outlier: { consecutive: 1, eject_for: 250ms, longest: 750ms, jitter: 0% }";
    let gateway = gateway(&[of(&a), of(&b)], outlier, "");
    wait_until("four times", || {
        get(&gateway);
        gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"consecutive\"}") >= 4.0
    });
    let is_it = |line: &&str| line.contains("an instance is ejected");
    wait_until("the log tells of all", || gateway.log().lines().filter(is_it).count() >= 4);
    let log = gateway.log();
    let lines = log.lines().filter(is_it);
    let times: Vec<&str> = lines.filter_map(|line| line.split("seconds=").nth(1)?.split(' ').next()).take(4).collect();
    assert_eq!(times, ["0.25", "0.5", "0.75", "0.75"], "{log}");
}

#[test]
fn no_more_are_left_out_than_the_ceiling_allows() {
    let backends: Vec<(Recorder, Arc<AtomicU16>)> = (0..4).map(|_| answering_with("x", 503)).collect();
    let to: Vec<String> = backends.iter().map(|(backend, _)| of(backend)).collect();
    let gateway = gateway(&to, "outlier: { consecutive: 1, eject_for: 10m, longest: 10m, ceiling: 74% }", "");
    // Each of the four has failed by then, and many times those that are still asked.
    for _ in 0..40 {
        assert_eq!(get(&gateway).status, 503);
    }
    assert_eq!(gateway.metric("tollgate_service_instances{service=\"s\",state=\"ejected\"}"), 2.0);
    assert_eq!(gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"consecutive\"}"), 2.0);
}

#[test]
fn the_only_instance_is_never_left_out_but_where_the_file_wants_it() {
    let (a, _) = answering_with("a", 503);
    let usual = gateway(&[of(&a)], "outlier: { consecutive: 1 }", "");
    for _ in 0..5 {
        assert_eq!(get(&usual).text(), "a");
    }
    assert_eq!(standing(&usual, &of(&a)), "healthy");
    let outlier = "outlier: { consecutive: 1, ceiling: 100%, eject_for: 10m, longest: 10m }";
    let serving = gateway(&[of(&a)], outlier, "");
    let refusing = gateway(&[of(&a)], &format!("{outlier}, when_all_fail: refuse"), "");
    for gateway in [&serving, &refusing] {
        assert_eq!(get(gateway).text(), "a");
        assert_eq!(standing(gateway, &of(&a)), "ejected");
    }
    assert_eq!(get(&serving).text(), "a");
    assert_eq!(slug(&get(&refusing)), "upstream/unhealthy");
}

#[test]
fn a_share_of_failures_is_enough_if_the_file_says_so() {
    // Every other answer fails, so that there are never two failures in a row.
    let a = Recorder::answering(|taken| match taken.number % 2 {
        0 => Script::reply("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"),
        _ => Script::ok(taken, "a"),
    });
    let (b, _) = answering_with("b", 200);
    let outlier = "outlier: { errors: 50% of 10 within 1m, eject_for: 10m, longest: 10m }";
    let gateway = gateway(&[of(&a), of(&b)], outlier, "");
    let mut client = gateway.client();
    for n in 0..30 {
        client.get("/a");
        let asked = a.recorded().iter().map(|c| c.bytes.windows(4).filter(|w| w == b"GET ").count()).sum::<usize>();
        assert_eq!(standing(&gateway, &of(&a)) == "ejected", asked >= 11, "request {n}: it was asked {asked} times");
    }
    assert!(gateway.log().contains("share of failures"));
}

/// A backend that reads requests and never answers.
fn silent() -> Recorder {
    Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]))
}

#[test]
fn a_try_that_takes_too_long_goes_to_another_instance() {
    let (silent, (b, _)) = (silent(), answering_with("b", 200));
    let gateway = gateway(&[of(&silent), of(&b)], "try_timeout: 500ms, retry: 1", "timeout: 20s");
    let mut client = gateway.client();
    for _ in 0..4 {
        assert_eq!(client.get("/a").text(), "b");
    }
    let line = gateway.access_line("of a second try", |line| line["attempts"] == 2);
    assert_eq!((line["status"].as_u64(), line["instance"].as_str()), (Some(200), Some(of(&b).as_str())));
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"timeout\"}", |count| count >= 2.0);
    silent.wait_for("the end of the tries", |all| all.iter().all(|c| c.ended.is_some()));
}

#[test]
fn tries_end_with_the_retries_or_with_the_whole_time() {
    let backend = silent();
    let few = gateway(&[of(&backend)], "retry: 2", "try_timeout: 100ms, timeout: 20s");
    let (response, took) = timed(|| get(&few));
    assert_eq!(slug(&response), "upstream/timeout");
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    let line = few.access_line("of three tries", |line| line["attempts"] == 3);
    assert!(line["cause"].as_str().unwrap().contains("within `try_timeout`"), "{line}");
    let short = gateway(&[of(&backend)], "retry: 5, try_timeout: 200ms", "timeout: 300ms");
    let (response, took) = timed(|| get(&short));
    assert_eq!(slug(&response), "upstream/timeout");
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    let _ = short.access_line("of two tries", |line| line["attempts"] == 2);
}

#[test]
fn what_may_not_be_repeated_has_one_try() {
    let (silent, (b, _)) = (silent(), answering_with("b", 200));
    let gateway = gateway(&[of(&silent), of(&b)], "try_timeout: 500ms, retry: 3", "");
    let post = "POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi";
    let mut answers: Vec<u16> = (0..2).map(|_| gateway.client().call(post).status).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 504], "one of two goes to the silent one, and is not sent again");
}

#[test]
fn a_route_may_take_the_time_of_a_try_away() {
    let slow = Recorder::answering(|taken| match taken.target.as_str() {
        "/a" => Script(vec![Step::ReadRequest, Step::Silence]),
        _ => Script::ok(taken, "ok"),
    });
    let gateway = gateway(&[of(&slow)], "try_timeout: 50ms, retry: 0", "try_timeout: none, timeout: 600ms");
    let (response, took) = timed(|| get(&gateway));
    assert_eq!(slug(&response), "upstream/timeout");
    assert!(took >= Duration::from_millis(600), "{took:?}");
}

#[test]
fn the_time_of_a_try_begins_when_the_request_is_out() {
    let gate = Gate::new();
    let arrived = gate.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "ok");
        script.0.insert(0, Step::ReadBody(1));
        script.0.insert(1, Step::Open(arrived.clone()));
        script
    });
    let silent = silent();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         services: {{ s: {{ to: \"{}\", try_timeout: 700ms, retry: 0 }} }}\n\
         routes: {{ /a: s, /wait: {{ to: \"{}\", timeout: 1s }} }}\n",
        of(&backend),
        of(&silent)
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let mut client = gateway.client();
    client.send("PUT /a HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\na");
    assert!(gate.pass());
    // The upload alone takes longer than a try may.
    assert_eq!(gateway.client().get("/wait").status, 504);
    client.send("bc");
    assert_eq!(client.response("PUT").unwrap().text(), "ok");
}

#[test]
fn an_instance_that_does_worse_than_the_others_is_left_out() {
    let (a, _) = answering_with("a", 500);
    let others: Vec<(Recorder, Arc<AtomicU16>)> = (0..3).map(|_| answering_with("b", 200)).collect();
    let to: Vec<String> = [of(&a)].into_iter().chain(others.iter().map(|(backend, _)| of(backend))).collect();
    let rate = "success_rate: { deviations: 1.5, instances: 4, of: 5, within: 1s }";
    let gateway = gateway(&to, &format!("outlier: {{ consecutive: 0, status: 5xx, eject_for: 5m, {rate} }}"), "");
    ask_until(&gateway, &of(&a), "ejected");
    assert_eq!(gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"success_rate\"}"), 1.0);
    assert_eq!(answering(&gateway), set(&["b"]));
    assert!(gateway.log().contains("because=\"success rate\""), "{}", gateway.log());
}

#[test]
fn an_instance_that_is_slower_than_the_others_is_left_out() {
    let slow = Recorder::answering(|taken| {
        #[expect(clippy::disallowed_methods, reason = "a backend that takes its time")]
        std::thread::sleep(Duration::from_millis(80));
        Script::ok(taken, "slow")
    });
    let ((a, _), (b, _)) = (answering_with("b", 200), answering_with("b", 200));
    let latency = "latency: { factor: 3, least: 40ms, instances: 3, of: 3, within: 1s }";
    let outlier = format!("outlier: {{ consecutive: 0, eject_for: 5m, {latency} }}");
    let gateway = gateway(&[of(&slow), of(&a), of(&b)], &outlier, "");
    ask_until(&gateway, &of(&slow), "ejected");
    assert_eq!(gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"latency\"}"), 1.0);
    assert_eq!(answering(&gateway), set(&["b"]));
}
