//! Holds a gateway against the cases.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::case::{After, Case, Exchange, Expected, View, Word};
use crate::raw_client::{RawClient, ReadError};
use crate::recorder::{Recorded, Recorder, shown};
use crate::strict::{self, Field, Framing, Parsed, Request, Response};

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

/// Where requests go that are to be given up half-way. What arrives of them arrives when it likes, so it is set apart.
const CUT: &[u8] = b"POST /cut ";

/// Runs all cases and their twins, one after the other, and gives what failed, each with its name.
///
/// The gateway must send to `backend` everything that its routes do not answer by themselves.
#[must_use]
pub fn all(cases: &[Case], gateway: SocketAddr, backend: &Recorder, cut: Cut) -> Vec<String> {
    let mut run = Run { gateway, backend, cut, given_up: BTreeMap::new() };
    let mut failures = Vec::new();
    for case in cases {
        for (which, exchange) in [("", Some(&case.exchange)), (" (twin)", case.twin.as_ref())] {
            let Some(Err(what)) = exchange.map(|exchange| run.one(exchange)) else { continue };
            failures.push(format!("{}{which} [{}] {cut:?}: {what}", case.name, case.clause));
        }
    }
    failures.extend(run.finish());
    failures
}

struct Run<'b> {
    gateway: SocketAddr,
    backend: &'b Recorder,
    cut: Cut,
    /// By connection: what came of a request that was begun and must never be finished.
    given_up: BTreeMap<usize, Vec<u8>>,
}

impl Run<'_> {
    fn one(&mut self, exchange: &Exchange) -> Result<(), String> {
        let answered = talk(exchange, self.gateway, self.cut);
        let seen = self.judge_backend(exchange.view());
        match (answered, seen) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(what), Ok(())) | (Ok(()), Err(what)) => Err(what),
            (Err(first), Err(second)) => Err(format!("{first}; and {second}")),
        }
    }

    fn judge_backend(&mut self, view: &View) -> Result<(), String> {
        let recorded = self.backend.take();
        let mut seen = Vec::new();
        for connection in &recorded {
            if let Some(begun) = self.given_up.get_mut(&connection.number) {
                begun.extend_from_slice(&connection.bytes);
                continue;
            }
            let (requests, rest) = strict::requests(&connection.bytes)
                .map_err(|broken| format!("the backend got what breaks the grammar: {broken}: {}", shown(&recorded)))?;
            seen.extend(requests);
            if rest.starts_with(CUT) || !rest.is_empty() && CUT.starts_with(rest) {
                self.given_up.insert(connection.number, rest.to_vec());
            } else if !rest.is_empty() {
                return Err(format!("the backend got a part of a request: {}", shown(&recorded)));
            }
        }
        seen.retain(|request| request.target != "/probe");
        let expected: &[Expected] = match view {
            View::Word(_) => &[],
            View::Requests(expected) => expected,
        };
        if seen.len() != expected.len() {
            return Err(format!("expected {} requests at the backend: {}", expected.len(), shown(&recorded)));
        }
        // Pipelined requests may leave on several connections, in no order that could be told here.
        let judged = expected.iter().try_for_each(|expected| {
            let same_line = seen.iter().position(|request| request.line() == expected.line);
            judge_request(&seen.remove(same_line.unwrap_or(0)), expected)
        });
        judged.map_err(|what| format!("{what}: {}", shown(&recorded)))
    }

    /// Requests that were given up: their connections must end, and none of them may have become whole.
    fn finish(mut self) -> Vec<String> {
        let is_over = |c: &Recorded| c.ended.is_some() || !self.given_up.contains_key(&c.number);
        self.backend.wait_for("the end of requests that were given up", |all| all.iter().all(is_over));
        let late = self.judge_backend(&View::Word(Word::Nothing)).err();
        let whole = self.given_up.values().filter(|bytes| !matches!(strict::request(bytes), Ok(Parsed::Partial)));
        let told =
            whole.map(|bytes| format!("a request that had to be given up was not: \"{}\"", bytes.escape_ascii()));
        told.chain(late).collect()
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

fn judge_request(request: &Request, expected: &Expected) -> Result<(), String> {
    if request.line() != expected.line {
        return Err(format!("the backend got `{}`, expected `{}`", request.line(), expected.line));
    }
    if request.content.body != super::case::latin1(&expected.body) {
        return Err(format!("the backend got another body than {:?}", expected.body));
    }
    let framing = match request.content.framing {
        Framing::Chunked => "chunked",
        Framing::Length(_) => "length",
        Framing::None | Framing::Close => "none",
    };
    if expected.framing.as_deref().is_some_and(|wanted| wanted != framing) {
        return Err(format!("the body came framed by {framing}"));
    }
    // What every forwarded request must carry, and what none may.
    if !request.all("via").last().is_some_and(|via| via.ends_with("1.1 tollgate") || via.ends_with("1.0 tollgate")) {
        return Err("the backend got no Via that ends in the gateway".to_owned());
    }
    for name in
        ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Correlation-ID", "traceparent"]
    {
        has(&request.fields, name)?;
    }
    for name in ["Connection", "Keep-Alive", "Proxy-Connection", "Upgrade"]
        .into_iter()
        .chain(expected.lacks.iter().map(String::as_str))
    {
        if !request.all(name).is_empty() {
            return Err(format!("the backend got {name}"));
        }
    }
    expected.has.iter().try_for_each(|line| has(&request.fields, line))?;
    let Some(trailers) = &expected.trailers else { return Ok(()) };
    if trailers.len() != request.content.trailers.len() {
        return Err(format!("the backend got the trailers {:?}", request.content.trailers));
    }
    trailers.iter().try_for_each(|line| has(&request.content.trailers, line))
}

/// Whether `line` is there: `Name: value` exactly once with this value, `Name` exactly once with any.
fn has(fields: &[Field], line: &str) -> Result<(), String> {
    let (name, value) = line.split_once(':').map_or((line, None), |(name, value)| (name, Some(value.trim())));
    let found = strict::all(fields, name);
    match (&found[..], value) {
        ([_], None) => Ok(()),
        ([one], Some(value)) if one == value => Ok(()),
        _ => Err(format!("expected `{line}`, found {found:?}")),
    }
}
