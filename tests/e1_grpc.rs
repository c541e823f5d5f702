//! E1: gRPC end to end, with grpcio on both sides of the gateway.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod python;

use tollgate_testkit::Gateway;

use python::{Service, run};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

const CONFIG: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
workers: 2
services:
  echo: { to: "{{echo}}", protocol: http2 }
  down: { to: "127.0.0.1:1", protocol: http2 }
routes:
  /t.Echo/**: echo
  /t.Down/**: down
  /t.Short/**: { to: echo, timeout: 300ms, rewrite: "/t.Echo/Slow" }
  /t.Closed/**: { reply: 403 no }
  /t.Needs/**: { to: echo, require: { headers: [X-Team] } }
"#;

fn gateway(echo: &Service) -> Gateway {
    Gateway::start(TOLLGATE, CONFIG, &[("echo", echo.address.clone())])
}

/// The client tries these, one after the other.
fn calls(what: &[&str]) -> Gateway {
    let echo = Service::start("grpc_service.py", &[]);
    let gateway = gateway(&echo);
    let address = gateway.address().to_string();
    run("grpc_client.py", &[&[address.as_str()], what].concat(), &gateway);
    gateway
}

#[test]
fn unary_calls_keep_messages_metadata_and_trailers() {
    calls(&["unary"]);
}

#[test]
fn a_thousand_messages_stream_down_up_and_both_ways_at_once() {
    calls(&["down", "up", "both"]);
}

#[test]
fn a_status_of_the_service_reaches_the_caller() {
    calls(&["fail"]);
}

#[test]
fn the_callers_deadline_ends_the_call_and_the_service_is_told_what_is_left() {
    calls(&["deadline"]);
}

#[test]
fn a_call_that_is_cancelled_leaves_the_connection_to_others() {
    calls(&["cancel", "unary"]);
}

#[test]
fn a_hundred_calls_share_a_connection() {
    let gateway = calls(&["many"]);
    let connects = gateway.metric("tollgate_service_connects_total{service=\"echo\"}");
    assert!((1.0..=2.0).contains(&connects), "{connects} connections, where each worker needs one");
}

#[test]
fn the_gateways_own_answers_have_a_status_of_grpc() {
    calls(&["gateway"]);
}

/// A gateway whose service says this of retries.
fn retrying(echo: &Service, retry: &str) -> Gateway {
    let config = CONFIG.replace("protocol: http2 }\n  down", &format!("protocol: http2, {retry} }}\n  down"));
    assert_ne!(config, CONFIG);
    Gateway::start(TOLLGATE, &config, &[("echo", echo.address.clone())])
}

#[test]
fn a_call_that_ends_unavailable_without_a_message_is_tried_again_if_the_file_says_so() {
    let echo = Service::start("grpc_service.py", &[]);
    let on = "retry: { retries: 2, on: [connect, unavailable], backoff: 1ms }";
    let gateway = retrying(&echo, on);
    run("grpc_client.py", &[&gateway.address().to_string(), "unavailable"], &gateway);
    gateway.await_metric("tollgate_retries_total{service=\"echo\"}", |count| count == 4.0);
    let spent = retrying(&echo, "retry: { retries: 2, on: unavailable, budget: 0%, min: 0 }");
    run("grpc_client.py", &[&spent.address().to_string(), "as_it_is"], &spent);
}

#[test]
fn a_call_that_ends_unavailable_is_else_the_callers_concern() {
    let echo = Service::start("grpc_service.py", &[]);
    let gateway = retrying(&echo, "retry: 2");
    run("grpc_client.py", &[&gateway.address().to_string(), "as_it_is"], &gateway);
}

#[test]
fn a_callers_own_deadline_says_nothing_of_the_instance() {
    let echo = Service::start("grpc_service.py", &[]);
    let strict = CONFIG.replace(
        "protocol: http2 }\n  down",
        "protocol: http2, outlier: { consecutive: 2, ceiling: 100% }, when_all_fail: refuse }\n  down",
    );
    assert_ne!(strict, CONFIG);
    let gateway = Gateway::start(TOLLGATE, &strict, &[("echo", echo.address.clone())]);
    let address = gateway.address().to_string();
    run("grpc_client.py", &[&address, "deadline", "deadline", "deadline", "unary"], &gateway);
    assert_eq!(gateway.metric("tollgate_ejections_total{service=\"echo\",reason=\"consecutive\"}"), 0.0);
}
