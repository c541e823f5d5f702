//! From config to plan: every mistake of every route at once.

mod action;
mod mirror;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_config::model::{self, Api, Config, Endpoint};
use tollgate_core::diagnostic::{Diagnostic, Severity};
use tollgate_core::dialect::ProblemJson;
use tollgate_core::facts::Route;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::policy::{Hooks, PolicyKind};
use tollgate_core::principal::Sources;
use tollgate_expr::Condition;
use tollgate_observe::metrics::Metrics;

use crate::chain::Chains;
use crate::conditions::Conditions;
use crate::matcher::{Builder, Conflict, HostPattern, Pattern, RouteSpec};
use crate::plan::Plan;
use crate::readings::Readings;
use crate::table::{Action, Bounds, DeadlineField, Fallback, Link, Mirror, RoutePlan};

use action::Services;

/// A config, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// The routes.
    pub plan: Plan,
    /// The services, by slot: the named ones as written, then those written in routes.
    pub services: Vec<(Arc<str>, model::Service)>,
    /// What takes the place of an answer that a service has not, by slot.
    pub fallbacks: Vec<Option<Fallback>>,
    /// Request fields that policies write, each once: nobody else may.
    pub owned: Vec<Bytes>,
    /// What works, but probably not as meant.
    pub warnings: Vec<Diagnostic>,
    /// Where each route of the plan is written.
    pub(crate) places: Vec<Span>,
}

/// Compiles a config. `kinds` are the policies of this build, in their order; `sources` those of identity that it names.
///
/// # Errors
/// Every mistake, and the warnings with them, in the order of their places.
pub fn compile(
    config: &Config,
    kinds: &[&'static PolicyKind],
    sources: &Sources,
    metrics: &Metrics,
    revision: u64,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut compiler = Compiler::new(config, kinds, sources, metrics);
    for api in &config.apis {
        compiler.api(api);
    }
    compiler.finish(revision)
}

struct Compiler<'c> {
    metrics: &'c Metrics,
    chains: Chains<'c>,
    services: Services<'c>,
    routes: Vec<RoutePlan>,
    /// Of those routes whose own matching is right, also if something else is wrong with them: they are compared.
    matcher: Builder<Conditions>,
    /// Their labels and where they stand.
    names: Vec<(&'c str, &'c Span)>,
    labels: HashMap<&'c str, &'c Span>,
    /// Those of the route before.
    upgrades: Arc<[Bytes]>,
    readings: Readings,
    owned: Vec<Bytes>,
    told: Vec<Diagnostic>,
}

impl<'c> Compiler<'c> {
    fn new(config: &'c Config, kinds: &'c [&'static PolicyKind], sources: &'c Sources, metrics: &'c Metrics) -> Self {
        let mut told = Vec::new();
        let chains = Chains::new(kinds, sources, &config.policies, &mut told);
        let services = Services::new(config, sources, &mut told);
        let most = config.apis.iter().map(|api| api.routes.len()).sum();
        let (routes, names, labels) =
            (Vec::with_capacity(most), Vec::with_capacity(most), HashMap::with_capacity(most));
        let (matcher, upgrades) = (Builder::with_room_for(most), Arc::default());
        let readings = Readings::new(&config.paths);
        let owned = Vec::new();
        Self { metrics, chains, services, routes, matcher, names, labels, upgrades, readings, owned, told }
    }

    fn api(&mut self, api: &'c Api) {
        let hosts: Vec<HostPattern> = api.hosts.iter().map(|spanned| spanned.value.clone()).collect();
        self.chains.enter(&api.policies, &mut self.told);
        let name: Arc<str> = api.name.as_ref().map_or("", |name| name.value.as_str()).into();
        for route in &api.routes {
            self.route(&name, &hosts, route);
        }
    }

    fn route(&mut self, api: &Arc<str>, hosts: &[HostPattern], route: &'c model::Route) {
        self.label(route);
        let meta = Arc::new(Route::new(Arc::clone(api), route.label.as_str()));
        let chain = self.chains.build(&route.policies, &meta, &mut self.told);
        let pattern = self.pattern(&route.path, &meta.name);
        let conditions = self.conditions(&route.when);
        let Some(pattern) = pattern else { return };
        let action = self.services.action(route, &pattern, &mut self.told);
        let Some(conditions) = conditions else { return };
        if let Some(mistake) = chain.as_ref().and_then(|chain| mismatch(route, chain, self.chains.kinds())) {
            self.told.push(mistake);
            return;
        }
        if let (Some(chain), Some(action)) = (chain, action) {
            for name in chain.iter().flat_map(|link| link.policy.owned_fields()) {
                if !self.owned.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                    self.owned.push(name);
                }
            }
            let hooks = chain.iter().fold(Hooks::default(), |all, link| Hooks {
                request: all.request || link.hooks.request,
                content: all.content || link.hooks.content,
                attempt: all.attempt || link.hooks.attempt,
                response: all.response || link.hooks.response,
                done: all.done || link.hooks.done,
            });
            let metrics = self.metrics.route(&meta);
            // The names of the plan before, if it knew the route; but where routes are too many, some share counters.
            let meta = if *metrics.route() == meta { Arc::clone(metrics.route()) } else { meta };
            let bounds = bounds(&route.settings);
            let upgrades = self.upgrades(&route.settings);
            let dialect = &ProblemJson;
            let criticality = chain.iter().find_map(|link| link.policy.criticality()).unwrap_or_default();
            let settles_criticality =
                chain.iter().any(|link| link.hooks.request && link.policy.criticality().is_some());
            let mut plan = RoutePlan {
                meta,
                chain,
                criticality,
                settles_criticality,
                hooks,
                action,
                dialect,
                bounds,
                deadline: route.settings.deadline.as_ref().map(|written| Box::new(deadline(written))),
                upgrades,
                metrics,
            };
            let mirror = self.mirror(&plan, route.settings.mirror.as_ref());
            if let Action::Proxy(proxy) = &mut plan.action {
                proxy.mirror = mirror.map(Arc::new);
            }
            self.routes.push(plan);
        }
        self.names.push((&route.label, &route.key.span));
        self.matcher.add(RouteSpec {
            hosts: hosts.to_vec(),
            methods: route.methods.iter().map(|method| method.as_str().to_owned()).collect(),
            pattern,
            condition: Conditions::new(conditions),
            priority: route.priority.into(),
        });
    }

    /// Where copies of the route's requests go, if they go anywhere.
    fn mirror(&mut self, route: &RoutePlan, written: Option<&model::Mirror>) -> Option<Mirror> {
        let (Some(written), Action::Proxy(proxy)) = (written, &route.action) else { return None };
        let to = self.services.only(&written.to, &mut self.told)?;
        mirror::mirror(written, to, route, proxy, self.metrics)
    }

    /// The protocols that may take over. Nearly all routes say the same, and then share the list.
    fn upgrades(&mut self, settings: &model::Settings) -> Arc<[Bytes]> {
        let named = settings.upgrade.iter().flat_map(|upgrade| &upgrade.protocols);
        let list: Vec<Bytes> = named.map(|name| Bytes::copy_from_slice(name.as_str().as_bytes())).collect();
        if *self.upgrades != *list {
            self.upgrades = list.into();
        }
        Arc::clone(&self.upgrades)
    }

    /// State, counters and logs know a route by its label.
    fn label(&mut self, route: &'c model::Route) {
        let place = route.name.as_ref().map_or(&route.key.span, |name| &name.span);
        if let Some(first) = self.labels.insert(&route.label, place) {
            let mistake = Diagnostic::error(format!("two routes are called `{}`", route.label)).at(place);
            self.told.push(mistake.related(first, "the other one").hint("give one of them another `name`"));
        }
    }

    /// Mostly a route is called by its path: then they share the text.
    fn pattern(&mut self, path: &Spanned<String>, label: &Arc<str>) -> Option<Pattern> {
        let text = if **label == *path.value { Arc::clone(label) } else { path.value.as_str().into() };
        let refuse = |e: crate::matcher::PatternError| {
            let mistake = Diagnostic::error(e.message).at(&path.span.within(&path.value, e.offset));
            self.told.push(Diagnostic { hint: e.hint, ..mistake });
        };
        Pattern::parse(text).map_err(refuse).ok()
    }

    /// `None`: one of them is wrong, and it is told.
    fn conditions(&mut self, when: &[Spanned<String>]) -> Option<Vec<Condition>> {
        let mut compiled = Vec::with_capacity(when.len());
        for text in when {
            match Condition::compile(&text.value) {
                Ok(condition) => compiled.push(condition),
                Err(e) => {
                    let mistake = Diagnostic::error(e.message).at(&text.span.within(&text.value, e.offset));
                    self.told.push(Diagnostic { hint: e.hint, ..mistake });
                }
            }
        }
        (compiled.len() == when.len()).then_some(compiled)
    }

    fn finish(mut self, revision: u64) -> Result<Compiled, Vec<Diagnostic>> {
        let matcher = match self.matcher.build() {
            Ok(matcher) => Some(matcher),
            Err(conflicts) => {
                self.told.extend(conflicts.iter().map(|found| conflict(found, &self.names)));
                None
            }
        };
        self.told.sort_by_cached_key(|found| found.span.as_ref().map(|s| (s.source.name.clone(), s.start)));
        match matcher {
            Some(matcher) if self.told.iter().all(|found| found.severity == Severity::Warning) => {
                let plan = Plan::new(revision, matcher, self.routes.into(), self.readings, self.metrics);
                let places = self.names.iter().map(|(_, span)| (*span).clone()).collect();
                let (fallbacks, services) = (self.services.take_fallbacks(), self.services.into_slots());
                Ok(Compiled { plan, services, fallbacks, owned: self.owned, warnings: self.told, places })
            }
            _ => Err(self.told),
        }
    }
}

fn conflict(conflict: &Conflict, names: &[(&str, &Span)]) -> Diagnostic {
    let (blamed, other) = conflict.routes();
    let other = other.and_then(|other| names.get(other));
    let Some((name, span)) = names.get(blamed) else { return Diagnostic::error(conflict.to_string()) };
    let message = match (conflict, other) {
        (Conflict::Tie { .. }, Some((other, _))) => {
            format!("`{name}` and `{other}` can match the same request, and neither is more specific")
        }
        (Conflict::Shadowed { .. }, Some((other, _))) => {
            format!("`{name}` can never match: `{other}` takes all its requests")
        }
        _ => conflict.to_string(),
    };
    let mistake = Diagnostic::error(message).at(span).hint(conflict.hint());
    match other {
        Some((_, span)) => mistake.related(span, "the other route"),
        None => mistake,
    }
}

/// What is wrong with policies on a route that does this.
fn mismatch(route: &model::Route, chain: &[Link], kinds: &[&'static PolicyKind]) -> Option<Diagnostic> {
    let has_auth = chain.iter().any(|link| link.knows_callers);
    match &route.action {
        model::Action::Serve(word) if matches!(word.value, Endpoint::Check | Endpoint::Introspect) && !has_auth => {
            let what = format!("`serve: {}` without `auth` tells everybody", word.value.as_str());
            return Some(Diagnostic::error(what).at(&word.span).hint("say who may ask: `auth: keys`"));
        }
        model::Action::Serve(word) if word.value == Endpoint::Login && has_auth => {
            let mistake = Diagnostic::error("behind `auth` nobody can sign in").at(&word.span);
            return Some(mistake.hint("for everybody: `auth: none`"));
        }
        model::Action::Forward { .. } => return None,
        _ => {}
    }
    // What `defaults` say is for those that it fits.
    let is_onward = |key: &str| kinds.iter().any(|kind| kind.name == key && kind.is_onward);
    let own = route.policies.iter().find(|entry| is_onward(&entry.key) && entry.value.text() != Some("none"))?;
    let mistake =
        Diagnostic::error(format!("nothing is sent on by route `{}`, so `{}` is of no use", route.label, own.key));
    Some(mistake.at(&own.key_span).hint("it is for routes with `to`"))
}

fn deadline(written: &model::Deadline) -> DeadlineField {
    DeadlineField { name: written.header.as_str().into(), unit: written.unit, accept: written.accept }
}

fn bounds(settings: &model::Settings) -> Bounds {
    Bounds {
        timeout: at_most(settings.timeout),
        idle: at_most(settings.idle),
        total: settings.total.map(at_most),
        body: settings.body.unwrap_or(u64::MAX),
        tunnel_idle: settings.upgrade.as_ref().map_or(Duration::ZERO, |upgrade| at_most(upgrade.idle.0)),
    }
}

/// Points in time stay within what the clock can hold.
pub(crate) fn at_most(duration: Duration) -> Duration {
    duration.min(Duration::from_secs(366 * 24 * 3600))
}
