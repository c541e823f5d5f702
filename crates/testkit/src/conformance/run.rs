//! Holds a gateway against the cases.

use std::net::SocketAddr;

use serde_json::Value;

use super::case::{After, Case, Exchange};
use super::seen::{Seen, has};
use crate::raw_client::{RawClient, ReadError};
use crate::recorder::Recorder;
use crate::strict::{Framing, Response};

/// How the bytes of a case are cut into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Not at all.
    Whole,
    /// Into single bytes; long ones into pieces of 97.
    Small,
}

/// Whether a request is still answered on the connection afterwards.
const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

/// Runs all cases and their twins, one after the other, and gives what failed, each with its name.
///
/// The gateway must send to `backend` everything that its routes do not answer by themselves.
#[must_use]
pub fn all(cases: &[Case], gateway: SocketAddr, backend: &Recorder, cut: Cut) -> Vec<String> {
    let mut run = Run { gateway, cut, seen: Seen::new(backend, &["1.1 tollgate", "1.0 tollgate"]) };
    let mut failures = Vec::new();
    for case in cases {
        for (which, exchange) in [("", Some(&case.exchange)), (" (twin)", case.twin.as_ref())] {
            let Some(Err(what)) = exchange.map(|exchange| run.one(exchange)) else { continue };
            failures.push(format!("{}{which} [{}] {cut:?}: {what}", case.name, case.clause));
        }
    }
    failures.extend(run.seen.finish());
    failures
}

struct Run<'b> {
    gateway: SocketAddr,
    cut: Cut,
    seen: Seen<'b>,
}

impl Run<'_> {
    fn one(&mut self, exchange: &Exchange) -> Result<(), String> {
        let answered = talk(exchange, self.gateway, self.cut);
        let seen = self.seen.judge(exchange.view());
        match (answered, seen) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(what), Ok(())) | (Ok(()), Err(what)) => Err(what),
            (Err(first), Err(second)) => Err(format!("{first}; and {second}")),
        }
    }
}

fn talk(exchange: &Exchange, gateway: SocketAddr, cut: Cut) -> Result<(), String> {
    let bytes = exchange.bytes();
    let mut client = RawClient::connect(gateway).patience(crate::deadline::PATIENCE / 4);
    // A write may fail: the gateway may refuse and close before it has seen everything.
    match cut {
        Cut::Whole => client.send(&bytes),
        Cut::Small if bytes.len() <= 600 => client.send_each_byte(&bytes),
        Cut::Small => client.send_split(&bytes, &(97..bytes.len()).step_by(97).collect::<Vec<_>>()),
    };
    if exchange.half_close {
        client.half_close();
    }
    let statuses = exchange.statuses();
    for (number, expected) in statuses.iter().enumerate() {
        let (_, answer) = client
            .final_response(exchange.method(number))
            .map_err(|error| format!("answer {number}: expected {expected}, got {error:?}"))?;
        if answer.status != *expected {
            return Err(format!("answer {number}: expected {expected}, got {}: {}", answer.status, answer.text()));
        }
        judge_answer(exchange, &answer)?;
        if number + 1 == statuses.len() {
            exchange.answer.iter().try_for_each(|line| has(&answer.fields, line))?;
        }
    }
    judge_end(exchange.after(), &mut client)
}

fn judge_answer(exchange: &Exchange, answer: &Response) -> Result<(), String> {
    if answer.one("date").is_none() {
        return Err("the answer has not exactly one Date".to_owned());
    }
    // The backend always answers 200, so whatever is 400 or more is the gateway's own.
    if answer.status < 400 {
        return Ok(());
    }
    if answer.one("content-type").as_deref() != Some("application/problem+json") {
        return Err(format!("a {} that is no problem+json: {:?}", answer.status, answer.fields));
    }
    if answer.content.framing == Framing::None {
        return Ok(());
    }
    let problem: Value = serde_json::from_slice(&answer.content.body).map_err(|error| error.to_string())?;
    for member in ["type", "title", "detail", "policy", "correlation_id"] {
        if problem[member].as_str().is_none_or(str::is_empty) {
            return Err(format!("the problem has no `{member}`: {problem}"));
        }
    }
    if problem["status"] != answer.status {
        return Err(format!("the problem has another status: {problem}"));
    }
    match &exchange.problem {
        Some(slug) if !problem["type"].as_str().is_some_and(|text| text.ends_with(slug.as_str())) => {
            Err(format!("expected the problem {slug}, got {problem}"))
        }
        _ => Ok(()),
    }
}

fn judge_end(after: After, client: &mut RawClient) -> Result<(), String> {
    if after == After::Closed {
        return match client.end() {
            ReadError::Closed(bytes) if bytes.is_empty() => Ok(()),
            other => Err(format!("expected an orderly close and nothing more, got {other:?}")),
        };
    }
    client.send(PROBE);
    match client.response("GET") {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("afterwards a plain request is answered with {}", answer.status)),
        Err(error) => Err(format!("afterwards a plain request gets {error:?}")),
    }
}
