//! What would happen to a request, and why: what `tollgate explain` shows. Looks, sends nothing.

mod action;
mod near;
mod show;
#[cfg(test)]
mod tests;

use tollgate_config::model::Config;
use tollgate_core::exchange::{Exchange, Peer};
use tollgate_core::facts::ClientAddress;
use tollgate_core::field::Known;
use tollgate_core::head::Field;
use tollgate_core::host;
use tollgate_core::node::Span;
use tollgate_core::problem::Problem;

use crate::compile::Compiled;
use crate::matcher::{Captures, Explanation};
use crate::plan::{Seen, lookup};
use crate::table::RoutePlan;

use action::Does;
use near::Near;

/// What would happen to a request. Displays as text; [`Explained::to_json`] says the same to machines.
#[derive(Debug)]
pub struct Explained {
    method: String,
    /// With the query, as it came.
    target: String,
    /// The one path that is matched, shown to policies and sent on.
    path: String,
    host: Host,
    /// `https` or `http`, as the client sees it.
    scheme: &'static str,
    client: Client,
    /// The method that a CORS preflight asks for, by which it is matched.
    preflight_for: Option<String>,
    outcome: Outcome,
    near: Vec<Near>,
}

/// The host that is matched, and as it came.
#[derive(Debug)]
struct Host {
    matched: String,
    came: String,
}

/// Who asks, as far as it is believed.
#[derive(Debug)]
struct Client {
    believed: ClientAddress,
    /// Who connects.
    peer: ClientAddress,
    /// Names of fields that say something of the client and are dropped, and why.
    ignored: Vec<(String, Ignored)>,
}

/// Why a field is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ignored {
    /// Whoever sent it is not believed.
    Stranger,
    /// A trusted proxy does not write it, so it may be its client's.
    NotTheProxys,
    /// It passes for a field of the gateway's.
    Disguised,
}

/// What becomes of the request.
#[derive(Debug)]
enum Outcome {
    /// The gateway refuses it.
    Refused(Refusal),
    /// A route serves it.
    Route(Box<Chosen>),
}

#[derive(Debug)]
struct Refusal {
    /// The route that refuses; `None`: there is none.
    route: Option<Named>,
    status: u16,
    slug: &'static str,
    detail: String,
    fields: Vec<(&'static str, String)>,
}

/// A route, and where in the file it stands.
#[derive(Debug)]
struct Named {
    name: String,
    /// `file:line:column`; empty for those of no file.
    place: String,
}

#[derive(Debug)]
struct Chosen {
    route: Named,
    /// The next best, and why it is not better.
    beats: Option<(Named, String)>,
    /// Its conditions and what they came to.
    conditions: Vec<(String, bool)>,
    policies: Vec<PolicyLine>,
    does: Does,
}

/// A policy that runs, in the order of execution.
#[derive(Debug)]
struct PolicyLine {
    stage: &'static str,
    name: &'static str,
    does: String,
}

/// Explains what `compiled`, which comes from `config`, does with a request of which is settled who asks.
#[must_use]
pub fn explain(config: &Config, compiled: &Compiled, x: &Exchange) -> Explained {
    let (found, seen, lookup) = (compiled.plan.find(x), Seen::of(x), lookup(x));
    let told = match x.head.is_asterisk {
        true => Explanation::default(),
        false => compiled.plan.matcher.explain(&lookup, |conditions| conditions.hold(&seen)),
    };
    let outcome = match &found.refused {
        Some(problem) => Outcome::Refused(refusal(problem, told.matching.first().and_then(|r| named(compiled, *r)))),
        None => Outcome::Route(Box::new(chosen(compiled, found.route, &told, &found.captures, x))),
    };
    let near = if x.head.is_asterisk { Vec::new() } else { near::near(config, compiled, &told, x) };
    let raw = x.head.raw_path.of(x.head.fields.buffer.filled());
    let query = x.head.query().map_or_else(String::new, |query| format!("?{query}"));
    let came = x.head.host();
    Explained {
        method: x.head.method_text().to_owned(),
        target: if x.head.is_asterisk { "*".into() } else { format!("{}{query}", String::from_utf8_lossy(raw)) },
        path: x.head.path().to_owned(),
        host: Host { matched: host::name(came).to_ascii_lowercase(), came: came.to_owned() },
        scheme: x.scheme,
        client: client(x),
        preflight_for: lookup.preflight_for.map(|method| String::from_utf8_lossy(method).into_owned()),
        outcome,
        near,
    }
}

fn client(x: &Exchange) -> Client {
    let bytes = x.head.fields.buffer.filled();
    let ignored = |field: &Field| {
        let name = field.name.of(bytes);
        let why = match (field.known, x.peer) {
            (Known::Other, _) if name.contains(&b'_') => Ignored::Disguised,
            (known, Peer::Client) if known.tells_of_client() => Ignored::Stranger,
            (known, Peer::Proxy) if known.tells_of_client() => Ignored::NotTheProxys,
            _ => return None,
        };
        Some((String::from_utf8_lossy(name).into_owned(), why))
    };
    let dropped = x.head.fields.received().iter().filter(|field| field.dropped);
    Client { believed: x.client, peer: x.conn.peer(), ignored: dropped.filter_map(ignored).collect() }
}

fn refusal(problem: &Problem, route: Option<Named>) -> Refusal {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Refusal {
        route,
        status: problem.fault.status,
        slug: problem.fault.slug,
        detail: problem.detail.to_string(),
        fields: problem.headers.iter().map(|(name, value)| (*name, text(value))).collect(),
    }
}

fn chosen(compiled: &Compiled, route: &RoutePlan, told: &Explanation, captures: &Captures, x: &Exchange) -> Chosen {
    let number = told.matching.first().copied();
    let own = || Named { name: route.meta.name.to_string(), place: String::new() };
    let next = told.matching.get(1).and_then(|next| named(compiled, *next));
    let policy = |link: &crate::table::Link| PolicyLine {
        stage: link.stage.name(),
        name: link.name,
        does: link.policy.describe(),
    };
    Chosen {
        route: number.and_then(|number| named(compiled, number)).unwrap_or_else(own),
        beats: next.zip(told.reason.as_ref().map(ToString::to_string)),
        conditions: number.map_or_else(Vec::new, |number| conditions(compiled, number, x)),
        policies: route.chain.iter().map(policy).collect(),
        does: action::does(compiled, route, captures, x),
    }
}

/// A route of the plan by its number.
fn named(compiled: &Compiled, number: usize) -> Option<Named> {
    let route = compiled.plan.routes.get(number)?;
    Some(Named {
        name: route.meta.name.to_string(),
        place: compiled.places.get(number).map_or_else(String::new, place),
    })
}

fn place(span: &Span) -> String {
    if span.is_some() { format!("{}:{}:{}", span.source.name, span.line, span.column) } else { String::new() }
}

/// The conditions of a route, and what they come to.
fn conditions(compiled: &Compiled, number: usize, x: &Exchange) -> Vec<(String, bool)> {
    let seen = Seen::of(x);
    let all = compiled.plan.matcher.condition(number);
    let each = all.into_iter().flat_map(|all| all.iter());
    each.map(|condition| (condition.text().to_owned(), condition.matches(&seen))).collect()
}
