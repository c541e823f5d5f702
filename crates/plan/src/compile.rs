//! From config to plan: every mistake of every route at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_config::model::{self, Api, Config, Destination, HostPattern as HostText};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::dialect::ProblemJson;
use tollgate_core::facts::{Route, ServiceRef};
use tollgate_core::node::{Span, Spanned};
use tollgate_core::policy::{Hooks, PolicyKind};
use tollgate_expr::Condition;
use tollgate_observe::metrics::Metrics;

use crate::chain::Chains;
use crate::matcher::{Conflict, HostPattern, Matcher, Pattern, RouteSpec};
use crate::plan::Plan;
use crate::table::{Action, Bounds, Fixed, Proxy, Redirect, RoutePlan};
use crate::template::{PathPlan, TargetPlan};

/// A config, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// The routes.
    pub plan: Plan,
    /// The services, by slot: the named ones as written, then those written in routes.
    pub services: Vec<(Arc<str>, model::Service)>,
    /// What works, but probably not as meant.
    pub warnings: Vec<Diagnostic>,
    /// Where each route of the plan is written.
    pub(crate) places: Vec<Span>,
}

/// Compiles a config. `kinds` are the policies of this build, in their order.
///
/// # Errors
/// Every mistake, in the order of the routes.
pub fn compile(
    config: &Config,
    kinds: &[&'static PolicyKind],
    metrics: &Metrics,
    revision: u64,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut compiler = Compiler::new(config, kinds, metrics);
    for api in &config.apis {
        compiler.api(api);
    }
    compiler.finish(revision)
}

struct Compiler<'c> {
    metrics: &'c Metrics,
    chains: Chains<'c>,
    services: Vec<(Arc<str>, model::Service)>,
    slots: HashMap<String, usize>,
    specs: Vec<RouteSpec<Condition>>,
    routes: Vec<RoutePlan>,
    places: Vec<Span>,
    mistakes: Vec<Diagnostic>,
}

impl<'c> Compiler<'c> {
    fn new(config: &'c Config, kinds: &'c [&'static PolicyKind], metrics: &'c Metrics) -> Self {
        let services: Vec<(Arc<str>, model::Service)> =
            config.services.iter().map(|(name, service)| (name.value.as_str().into(), service.clone())).collect();
        let slots = config.services.iter().enumerate().map(|(slot, (name, _))| (name.value.clone(), slot)).collect();
        let mut mistakes = Vec::new();
        let chains = Chains::new(kinds, &config.policies, &mut mistakes);
        let (specs, routes, places) = (Vec::new(), Vec::new(), Vec::new());
        Self { metrics, chains, services, slots, specs, routes, places, mistakes }
    }

    fn api(&mut self, api: &'c Api) {
        let mut hosts = Vec::new();
        for host in &api.hosts {
            let text = match &host.value {
                HostText::Exact(name) => name.clone(),
                HostText::Wildcard(suffix) => format!("*.{suffix}"),
            };
            match HostPattern::parse(&text) {
                Ok(pattern) => hosts.push(pattern),
                Err(e) => self.mistakes.push(Diagnostic::error(e.message).at(&host.span)),
            }
        }
        self.chains.enter(&api.policies, &mut self.mistakes);
        let name = api.name.as_ref().map_or(String::new(), |name| name.value.clone());
        for route in &api.routes {
            self.route(&name, &hosts, route);
        }
    }

    fn route(&mut self, api: &str, hosts: &[HostPattern], route: &'c model::Route) {
        let meta = Arc::new(Route { name: route.label.clone(), api: api.to_owned() });
        let pattern = match Pattern::parse(&route.path.value) {
            Ok(pattern) => Some(pattern),
            Err(e) => {
                let at = route.path.span.narrow(route.path.value.get(e.offset..).unwrap_or_default());
                self.mistakes.push(hinted(Diagnostic::error(e.message).at(&at), e.hint));
                None
            }
        };
        let condition = self.condition(&route.when);
        let links = self.chains.build(&route.policies, &meta, &mut self.mistakes);
        let Some(pattern) = pattern else { return };
        let action = match self.action(route, &pattern) {
            Ok(action) => action,
            Err(mistake) => return self.mistakes.push(mistake),
        };
        let (Some(chain), Ok(condition)) = (links, condition) else { return };
        let hooks = chain.iter().fold(Hooks::default(), |all, link| Hooks {
            request: all.request || link.hooks.request,
            response: all.response || link.hooks.response,
            done: all.done || link.hooks.done,
        });
        let metrics = self.metrics.route(api, &route.label);
        let bounds = bounds(&route.settings);
        self.routes.push(RoutePlan { meta, chain, hooks, action, dialect: &ProblemJson, bounds, metrics });
        self.places.push(route.key.span.clone());
        self.specs.push(RouteSpec {
            hosts: hosts.to_vec(),
            methods: route.methods.iter().map(|method| method.as_str().to_owned()).collect(),
            pattern,
            condition,
            priority: route.priority.into(),
        });
    }

    /// All conditions as one. `Err`: reported.
    fn condition(&mut self, when: &[Spanned<String>]) -> Result<Option<Condition>, ()> {
        let mut well = true;
        for text in when {
            if let Err(e) = Condition::compile(&text.value) {
                let at = text.span.narrow(text.value.get(e.offset..).unwrap_or_default());
                self.mistakes.push(hinted(Diagnostic::error(e.message).at(&at), e.hint));
                well = false;
            }
        }
        match when {
            _ if !well => Err(()),
            [] => Ok(None),
            [one] => Condition::compile(&one.value).map(Some).map_err(|_| ()),
            many => {
                let all: Vec<String> = many.iter().map(|text| format!("({})", text.value)).collect();
                Condition::compile(&all.join(" && ")).map(Some).map_err(|e| {
                    self.mistakes.extend(many.first().map(|text| Diagnostic::error(e.message).at(&text.span)));
                })
            }
        }
    }

    fn action(&mut self, route: &model::Route, pattern: &Pattern) -> Result<Action, Diagnostic> {
        match &route.action {
            model::Action::Forward { to, path } => {
                let path = path.as_ref().map(|change| PathPlan::compile(change, pattern)).transpose()?;
                let host = route.settings.host.as_ref().map(|host| Bytes::copy_from_slice(host.as_str().as_bytes()));
                let targets = self.targets(to, &route.label)?;
                Ok(Action::Proxy(Proxy { targets, path, host, retries: route.settings.retries }))
            }
            model::Action::Redirect(redirect) => {
                let to = TargetPlan::compile(&redirect.to.value.pieces, pattern, &redirect.to.span)?;
                Ok(Action::Redirect(Redirect { status: redirect.status.get(), to }))
            }
            model::Action::Reply(reply) => Ok(Action::Fixed(fixed(reply))),
        }
    }

    fn targets(&mut self, to: &Destination, label: &str) -> Result<Box<[(ServiceRef, u32)]>, Diagnostic> {
        match to {
            Destination::Service(name) => Ok(Box::new([(self.named(name)?, 1)])),
            Destination::Split(parts) => {
                let mut sum = 0u32;
                let running = parts.iter().map(|(name, weight)| {
                    sum = sum.saturating_add(*weight);
                    Ok((self.named(name)?, sum))
                });
                running.collect()
            }
            Destination::Inline(service) => {
                let name: Arc<str> = label.into();
                self.services.push((Arc::clone(&name), (**service).clone()));
                Ok(Box::new([(ServiceRef { name, slot: self.services.len() - 1 }, 1)]))
            }
        }
    }

    fn named(&self, name: &Spanned<String>) -> Result<ServiceRef, Diagnostic> {
        let slot = self.slots.get(&name.value).copied();
        let found = slot.and_then(|slot| self.services.get(slot).map(|(name, _)| (slot, Arc::clone(name))));
        match found {
            Some((slot, name)) => Ok(ServiceRef { name, slot }),
            None => Err(Diagnostic::error(format!("there is no service `{}`", name.value)).at(&name.span)),
        }
    }

    fn finish(self, revision: u64) -> Result<Compiled, Vec<Diagnostic>> {
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        let (places, routes) = (self.places, self.routes);
        match Matcher::build(self.specs) {
            Ok(matcher) => {
                let plan = Plan::new(revision, matcher, routes.into(), self.metrics);
                Ok(Compiled { plan, services: self.services, warnings: Vec::new(), places })
            }
            Err(conflicts) => Err(conflicts.iter().map(|c| conflict(c, &places, &routes)).collect()),
        }
    }
}

fn conflict(conflict: &Conflict, places: &[Span], routes: &[RoutePlan]) -> Diagnostic {
    let (blame, other) = conflict.routes();
    let name = |route: usize| routes.get(route).map_or("?", |plan| plan.meta.name.as_str());
    let message = match conflict {
        Conflict::Tie { .. } => format!(
            "`{}` and `{}` can match the same request, and neither is more specific",
            name(blame),
            other.map_or("?", name)
        ),
        Conflict::Shadowed { .. } => {
            format!("`{}` can never match: `{}` takes all its requests", name(blame), other.map_or("?", name))
        }
        other => other.to_string(),
    };
    let mut mistake = Diagnostic::error(message).hint(conflict.hint());
    if let Some(place) = places.get(blame) {
        mistake = mistake.at(place);
    }
    match other.and_then(|other| places.get(other)) {
        Some(place) => mistake.related(place, "the other route"),
        None => mistake,
    }
}

fn hinted(mistake: Diagnostic, hint: Option<String>) -> Diagnostic {
    match hint {
        Some(hint) => mistake.hint(hint),
        None => mistake,
    }
}

fn bounds(settings: &model::Settings) -> Bounds {
    Bounds {
        timeout: at_most(settings.timeout),
        idle: at_most(settings.idle),
        total: settings.total.map(at_most),
        body: settings.body.unwrap_or(u64::MAX),
    }
}

/// Points in time stay within what the clock can hold.
fn at_most(duration: Duration) -> Duration {
    duration.min(Duration::from_secs(366 * 24 * 3600))
}

fn fixed(reply: &model::Reply) -> Fixed {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let body = reply.body.as_ref().map_or_else(Bytes::new, |body| bytes(&body.value));
    let mut fields = Vec::new();
    if !body.is_empty() {
        fields.push((Bytes::from_static(b"Content-Type"), bytes(reply.media_type.as_str())));
    }
    fields.extend(reply.headers.iter().flat_map(|h| &h.0).map(|(n, v)| (bytes(n.value.as_str()), bytes(v.as_str()))));
    Fixed { status: reply.status.get(), fields: fields.into(), body }
}
