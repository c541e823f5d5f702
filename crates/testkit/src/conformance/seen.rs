//! What the backend has seen, held against what a case allows.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Expected, View, Word, latin1};
use crate::recorder::{Recorded, Recorder, shown};
use crate::strict::{self, Field, Framing, Parsed, Request};

/// Where requests go that are to be given up half-way. What arrives of them arrives when it likes, so it is set apart.
const CUT: &[u8] = b"POST /cut ";

/// Requests that wait for the only connection of their service, and arrive when they like: perhaps after their case is over.
/// That service has its connections to itself, so those are not looked at.
const LATE: &[u8] = b"POST /one ";

/// The backend, looked at after each case.
#[derive(Debug)]
pub struct Seen<'b> {
    backend: &'b Recorder,
    /// How the last entry of `Via` may end.
    via: &'b [&'b str],
    /// By connection: what came of a request that was begun and must never be finished.
    given_up: BTreeMap<usize, Vec<u8>>,
    /// Connections that are looked at no more.
    passed_over: BTreeSet<usize>,
}

impl<'b> Seen<'b> {
    /// Before the first case.
    #[must_use]
    pub fn new(backend: &'b Recorder, via: &'b [&'b str]) -> Self {
        Self { backend, via, given_up: BTreeMap::new(), passed_over: BTreeSet::new() }
    }

    /// Whether what came since the last look is what the case allows.
    ///
    /// # Errors
    /// Says how it differs.
    pub fn judge(&mut self, view: &View) -> Result<(), String> {
        let recorded = self.backend.take();
        let (mut seen, parts) = self.requests(&recorded)?;
        if !parts.is_empty() {
            return Err(format!("the backend got a part of a request: {}", shown(&recorded)));
        }
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
            judge_request(&seen.remove(same_line.unwrap_or(0)), expected, self.via)
        });
        judged.map_err(|what| format!("{what}: {}", shown(&recorded)))
    }

    /// Passes over what came since the last look, parts of requests too.
    ///
    /// # Errors
    /// Says what breaks the grammar.
    pub fn skip(&mut self) -> Result<(), String> {
        let recorded = self.backend.take();
        let (_, parts) = self.requests(&recorded)?;
        self.passed_over.extend(parts);
        Ok(())
    }

    /// Whole requests, and the connections with a part of one behind them that was not to be given up.
    fn requests(&mut self, recorded: &[Recorded]) -> Result<(Vec<Request>, Vec<usize>), String> {
        let (mut seen, mut parts) = (Vec::new(), Vec::new());
        for connection in recorded {
            if self.passed_over.contains(&connection.number) {
                continue;
            }
            if let Some(begun) = self.given_up.get_mut(&connection.number) {
                begun.extend_from_slice(&connection.bytes);
                continue;
            }
            let begins = connection.bytes.get(..LATE.len()).unwrap_or(&connection.bytes);
            if !begins.is_empty() && LATE.starts_with(begins) {
                self.passed_over.insert(connection.number);
                continue;
            }
            let (requests, rest) = strict::requests(&connection.bytes)
                .map_err(|broken| format!("the backend got what breaks the grammar: {broken}: {}", shown(recorded)))?;
            seen.extend(requests);
            if rest.starts_with(CUT) || !rest.is_empty() && CUT.starts_with(rest) {
                self.given_up.insert(connection.number, rest.to_vec());
            } else if !rest.is_empty() {
                parts.push(connection.number);
            }
        }
        // One that is late may also come behind others, on a connection that was kept.
        seen.retain(|request| request.target != "/probe" && (request.method != "GET" || request.target != "/hold"));
        Ok((seen, parts))
    }

    /// Requests that were given up: their connections must end, and none of them may have become whole.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        let is_over = |c: &Recorded| c.ended.is_some() || !self.given_up.contains_key(&c.number);
        self.backend.wait_for("the end of requests that were given up", |all| all.iter().all(is_over));
        let late = self.judge(&View::Word(Word::Nothing)).err();
        let whole = self.given_up.values().filter(|bytes| !matches!(strict::request(bytes), Ok(Parsed::Partial)));
        let told =
            whole.map(|bytes| format!("a request that had to be given up was not: \"{}\"", bytes.escape_ascii()));
        told.chain(late).collect()
    }
}

fn judge_request(request: &Request, expected: &Expected, via: &[&str]) -> Result<(), String> {
    if request.line() != expected.line {
        return Err(format!("the backend got `{}`, expected `{}`", request.line(), expected.line));
    }
    if request.content.body != latin1(&expected.body) {
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
    if !request.all("via").last().is_some_and(|told| via.iter().any(|via| told.ends_with(via))) {
        return Err("the backend got no Via that ends in the gateway".to_owned());
    }
    for name in
        ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Correlation-ID", "traceparent"]
    {
        has(&request.fields, name)?;
    }
    // RFC 9110 §10.1.4: a wish for trailers is of this hop, and names itself so.
    let wants_trailers = request.all("te") == ["trailers"] && request.all("connection") == ["TE"];
    for name in ["Connection", "Keep-Alive", "Proxy-Connection", "Upgrade"]
        .into_iter()
        .chain(expected.lacks.iter().map(String::as_str))
    {
        let is_allowed = wants_trailers && name == "Connection";
        if !is_allowed && !request.all(name).is_empty() {
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
///
/// # Errors
/// Says what is there instead.
pub fn has(fields: &[Field], line: &str) -> Result<(), String> {
    let (name, value) = line.split_once(':').map_or((line, None), |(name, value)| (name, Some(value.trim())));
    let found = strict::all(fields, name);
    match (&found[..], value) {
        ([_], None) => Ok(()),
        ([one], Some(value)) if one == value => Ok(()),
        _ => Err(format!("expected `{line}`, found {found:?}")),
    }
}
