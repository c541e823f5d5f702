//! What would happen to a request, and why: what `tollgate explain` shows. Looks, sends nothing.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_config::model::{Balance, Config, Service};
use tollgate_core::exchange::Exchange;
use tollgate_core::problem::Problem;

use crate::compile::Compiled;
use crate::plan::{Seen, lookup};
use crate::table::{Action, Link, Proxy, RoutePlan};

/// Most routes shown that nearly matched.
const MOST_MISSED: usize = 5;

/// What would happen to a request.
#[derive(Debug)]
pub struct Explained {
    request: String,
    normalised_from: Option<String>,
    outcome: Outcome,
    missed: Vec<(String, String)>,
}

#[derive(Debug)]
enum Outcome {
    Refused { status: u16, slug: &'static str, detail: String },
    Route(Box<Chosen>),
}

#[derive(Debug)]
struct Chosen {
    name: String,
    place: String,
    over: Option<(String, String)>,
    policies: Vec<(&'static str, &'static str, String)>,
    action: Vec<(String, String)>,
}

/// Explains what `compiled`, which comes from `config`, does with a request.
#[must_use]
pub fn explain(config: &Config, compiled: &Compiled, x: &Exchange) -> Explained {
    let plan = &compiled.plan;
    let found = plan.find(x);
    let seen = Seen(x);
    let explanation = plan.matcher.explain(&lookup(x), |condition| condition.matches(&seen));
    let name = |route: &usize| plan.routes.get(*route).map_or_else(String::new, |r| r.meta.name.clone());
    let raw = String::from_utf8_lossy(x.head.raw_path.of(x.head.fields.buffer.filled())).into_owned();
    let missed = explanation.missed.iter().take(MOST_MISSED).map(|(route, why)| (name(route), why.to_string()));
    let outcome = match &found.refused {
        Some(problem) => refused(problem),
        None => {
            let place = explanation.matching.first().and_then(|route| compiled.places.get(*route));
            let place = place.map_or_else(String::new, |span| format!("{}:{}", span.source.name, span.line));
            let next = explanation.matching.get(1).map(name);
            let over = next.zip(explanation.reason.as_ref().map(ToString::to_string));
            let captures = found.captures.clone();
            let action = action(found.route, compiled, x, &captures);
            let policies = found.route.chain.iter().map(policy).collect();
            let name = found.route.meta.name.clone();
            Outcome::Route(Box::new(Chosen { name, place, over, policies, action }))
        }
    };
    let query = x.head.query().map_or_else(String::new, |query| format!("?{query}"));
    let host = if x.head.host().is_empty() { "(no host)" } else { x.head.host() };
    Explained {
        request: format!("{} {host}{}{query}", x.head.method_text(), x.head.path()),
        normalised_from: Some(raw).filter(|raw| raw != x.head.path() && !x.head.is_asterisk),
        outcome,
        missed: missed.filter(|_| !config.apis.is_empty()).collect(),
    }
}

fn refused(problem: &Problem) -> Outcome {
    let detail = problem.headers.iter().fold(problem.detail.to_string(), |mut text, (name, value)| {
        // Writing to memory does not fail.
        let _ = write!(text, "; {name}: {}", String::from_utf8_lossy(value));
        text
    });
    Outcome::Refused { status: problem.fault.status, slug: problem.fault.slug, detail }
}

fn policy(link: &Link) -> (&'static str, &'static str, String) {
    (link.stage.name(), link.name, link.policy.describe())
}

fn action(
    route: &RoutePlan,
    compiled: &Compiled,
    x: &Exchange,
    captures: &crate::matcher::Captures,
) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut line = |key: &str, value: String| lines.push((key.to_owned(), value));
    match &route.action {
        Action::Proxy(proxy) => {
            forwarded(proxy, compiled, x, captures, &mut line);
            line("timeout", format!("{} to the head of the answer", period(route.bounds.timeout)));
            line("idle", format!("{} between bytes", period(route.bounds.idle)));
            if let Some(total) = route.bounds.total {
                line("total", format!("{} for everything", period(total)));
            }
        }
        Action::Redirect(redirect) => {
            let mut to = Vec::new();
            redirect.to.write(&x.head, captures, &mut to);
            line("redirect", format!("{} to {}", redirect.status, String::from_utf8_lossy(&to)));
        }
        Action::Fixed(fixed) => {
            line("reply", format!("{} with {} bytes of body", fixed.status, fixed.body.len()));
        }
        Action::Serve(_) => line("served", "by the gateway itself".to_owned()),
    }
    line("body", match route.bounds.body {
        u64::MAX => "any size".to_owned(),
        most => format!("at most {most} bytes"),
    });
    lines
}

fn forwarded(
    proxy: &Proxy,
    compiled: &Compiled,
    x: &Exchange,
    captures: &crate::matcher::Captures,
    line: &mut impl FnMut(&str, String),
) {
    let total = proxy.targets.last().map_or(1, |(_, sum)| *sum).max(1);
    let mut before = 0;
    for (target, sum) in &proxy.targets {
        let share = f64::from(sum - before) * 100.0 / f64::from(total);
        before = *sum;
        let split = if proxy.targets.len() > 1 { format!("{share:.2} % of requests, ") } else { String::new() };
        if let Some((name, service)) = compiled.services.get(target.slot) {
            line("service", format!("{name}: {split}{}", chosen_by(service)));
        }
    }
    let mut path = Vec::new();
    match &proxy.path {
        Some(change) => change.write(x.head.path(), captures, &mut path),
        None => path.extend_from_slice(x.head.path().as_bytes()),
    }
    line("path", String::from_utf8_lossy(&path).into_owned());
    let service = proxy.targets.first().and_then(|(target, _)| compiled.services.get(target.slot));
    let host = match (&proxy.host, service.and_then(|(_, service)| service.host.as_ref())) {
        (Some(host), _) => String::from_utf8_lossy(host).into_owned(),
        (None, Some(host)) => host.as_str().to_owned(),
        (None, None) => "as the client sent it".to_owned(),
    };
    line("host", host);
    let retries = proxy.retries.map_or_else(|| service.map_or(0, |(_, s)| s.retry.retries.get()), u64::from);
    line("retries", format!("{retries}, of what is safe to repeat"));
}

fn chosen_by(service: &Service) -> String {
    let balance = match &service.balance {
        Balance::RoundRobin => "in turn by weight".to_owned(),
        Balance::LeastRequests => "the less busy of two picked at random".to_owned(),
        Balance::Hash(key) => format!("by hash of {key}"),
    };
    let targets: Vec<String> = service
        .to
        .0
        .iter()
        .map(|target| match target.weight.get() {
            1 => target.address.value.to_string(),
            weight => format!("{} (weight {weight})", target.address.value),
        })
        .collect();
    match targets.as_slice() {
        [only] => only.clone(),
        many => format!("{balance}: {}", many.join(", ")),
    }
}

fn period(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 { format!("{} s", duration.as_secs()) } else { format!("{} ms", duration.as_millis()) }
}

impl Explained {
    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let outcome = match &self.outcome {
            Outcome::Refused { status, slug, detail } => json!({ "status": status, "problem": slug, "detail": detail }),
            Outcome::Route(chosen) => {
                let policies: Vec<Value> = chosen
                    .policies
                    .iter()
                    .map(|(stage, name, does)| json!({ "stage": stage, "policy": name, "does": does }))
                    .collect();
                let action: Vec<Value> = chosen.action.iter().map(|(key, value)| json!({ key: value })).collect();
                json!({
                    "name": chosen.name,
                    "place": chosen.place,
                    "beats": chosen.over.as_ref().map(|(next, why)| json!({ "route": next, "because": why })),
                    "policies": policies,
                    "action": action,
                })
            }
        };
        let missed: Vec<Value> = self.missed.iter().map(|(name, why)| json!({ "route": name, "why": why })).collect();
        json!({ "request": self.request, "normalised_from": self.normalised_from, "route": outcome, "missed": missed })
    }
}

impl Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request    {}", self.request)?;
        if let Some(raw) = &self.normalised_from {
            writeln!(f, "           normalised from {raw}")?;
        }
        match &self.outcome {
            Outcome::Refused { status, slug, detail } => writeln!(f, "answer     {status} {slug}: {detail}")?,
            Outcome::Route(chosen) => chosen.fmt(f)?,
        }
        for (i, (name, why)) in self.missed.iter().enumerate() {
            writeln!(f, "{:<10} {name}: {why}", if i == 0 { "no match" } else { "" })?;
        }
        Ok(())
    }
}

impl Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "route      {}   ({})", self.name, self.place)?;
        if let Some((next, why)) = &self.over {
            writeln!(f, "           beats {next}: {why}")?;
        }
        if self.policies.is_empty() {
            writeln!(f, "policies   none")?;
        }
        for (i, (stage, name, does)) in self.policies.iter().enumerate() {
            writeln!(f, "{:<10} {}. {name} ({stage}): {does}", if i == 0 { "policies" } else { "" }, i + 1)?;
        }
        for (key, value) in &self.action {
            writeln!(f, "{key:<10} {value}")?;
        }
        Ok(())
    }
}
