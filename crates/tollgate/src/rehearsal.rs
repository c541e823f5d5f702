//! The `tests:` of a config, run against what it compiles to: through the real way of a request, without a socket, with a clock
//! that stands.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::runtime;
use tokio::sync::Notify;
use tollgate_config::model::rehearsal::{Line, TestFields};
use tollgate_config::model::{Config, Expected, Sent, Test, TestRequest, Tests};
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::facts::Conn;
use tollgate_core::in_flight::InFlight;
use tollgate_core::node::Spanned;
use tollgate_core::pacer::Pacers;
use tollgate_core::units::Bounded;
use tollgate_engine::{Answered, Asked, Drain, Forwarded, Parts, rehearse};
use tollgate_identity::principal;
use tollgate_observe::metrics::Metrics;
use tollgate_store::{Memory, MemoryCounters};

use crate::start::{StartError, other, wire_error};
use crate::wire::{self, Own, World};

/// Who asks, if nobody says so: nobody's address (RFC 5737), so that no proxy is meant.
const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// When: 2026-01-01, a Thursday.
const WHEN: Duration = Duration::from_secs(1_767_225_600);

/// How many callers limits know.
const COUNTED: usize = 10_000;

/// What came of one test.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The request, in short.
    pub(crate) request: String,
    /// What came instead of what was expected, line by line; empty: it passed.
    pub(crate) differences: Vec<String>,
    /// The route that it took.
    pub(crate) route: String,
    test: Spanned<Line>,
}

impl Outcome {
    /// Whether it passed.
    pub(crate) fn is_passed(&self) -> bool {
        self.differences.is_empty()
    }

    /// Where it is written: file, line, column.
    pub(crate) fn place(&self) -> String {
        let span = &self.test.span;
        format!("{}:{}:{}", span.source.name, span.line, span.column)
    }

    fn mistake(&self) -> Diagnostic {
        let differences = self.differences.join("; ");
        let mistake = Diagnostic::error(format!("the test `{}` fails: {differences}", self.request));
        mistake.at(&self.test.span).hint(format!("it takes the route `{}`; `tollgate test` tells more", self.route))
    }
}

/// Refuses a config whose tests fail. Blocks: not to be called on a runtime.
///
/// # Errors
/// All tests that fail; or everything that is wrong with the config.
pub(crate) fn pass(config: &Config) -> Result<(), StartError> {
    let failed: Vec<Diagnostic> =
        run(config)?.iter().filter(|outcome| !outcome.is_passed()).map(Outcome::mistake).collect();
    if failed.is_empty() { Ok(()) } else { Err(StartError::Config(failed)) }
}

/// Runs all tests; none if there are none. Blocks: not to be called on a runtime.
///
/// # Errors
/// Everything that is wrong with the config.
pub(crate) fn run(config: &Config) -> Result<Vec<Outcome>, StartError> {
    let tests: &[Spanned<Line>] = config.tests.expect.as_deref().unwrap_or_default();
    if tests.is_empty() {
        return Ok(Vec::new());
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|e| other("no runtime", &e))?;
    let (clock, slow) = (Clock::fake(UNIX_EPOCH + WHEN), runtime.handle().clone());
    let (metrics, bells): (_, Arc<[Notify]>) = (Metrics::new(1), Arc::new([Notify::new()]));
    let world = World {
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
        bells: Arc::clone(&bells),
        slow: slow.clone(),
        asking: Own::default(),
        counting: Own::default(),
        store: Arc::new(Memory::new(0, clock.clone())),
        counters: MemoryCounters::new(COUNTED, clock.clone(), metrics.limits_forgotten()),
        pacers: Arc::new(Pacers::new(clock.clone())),
        in_flight: InFlight::default(),
    };
    let deployment = Arc::new(wire::rehearsed(config, &world).map_err(wire_error)?);
    let parts = Parts { clock, metrics, bells, drain: Arc::new(Drain::default()), slow };
    let one = |test: &Spanned<Line>| {
        let Test { times, request, expect } = &test.value.0;
        world.counters.clear();
        let answered: Vec<Answered> = (0..times.get())
            .map(|_| runtime.block_on(rehearse(&deployment, &parts, asked(request, &config.tests))))
            .collect();
        let url = &request.url;
        let host = url
            .host
            .as_ref()
            .map_or_else(String::new, |host| format!("{}://{host}", if url.is_https { "https" } else { "http" }));
        Outcome {
            request: format!("{}{} {host}{}{}", often(times.get()), request.method.0, url.target, by(request)),
            differences: all_differences(expect, &answered),
            route: answered.last().map_or_else(String::new, |answered| answered.route.name.to_string()),
            test: test.clone(),
        }
    };
    Ok(tests.iter().map(one).collect())
}

fn often(times: u64) -> String {
    if times == 1 { String::new() } else { format!("{times} x ") }
}

/// Everything that is not as expected: of all answers, or of too many or too few of them.
fn all_differences(expected: &Expected, answered: &[Answered]) -> Vec<String> {
    let each = answered.iter().map(|answered| differences(expected, answered));
    let Some(times) = expected.times.map(Bounded::get) else {
        let first = each.enumerate().find(|(_, found)| !found.is_empty());
        return match first {
            Some((number, found)) if answered.len() > 1 => {
                found.into_iter().map(|line| format!("{line} (request {} of {})", number + 1, answered.len())).collect()
            }
            first => first.map(|(_, found)| found).unwrap_or_default(),
        };
    };
    let so_many = each.filter(Vec::is_empty).count() as u64;
    if so_many == times {
        return Vec::new();
    }
    let mut came: Vec<(u16, usize)> = Vec::new();
    for answer in answered {
        match came.iter_mut().find(|(status, _)| *status == answer.status) {
            Some((_, count)) => *count += 1,
            None => came.push((answer.status, 1)),
        }
    }
    let came: Vec<String> = came.iter().map(|(status, count)| format!("{count} x {status}")).collect();
    vec![format!("expected {times} such answers of {}, found {so_many}: {}", answered.len(), came.join(", "))]
}

fn by(request: &TestRequest) -> String {
    request.person.as_ref().map_or_else(String::new, |name| format!(" as {}", name.value))
}

/// The request as a client sends it.
fn asked(request: &TestRequest, all: &Tests) -> Asked {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method.0, request.url.target);
    let written = |host: &Option<tollgate_config::model::HostText>| host.as_ref().map(|host| host.as_str().to_owned());
    let host = request.url.host.clone().or_else(|| written(&request.host)).or_else(|| written(&all.host));
    // Writing to memory does not fail.
    let _ = write!(head, "Host: {}\r\n", host.unwrap_or_else(|| "localhost".to_owned()));
    let own = request.headers.as_ref().map(|fields| &fields.0[..]).unwrap_or_default();
    let general = all.headers.as_ref().map(|fields| &fields.0[..]).unwrap_or_default();
    let is_own = |name: &str| own.iter().any(|(own, _)| own.as_str().eq_ignore_ascii_case(name));
    for (name, value) in general.iter().filter(|(name, _)| !is_own(name.as_str())).chain(own) {
        let _ = write!(head, "{}: {}\r\n", name.as_str(), value.as_str());
    }
    if let Some(body) = &request.body {
        let _ = write!(head, "Content-Length: {}\r\n", body.get());
    }
    head.push_str("\r\n");
    let from = request.from.or(all.from).map_or(SOMEBODY, |ip| ip.0);
    let conn =
        Conn::new((from, 49152).into(), (Ipv4Addr::LOCALHOST, if request.url.is_https { 443 } else { 80 }).into(), 0);
    let person = request.person.as_ref().and_then(|name| all.people.as_ref()?.get(name));
    let caller = person.map(|claims| principal(&Arc::from("tests"), &claims.0, None));
    Asked { head: head.into_bytes(), is_https: request.url.is_https, conn, caller }
}

/// Everything that is not as expected.
fn differences(expect: &Expected, answered: &Answered) -> Vec<String> {
    let mut found = Vec::new();
    let mut told = |what: &str, expected: &str, got: Option<&str>| {
        if got != Some(expected) {
            found.push(format!("{what} is {}, not {expected}", got.unwrap_or("missing")));
        }
    };
    if !(expect.status.from..=expect.status.to).contains(&answered.status) {
        told("the status", &expect.status.to_string(), Some(&answered.status.to_string()));
    }
    let sent = answered.sent.as_ref();
    if let Some(service) = &expect.from {
        // Of addresses in a route, the name of that; its api need not be said.
        let api = format!("{}: ", answered.route.api);
        let short = |name: &'_ str| name.strip_prefix(&*api).unwrap_or(name).to_owned();
        let expected = short(&service.value);
        // Of a split, any that has a share.
        let name = sent.map(|sent| match sent.among.iter().any(|name| short(name) == expected) {
            true => expected.clone(),
            false => short(&sent.service),
        });
        told("the service", &expected, name.as_deref().or(Some("none")));
    }
    if let Some(problem) = &expect.problem {
        told("the problem", &problem.value, answered.problem.or(Some("none")));
    }
    if let Some(location) = &expect.location {
        told("`Location`", location.as_str(), field(&answered.fields, "location"));
    }
    for (name, value) in fields(expect.headers.as_ref()) {
        told(&format!("`{name}`"), value, field(&answered.fields, name));
    }
    let Some(Sent { path, host, headers }) = &expect.sent else { return found };
    let Some(Forwarded { head, .. }) = sent else {
        found.push("nothing is sent to any service".to_owned());
        return found;
    };
    let mut lines = head.split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let pairs: Vec<(String, String)> = pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut told = |what: &str, expected: &str, got: Option<&str>| {
        if got != Some(expected) {
            found.push(format!("{what} is sent as {}, not {expected}", got.unwrap_or("nothing")));
        }
    };
    if let Some(path) = path {
        told("the path", path, target);
    }
    if let Some(host) = host {
        told("`Host`", host, field(&pairs, "host"));
    }
    for (name, value) in fields(headers.as_ref()) {
        told(&format!("`{name}`"), value, field(&pairs, name));
    }
    found
}

fn fields(of: Option<&TestFields>) -> impl Iterator<Item = (&str, &str)> {
    of.into_iter().flat_map(|fields| &fields.0).map(|(name, value)| (name.as_str(), value.as_str()))
}

fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
