//! Routes that nearly served a request.

use tollgate_config::model::{Config, HostPattern};
use tollgate_core::exchange::Exchange;

use super::{Named, conditions, named};
use crate::compile::Compiled;
use crate::matcher::{Explanation, Lookup, Miss};
use crate::plan::{Seen, lookup};

/// Most routes that are shown.
const MOST: usize = 5;

/// A route that nearly served the request, and what was missing.
#[derive(Debug)]
pub(super) struct Near {
    pub(super) route: Named,
    pub(super) why: String,
}

/// First those whose host and path match; where no route serves the request, then those for another host or with
/// another slash at the end.
pub(super) fn near(config: &Config, compiled: &Compiled, told: &Explanation, x: &Exchange) -> Vec<Near> {
    let missed = told.missed.iter().take(MOST);
    let mut all: Vec<Near> = missed.filter_map(|(route, miss)| missing(compiled, *route, *miss, x)).collect();
    if !told.matching.is_empty() {
        return all;
    }
    let mut seen: Vec<usize> = told.missed.iter().map(|(route, _)| *route).collect();
    let mut add = |other: &Lookup<'_>, why: String| {
        if let Some(route) = best(compiled, other, x).filter(|route| all.len() < MOST && !seen.contains(route)) {
            seen.push(route);
            all.extend(named(compiled, route).map(|route| Near { route, why }));
        }
    };
    let (asked, path) = (lookup(x), x.head.path());
    let other_path = match path.strip_suffix('/') {
        Some("") => None,
        Some(shorter) => Some(shorter.to_owned()),
        None => Some(format!("{path}/")),
    };
    if let Some(path) = other_path.filter(|_| path.starts_with('/')) {
        add(&Lookup { path: path.as_bytes(), ..asked }, format!("the path would have to be {path}"));
    }
    for host in config.apis.iter().flat_map(|api| &api.hosts) {
        let sample = match &host.value {
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Wildcard(suffix) => format!("any.{suffix}"),
        };
        add(&Lookup { host: sample.as_bytes(), ..asked }, format!("the host would have to be {}", host.value));
    }
    all
}

fn missing(compiled: &Compiled, route: usize, miss: Miss, x: &Exchange) -> Option<Near> {
    let why = match miss {
        Miss::Method => format!("it takes {}", compiled.plan.matcher.methods(route).join(", ")),
        Miss::Condition => {
            let failed = conditions(compiled, route, x).into_iter().filter(|(_, holds)| !holds);
            let failed: Vec<String> = failed.map(|(text, _)| text).collect();
            format!("this does not hold: {}", failed.join(" && "))
        }
    };
    named(compiled, route).map(|route| Near { route, why })
}

/// The route that would serve a request like this one.
fn best(compiled: &Compiled, request: &Lookup<'_>, x: &Exchange) -> Option<usize> {
    let seen = Seen::of(x);
    let told = compiled.plan.matcher.explain(request, |conditions| conditions.hold(&seen));
    told.matching.first().copied()
}
