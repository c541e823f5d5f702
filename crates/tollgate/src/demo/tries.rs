//! What is worth trying in the demo: printed as curl lines, sent by `demo --try`.

use std::net::SocketAddr;

use tollgate_core::head::Method;

use crate::cli::{Failure, Output, failure};
use crate::http;

/// One request.
#[derive(Debug)]
pub(crate) struct Try {
    /// What it shows.
    pub(crate) about: &'static str,
    /// As a line for a shell.
    pub(crate) command: &'static str,
    port: u16,
    target: &'static str,
    times: usize,
    expected: u16,
    /// Fields of the answer worth showing.
    shown: &'static [&'static str],
    /// Lines of the body to show, those with this word only; everything: an empty word.
    with: &'static str,
}

/// All of them.
pub(crate) static ALL: [Try; 6] = [
    Try {
        about: "two instances, in turn",
        command: "curl http://127.0.0.1:8080/orders/1 http://127.0.0.1:8080/orders/2",
        port: 8080,
        target: "/orders/1",
        times: 2,
        expected: 200,
        shown: &[],
        with: "",
    },
    Try {
        about: "a parameter, a rewritten path, a response header",
        command: "curl -i http://127.0.0.1:8080/stock/teapot",
        port: 8080,
        target: "/stock/teapot",
        times: 1,
        expected: 200,
        shown: &["x-served-by", "x-correlation-id"],
        with: "",
    },
    Try {
        about: "a redirect",
        command: "curl -i http://127.0.0.1:8080/shop/17",
        port: 8080,
        target: "/shop/17",
        times: 1,
        expected: 308,
        shown: &["location"],
        with: "",
    },
    Try {
        about: "no route: 404 as problem+json; the correlation id is in the access log too",
        command: "curl -i http://127.0.0.1:8080/nowhere",
        port: 8080,
        target: "/nowhere",
        times: 1,
        expected: 404,
        shown: &["content-type"],
        with: "",
    },
    Try {
        about: "a service that is not there: 502 as problem+json",
        command: "curl -i http://127.0.0.1:8080/broken",
        port: 8080,
        target: "/broken",
        times: 1,
        expected: 502,
        shown: &["content-type"],
        with: "",
    },
    Try {
        about: "metrics",
        command: "curl -s http://127.0.0.1:9900/metrics | grep 'requests_total.*2xx'",
        port: 9900,
        target: "/metrics",
        times: 1,
        expected: 200,
        shown: &[],
        with: "2xx",
    },
];

/// Sends all of them and shows the answers; a status other than the expected one is a failure.
pub(crate) fn run(output: &Output) -> Result<(), Failure> {
    for attempt in &ALL {
        output.print(&format!("# {}\n$ {}\n", attempt.about, attempt.command))?;
        for _ in 0..attempt.times {
            let address = SocketAddr::from(([127, 0, 0, 1], attempt.port));
            let head = format!("GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n", attempt.target);
            let answer = http::request(address, Method::Get, &head, &[])
                .map_err(|e| failure(format!("no answer to `{}`: {e}", attempt.command)))?;
            output.print(&shown(attempt, &answer))?;
            if answer.status != attempt.expected {
                return Err(failure(format!("expected {}, got {}", attempt.expected, answer.status)));
            }
        }
        output.print("\n")?;
    }
    Ok(())
}

fn shown(attempt: &Try, answer: &http::Answer) -> String {
    let mut text = format!("{} {}\n", answer.status, tollgate_http1::write::reason(answer.status));
    for (name, value) in &answer.fields {
        if attempt.shown.iter().any(|shown| name.eq_ignore_ascii_case(shown)) {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    let body = String::from_utf8_lossy(&answer.body);
    for line in body.lines().filter(|line| line.contains(attempt.with)) {
        text.push_str(line);
        text.push('\n');
    }
    text
}
