//! L2: a second attempt beside a slow first one, and what it never does.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::array::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::recorder::{Ended, Taken};
use tollgate_testkit::{Gate, Gateway, Recorder, Response, Script, Step};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// As if for ever: every test would fail by time.
const LONG: Duration = Duration::from_secs(8);

/// A gateway on one worker: in turn, the first request goes to the first instance.
fn gateway(to: &[&Recorder], service: &str, route: &str) -> Gateway {
    let to: Vec<String> = to.iter().map(|recorder| format!("\"{}\"", recorder.address())).collect();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n\
         services: {{ s: {{ to: [{}], {service} }} }}\nroutes: {{ /**: {{ to: s, {route} }} }}\n",
        to.join(", ")
    );
    Gateway::start(TOLLGATE, &config, &[])
}

fn silent() -> Recorder {
    Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]))
}

fn well() -> Recorder {
    Recorder::answering(|taken| Script::ok(taken, "well"))
}

fn answering(status: u16) -> Recorder {
    Recorder::answering(move |_| Script::reply(format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n")))
}

fn count(recorder: &Recorder) -> usize {
    recorder.recorded().iter().map(|c| c.bytes.windows(6).filter(|w| *w == b" /a HT").count()).sum()
}

/// Asks until both instances were asked first.
fn both_ways(gateway: &Gateway, method: &str) -> Vec<Response> {
    let ask = || gateway.client().call(&format!("{method} /a HTTP/1.1\r\nHost: g\r\n\r\n"));
    (0..2).map(|_| ask()).collect()
}

fn hedges(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("tollgate_hedges_total{{service=\"s\",result=\"{result}\"}}"))
}

#[test]
fn another_instance_answers_for_a_slow_one_which_is_given_up() {
    for method in ["GET", "OPTIONS"] {
        let (slow, quick) = (silent(), well());
        let gateway = gateway(&[&slow, &quick], "", "hedge: 250ms");
        let (answers, took) = timed(|| both_ways(&gateway, method));
        assert!(answers.iter().all(|answer| answer.text() == "well"), "{answers:?}");
        assert!(took < LONG, "{took:?}");
        assert_eq!((count(&slow), count(&quick)), (1, 2), "the quick one needs no second attempt");
        slow.wait_for("the end", |all| all.iter().all(|c| matches!(c.ended, Some(Ended::Closed | Ended::Reset))));
        assert_eq!(hedges(&gateway, "won"), 1.0);
        let line = gateway.access_line("of two attempts", |line| line["attempts"] == 2);
        assert_eq!(
            (line["status"].as_u64(), line["instance"].as_str()),
            (Some(200), Some(quick.address().to_string().as_str()))
        );
        gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"cancelled\"}", |count| count == 1.0);
        gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"ok\"}", |count| count == 2.0);
    }
}

#[test]
fn what_has_a_body_or_changes_something_is_sent_once() {
    let (slow, quick) = (silent(), well());
    let gateway = gateway(&[&slow, &quick], "retry: 0", "hedge: 20ms, timeout: 400ms");
    for (method, rest) in [("POST", "\r\n"), ("DELETE", "\r\n"), ("GET", "Content-Length: 2\r\n\r\nhi")] {
        let request = format!("{method} /a HTTP/1.1\r\nHost: g\r\n{rest}");
        let mut answers: Vec<u16> = (0..2).map(|_| gateway.client().call(&request).status).collect();
        answers.sort_unstable();
        assert_eq!(answers, [200, 504], "{method}");
    }
    assert_eq!((count(&slow), count(&quick)), (3, 3));
}

#[test]
fn a_bad_answer_waits_for_a_better_one_and_is_better_than_none() {
    let (slow, bad) = (silent(), answering(503));
    let gate_way = gateway(&[&slow, &bad], "retry: 0", "hedge: 50ms, timeout: 600ms");
    let (answers, took) = timed(|| both_ways(&gate_way, "GET"));
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    assert!(took >= Duration::from_millis(600), "for as long as there was time the other one might have answered");
    let (late, later) = bad_and_then_good();
    let gate_way = gateway(&[&late, &later], "retry: 0", "hedge: 50ms, timeout: 5s");
    assert!(both_ways(&gate_way, "GET").iter().all(|answer| answer.text() == "good"));
}

#[test]
fn a_bad_answer_is_held_against_its_instance_though_another_ones_is_used() {
    let (late, later) = bad_and_then_good();
    let own = "retry: 0, outlier: { consecutive: 1, status: 500 }";
    let gateway = gateway(&[&late, &later], own, "hedge: 50ms, timeout: 5s");
    assert_eq!(gateway.client().get("/a").text(), "good");
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"ok\"}", |count| count == 2.0);
    gateway.await_metric("tollgate_service_instances{service=\"s\",state=\"ejected\"}", |count| count == 1.0);
}

/// Two instances of which, of up to two requests that both get, the first one answers badly, but not before the second is asked; and then
/// the second one well.
fn bad_and_then_good() -> (Recorder, Recorder) {
    let (asked, answered): ([Gate; 2], [Gate; 2]) = (from_fn(|_| Gate::new()), from_fn(|_| Gate::new()));
    let (both_asked, bad_answered) = (asked.clone(), answered.clone());
    let late = Recorder::answering(move |taken: &Taken| {
        let bad = b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n".to_vec();
        let (wait, open) = (both_asked[taken.number].clone(), bad_answered[taken.number].clone());
        Script(vec![Step::ReadRequest, Step::Wait(wait), Step::Send(bad), Step::Open(open)])
    });
    let later = Recorder::answering(move |taken: &Taken| {
        let mut script = Script::ok(taken, "good");
        script.0.insert(1, Step::Open(asked[taken.number].clone()));
        script.0.insert(2, Step::Wait(answered[taken.number].clone()));
        script
    });
    (late, later)
}

#[test]
fn an_attempt_that_breaks_leaves_it_to_the_other() {
    let broken = Recorder::answering(|_| {
        #[expect(clippy::disallowed_methods, reason = "a backend that takes its time")]
        std::thread::sleep(Duration::from_millis(200));
        Script(vec![Step::ReadRequest, Step::Reset])
    });
    let good = Recorder::answering(|taken| {
        #[expect(clippy::disallowed_methods, reason = "a backend that takes its time")]
        std::thread::sleep(Duration::from_millis(400));
        Script::ok(taken, "good")
    });
    let gateway = gateway(&[&broken, &good], "retry: 0, outlier: { consecutive: 9 }", "hedge: 50ms, timeout: 5s");
    assert!(both_ways(&gateway, "GET").iter().all(|answer| answer.text() == "good"));
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"reset\"}", |count| count == 2.0);
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"ok\"}", |count| count == 2.0);
}

#[test]
fn the_retry_budget_and_a_single_instance_forbid_it() {
    let (slow, quick) = (silent(), well());
    let spent = gateway(&[&slow, &quick], "retry: { retries: 1, budget: 0%, min: 0 }", "hedge: 20ms, timeout: 400ms");
    let mut answers: Vec<u16> = both_ways(&spent, "GET").iter().map(|answer| answer.status).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 504]);
    assert_eq!((hedges(&spent, "denied"), hedges(&spent, "won")), (1.0, 0.0));
    let alone = silent();
    let gateway = gateway(&[&alone], "retry: 0", "hedge: 20ms, timeout: 300ms");
    assert_eq!(gateway.client().get("/a").status, 504);
    assert_eq!(count(&alone), 1);
}

#[test]
fn both_silent_is_a_timeout_and_each_is_counted_once() {
    let (one, two) = (silent(), silent());
    let gateway = gateway(&[&one, &two], "retry: 0", "hedge: 50ms, timeout: 400ms");
    assert_eq!(gateway.client().get("/a").status, 504);
    assert_eq!((count(&one), count(&two)), (1, 1));
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"timeout\"}", |count| count == 2.0);
    assert_eq!(hedges(&gateway, "lost"), 1.0);
}

#[test]
fn early_hints_of_either_reach_the_client() {
    let hints = |own: &Gate, other: &Gate| {
        let (own, other) = (own.clone(), other.clone());
        Recorder::answering(move |_| {
            let mut script = Script::reply(
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            );
            // Once both are asked.
            script.0.insert(1, Step::Open(own.clone()));
            script.0.insert(2, Step::Wait(other.clone()));
            script
        })
    };
    let gates = [Gate::new(), Gate::new()];
    let (one, two) = (hints(&gates[0], &gates[1]), hints(&gates[1], &gates[0]));
    let gateway = gateway(&[&one, &two], "", "hedge: 50ms");
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    let first = client.response("GET").unwrap();
    assert_eq!((first.status, first.one("Link").unwrap().as_str()), (103, "</a.css>"));
    assert_eq!(client.response("GET").unwrap().text(), "ok");
}

#[test]
fn an_interim_answer_wins_no_race_and_is_told_only_of_the_answer_that_is_used() {
    const HINTS: [&str; 2] =
        ["HTTP/1.1 103 Early Hints\r\nLink: </never.css>\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n"];
    let slow = Recorder::answering(|_| Script::reply(HINTS.concat()).then(Step::Silence));
    let quick = Recorder::answering(|_| {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell";
        Script::reply(format!("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n{answer}"))
    });
    let gateway = gateway(&[&slow, &quick], "", "hedge: 250ms");
    for _ in 0..2 {
        let mut client = gateway.client();
        client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
        let hint = client.response("GET").unwrap();
        assert_eq!((hint.status, hint.one("Link").unwrap().as_str()), (103, "</a.css>"));
        assert_eq!(client.response("GET").unwrap().text(), "well");
    }
    assert_eq!((count(&slow), count(&quick)), (1, 2));
}

#[test]
fn interim_answers_without_end_are_no_good_faith() {
    let endless =
        Recorder::answering(|_| Script::reply("HTTP/1.1 102 Processing\r\n\r\n".repeat(20)).then(Step::Silence));
    let gateway = gateway(&[&endless], "retry: 0", "hedge: 50ms");
    assert_eq!(gateway.client().get("/a").status, 502);
}

#[test]
fn a_percentile_is_learned_before_anything_is_sent_twice() {
    let is_slow = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_slow);
    let one = Recorder::answering(move |taken| match told.load(SeqCst) {
        true => Script(vec![Step::ReadRequest, Step::Silence]),
        false => Script::ok(taken, "slow"),
    });
    let two = well();
    let gateway = gateway(&[&one, &two], "", "hedge: { after: p95 }");
    let mut client = gateway.client();
    (0..100).for_each(|_| assert_eq!(client.get("/a").status, 200));
    assert_eq!(count(&one) + count(&two), 100, "nothing was known yet");
    is_slow.store(true, SeqCst);
    (0..6).for_each(|_| assert_eq!(client.get("/a").text(), "well", "the slow one is not waited for"));
    assert!(hedges(&gateway, "won") >= 2.0);
}
