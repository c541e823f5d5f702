//! Consul, after its published HTTP API: the instances of a service that pass their checks, by blocking queries.
//!
//! - One question at a time for each service: it is answered when something changes, or after `wait`. How indexes are to be
//!   read: "Blocking Queries" in the reference of the API.
//! - An answer that fails shows as [`State::Stale`](crate::State::Stale) and is asked for again after a second, then less and less
//!   often, at last every 30 seconds. Instances are used for `hold` after the first failure, then they lapse.
//! - Addresses of services or nodes that are names are looked up.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tollgate_core::caller::{Answer, Call, Caller};
use tollgate_core::clock::Clock;
use tollgate_observe::Metrics;

use crate::Source;
use crate::backoff::{Backoff, Pace, spread};
use crate::dns::Dns;
use crate::kept::{Following, Kept, Told};
use crate::places::{Place, Places};

mod answer;

/// Most bytes of an answer.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// How long an answer may take beyond what it may wait.
const ANSWER: Duration = Duration::from_secs(5);

/// How Consul is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where an agent or a server is: a URL, to which `/v1/…` is added.
    pub url: String,
    /// What it is shown (`X-Consul-Token`).
    pub token: Option<String>,
    /// The datacenter, if it is not the agent's own.
    pub datacenter: Option<String>,
    /// How true answers must be.
    pub consistency: Consistency,
    /// How long one question may wait for a change.
    pub wait: Duration,
    /// How long instances are used while there is no answer.
    pub hold: Duration,
}

/// How true answers must be ("Consistency Modes" of the API).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The leader answers; one that was replaced just now may not know it yet.
    Default,
    /// The leader answers, and asks the others first.
    Consistent,
    /// Any server answers.
    Stale,
}

/// Which instances are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The service's name.
    pub service: String,
    /// Tags that they all have.
    pub tags: Vec<String>,
    /// The datacenter; `None`: that of the settings.
    pub datacenter: Option<String>,
    /// Whether those whose checks warn are wanted too, with the weight that they have then.
    pub warning: bool,
}

/// Asks Consul.
#[derive(Debug)]
pub struct Consul {
    settings: Settings,
    caller: Arc<dyn Caller>,
    dns: Arc<Dns>,
    runtime: Handle,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Consul {
    /// Asks by this caller, on `runtime`, never a worker's.
    pub fn new(
        settings: Settings,
        caller: Arc<dyn Caller>,
        dns: Arc<Dns>,
        runtime: Handle,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self { settings, caller, dns, runtime, clock, metrics })
    }

    /// The instances of a service, followed until this is dropped.
    pub fn source(self: &Arc<Self>, wanted: Wanted) -> Arc<dyn Source> {
        let told = Told::new(Arc::clone(&self.metrics), Metrics::sources, &format!("consul {}", wanted.service));
        let (hold, clock) = (Some(self.settings.hold), self.clock.clone());
        let (kept, view) = Kept::new(told, Places::new(Arc::clone(&self.dns)), Vec::new(), hold, clock);
        Arc::new(Following::new(view, &self.runtime, follow(Arc::clone(self), wanted, kept)))
    }

    /// One question. What it is answered, and the index for the next one.
    async fn ask(&self, wanted: &Wanted, index: u64) -> Result<(Vec<Place>, u64), String> {
        // The server adds up to a sixteenth to what is asked for.
        let wait = if index == 0 { Duration::ZERO } else { self.settings.wait + self.settings.wait / 16 };
        let mut call = Call::get(self.url(wanted, index), MOST_BYTES, wait + ANSWER);
        call.fields.extend(self.settings.token.iter().map(|token| ("X-Consul-Token", token.clone())));
        let answer = self.caller.call(call).await.map_err(|error| error.0)?;
        understood(&answer, wanted, self.settings.consistency)?;
        let said = field(&answer, "x-consul-index").and_then(|index| index.parse().ok());
        let places = answer::places(&answer.body)?;
        Ok((places, next(index, said)))
    }

    fn url(&self, wanted: &Wanted, index: u64) -> String {
        let mut url =
            format!("{}/v1/health/service/{}?", self.settings.url.trim_end_matches('/'), coded(&wanted.service));
        let mut add = |name: &str, value: &str| {
            if !url.ends_with('?') {
                url.push('&');
            }
            url.push_str(name);
            url.push('=');
            url.push_str(&coded(value));
        };
        if !wanted.warning {
            add("passing", "true");
        }
        wanted.tags.iter().for_each(|tag| add("tag", tag));
        if let Some(datacenter) = wanted.datacenter.as_ref().or(self.settings.datacenter.as_ref()) {
            add("dc", datacenter);
        }
        match self.settings.consistency {
            Consistency::Default => {}
            Consistency::Consistent => add("consistent", "true"),
            Consistency::Stale => add("stale", "true"),
        }
        if index > 0 {
            add("index", &index.to_string());
            add("wait", &format!("{}ms", self.settings.wait.as_millis()));
        }
        url
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Asks, tells, asks again.
async fn follow(consul: Arc<Consul>, wanted: Wanted, mut kept: Kept) -> Infallible {
    let (mut failures, mut pace) = (Backoff::default(), Pace::new(consul.clock.now()));
    let (mut index, mut wait) = (0, Duration::ZERO);
    loop {
        let asked = async {
            tokio::time::sleep(wait).await;
            consul.ask(&wanted, index).await
        };
        match kept.during(asked).await {
            Ok((places, next)) => {
                failures.succeeded();
                kept.learn(places);
                (index, wait) = (next, pace.ask(consul.clock.now()));
            }
            Err(why) => {
                kept.fail(&why);
                // Whoever answers then may know less: he is asked for all, not for what is newer.
                (index, wait) = (0, spread(failures.failed()));
            }
        }
    }
}

/// The index for the next question. "Reset the index if it goes backwards", and "sanity check index is greater than zero": with 0
/// nothing is waited for.
fn next(asked: u64, said: Option<u64>) -> u64 {
    let said = said.unwrap_or(0).max(1);
    if said < asked { 0 } else { said }
}

/// Whether an answer is one.
fn understood(answer: &Answer, wanted: &Wanted, consistency: Consistency) -> Result<(), String> {
    if answer.status != 200 {
        let start: String =
            String::from_utf8_lossy(&answer.body).chars().filter(|c| !c.is_control()).take(120).collect();
        return Err(format!("Consul answers {}: {start}", answer.status));
    }
    let is_nothing = answer.body.trim_ascii() == b"[]";
    if is_nothing && field(answer, "x-consul-results-filtered-by-acls") == Some("true") {
        return Err(format!("the token may not read the service `{}`", wanted.service));
    }
    // Nobody can say how old that is.
    if consistency == Consistency::Stale && field(answer, "x-consul-knownleader") == Some("false") {
        return Err("the server that answers knows no leader".to_owned());
    }
    Ok(())
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A part of a URL (RFC 3986 §2.1).
pub(crate) fn coded(text: &str) -> String {
    let mut coded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => coded.push(char::from(byte)),
            _ => coded.push_str(&format!("%{byte:02X}")),
        }
    }
    coded
}

#[cfg(test)]
mod tests;
