//! Holds a gateway against the cases.

use std::net::SocketAddr;

use serde_json::Value;

use super::case::{Act, Case, Exchange};
use super::client::{Answer, Came, FrameClient};
use super::frame::{Code, Frame};
use super::outcome::Outcome;
use crate::conformance::seen::{Seen, has};
use crate::deadline::{Deadline, PATIENCE};
use crate::recorder::Recorder;

const PING: [u8; 8] = *b"still up";

/// Runs all cases and their twins, one after the other, and gives what failed, each with its name.
///
/// The gateway must send to `backend` everything that its routes do not answer by themselves.
#[must_use]
pub fn all(cases: &[Case], gateway: SocketAddr, backend: &Recorder) -> Vec<String> {
    let mut seen = Seen::new(backend, &["2.0 tollgate"]);
    let mut failures = Vec::new();
    for case in cases {
        for (which, exchange) in [("", Some(&case.exchange)), (" (twin)", case.twin.as_ref())] {
            let Some(exchange) = exchange else { continue };
            let talked = talk(exchange, gateway);
            let at_backend = match &exchange.backend {
                Some(view) => seen.judge(view),
                None => seen.skip(),
            };
            let told: Vec<String> = [talked, at_backend].into_iter().filter_map(Result::err).collect();
            if !told.is_empty() {
                failures.push(format!("{}{which} [{}]: {}", case.name, case.clause, told.join("; and ")));
            }
        }
    }
    failures.extend(seen.finish());
    failures
}

fn talk(exchange: &Exchange, gateway: SocketAddr) -> Result<(), String> {
    let mut client = if exchange.open { FrameClient::open(gateway, &[]) } else { FrameClient::connect(gateway) };
    for piece in &exchange.send {
        match piece.act()? {
            // It may be refused: the gateway may have closed before it saw everything.
            Act::Send(bytes) => {
                client.send_bytes(&bytes);
            }
            Act::Await(outcome) => {
                if !client.until_by(patience(), &|came| outcome.holds(came))? {
                    return Err(format!("waited in vain for {outcome:?}: {}", client.came));
                }
            }
        }
    }
    let outcomes = exchange.outcomes();
    let may_survive = outcomes.iter().any(Outcome::survives);
    if may_survive && exchange.probe == 0 {
        client.send(&Frame::ping(PING));
    } else if may_survive {
        client.get(exchange.probe, "/probe");
    }
    let holds = |came: &Came| outcomes.iter().find(|outcome| held(outcome, exchange.probe, came));
    client.until_by(patience(), &|came| holds(came).is_some())?;
    let Some(outcome) = holds(&client.came) else {
        return Err(format!("expected {outcomes:?}, got {}", client.came));
    };
    if exchange.deviates() && exchange.lawful().iter().any(|lawful| held(lawful, exchange.probe, &client.came)) {
        return Err(format!("it does what the standard says: `instead` may go; {}", client.came));
    }
    match outcome.status() {
        Some((stream, _)) => judge_answer(exchange, &mut client, stream),
        None => Ok(()),
    }
}

fn patience() -> Deadline {
    Deadline::after(PATIENCE / 4)
}

/// Whether the outcome has come, and nothing that it does not speak of.
fn held(outcome: &Outcome, probe: u32, came: &Came) -> bool {
    if !outcome.holds(came) {
        return false;
    }
    if !outcome.survives() {
        return true;
    }
    let served = match probe {
        0 => came.pongs.iter().any(|pong| *pong == PING),
        stream => came.answers.get(&stream).is_some_and(|answer| answer.status == 200 && answer.ended),
    };
    let is_reset = |answer: &Answer| match answer.reset {
        None => false,
        // RFC 9113 §8.1: a server may ask the client to stop once all of the answer is out.
        Some(code) => !answer.ended || code != Code(0),
    };
    let unforeseen = came.answers.iter().any(|(stream, answer)| is_reset(answer) && !outcome.resets(*stream));
    served && !unforeseen && came.goaways.is_empty() && came.ended.is_none()
}

fn judge_answer(exchange: &Exchange, client: &mut FrameClient, stream: u32) -> Result<(), String> {
    let looks = exchange.problem.is_some() || !exchange.answer.is_empty();
    if looks && !client.until_by(patience(), &|came| came.is_over(stream))? {
        return Err(format!("the answer does not end: {}", client.came));
    }
    let answer = client.came.answer(stream);
    // 431 may be the answer of the library below, which has no clock.
    if answer.status != 431 {
        has(&answer.fields, "date")?;
    }
    exchange.answer.iter().try_for_each(|line| has(&answer.fields, line))?;
    let Some(slug) = &exchange.problem else { return Ok(()) };
    let problem: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("{error}: {answer:?}"))?;
    match problem["type"].as_str().is_some_and(|text| text.ends_with(slug.as_str())) {
        true => Ok(()),
        false => Err(format!("expected the problem {slug}, got {problem}")),
    }
}
