//! What a route does, and the services that it takes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tollgate_config::model::{self, Config, Destination, Endpoint, FallbackOn, OrNone};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::facts::ServiceRef;
use tollgate_core::handler::Handler;
use tollgate_core::node::Spanned;
use tollgate_core::principal::Sources;
use tollgate_files::Files;

use crate::compile::at_most;
use crate::hedge::Hedge;
use crate::matcher::Pattern;
use crate::table::{Action, Fallback, Fixed, Instead, Proxy, Redirect, Says};
use crate::template::{PathPlan, TargetPlan};

/// All services by slot, as they are found.
pub(super) struct Services<'c> {
    slots: Vec<(Arc<str>, model::Service)>,
    /// What stands in for them, by slot.
    fallbacks: Vec<Option<Fallback>>,
    /// Those that are named in the file.
    named: HashMap<&'c str, Known<'c>>,
    /// What answers at routes of the gateway's own.
    endpoints: &'c [(&'static str, Arc<dyn Handler>)],
}

/// A service that is named in the file.
struct Known<'c> {
    name: &'c Spanned<String>,
    /// As the only target of a route: one list for all such routes.
    only: Targets,
}

/// Services, each with the sum of the weights up to it.
pub(super) type Targets = Arc<[(ServiceRef, u32)]>;

impl<'c> Services<'c> {
    /// With those that are named in the file, used or not.
    pub(super) fn new(config: &'c Config, sources: &'c Sources, told: &mut Vec<Diagnostic>) -> Self {
        let endpoints = &sources.endpoints;
        let mut services = Self { slots: Vec::new(), fallbacks: Vec::new(), named: HashMap::new(), endpoints };
        for (slot, (name, service)) in config.services.iter().enumerate() {
            let service_ref = ServiceRef { name: name.value.as_str().into(), slot };
            services.slots.push((Arc::clone(&service_ref.name), service.clone()));
            services.named.insert(&name.value, Known { name, only: Arc::new([(service_ref, 1)]) });
        }
        // Once all are known by name.
        for (_, service) in &config.services {
            let fallback = service.fallback.as_ref().and_then(|written| services.fallback(written, told));
            services.fallbacks.push(fallback);
        }
        services
    }

    /// In the order of their slots.
    pub(super) fn into_slots(self) -> Vec<(Arc<str>, model::Service)> {
        self.slots
    }

    /// What stands in for each, in the order of the slots.
    pub(super) fn take_fallbacks(&mut self) -> Vec<Option<Fallback>> {
        let mut fallbacks = std::mem::take(&mut self.fallbacks);
        // What is written in a route has its fallback there.
        fallbacks.resize_with(self.slots.len(), || None);
        fallbacks
    }

    /// What a route does. `None`: it cannot be done, and that is told.
    pub(super) fn action(
        &mut self,
        route: &model::Route,
        pattern: &Pattern,
        told: &mut Vec<Diagnostic>,
    ) -> Option<Action> {
        match &route.action {
            model::Action::Forward { to, path } => {
                let change = path.as_ref().map(|change| PathPlan::compile(change, pattern, &route.path.span));
                let targets = self.targets(to, route, told);
                let path = change.transpose().map_err(|mistake| told.push(mistake)).ok()?;
                let host = route.settings.host.as_ref().map(|host| bytes(host.as_str()));
                let retries = route.settings.retries;
                let try_timeout = match &route.settings.try_timeout {
                    None => Says::AsService,
                    Some(OrNone::None) => Says::None,
                    Some(OrNone::Some(most)) => Says::Some(at_most(most.0)),
                };
                let fallback = match &route.settings.fallback {
                    None => Says::AsService,
                    Some(OrNone::None) => Says::None,
                    Some(OrNone::Some(written)) => Says::Some(self.fallback(written, told)?),
                };
                Some(Action::Proxy(Proxy {
                    targets: targets?,
                    path,
                    host,
                    retries,
                    try_timeout,
                    hedge: route.settings.hedge.as_ref().map(|written| Box::new(Hedge::new(written))),
                    fallback,
                    mirror: None,
                }))
            }
            model::Action::Redirect(redirect) => {
                let to = TargetPlan::compile(&redirect.to, pattern).map_err(|mistake| told.push(mistake)).ok()?;
                Some(Action::Redirect(Redirect { status: redirect.status.get(), to }))
            }
            model::Action::Reply(reply) => Some(Action::Fixed(fixed(reply))),
            model::Action::Serve(word) => {
                let found = self.endpoints.iter().find(|(name, _)| *name == word.value.as_str());
                if found.is_none() {
                    let mistake = Diagnostic::error(format!("there is nothing to `serve: {}`", word.value.as_str()));
                    told.push(mistake.at(&word.span).hint(match word.value {
                        Endpoint::Login => {
                            "a source under `auth` at which people sign in: `login: https://idp.example.com`"
                        }
                        _ => "the section `issuer` says who the gateway is to services",
                    }));
                }
                found.map(|(_, handler)| Action::Serve(Arc::clone(handler)))
            }
            model::Action::Files(written) => files(written, pattern, route).map_err(|mistake| told.push(mistake)).ok(),
        }
    }

    fn targets(&mut self, to: &Destination, route: &model::Route, told: &mut Vec<Diagnostic>) -> Option<Targets> {
        match to {
            Destination::Service(name) => Some(Arc::clone(self.named(name, told)?)),
            Destination::Split(parts) => {
                let mut sum = 0u32;
                // All are looked at, so that every unknown one is told.
                let found: Vec<_> = parts.iter().map(|(name, weight)| (self.named(name, told), *weight)).collect();
                let running = found.into_iter().map(|(only, weight)| {
                    sum = sum.saturating_add(weight);
                    Some((only?.first()?.0.clone(), sum))
                });
                running.collect()
            }
            Destination::Inline(service) => {
                let name: Arc<str> = route.label.as_str().into();
                // Counters and connections are kept by a service's name.
                if let Some(known) = self.named.get(&*name) {
                    let mistake = Diagnostic::error(format!("the service of this route would be called `{name}`, too"));
                    let place = route.name.as_ref().map_or(&route.key.span, |name| &name.span);
                    let mistake = mistake.at(place).related(&known.name.span, "the service of this name");
                    told.push(mistake.hint("give the route another `name`, or send it to that service"));
                    return None;
                }
                self.slots.push((Arc::clone(&name), (**service).clone()));
                Some(Arc::new([(ServiceRef { name, slot: self.slots.len() - 1 }, 1)]))
            }
        }
    }

    /// What takes the place of an answer. `None`: there is no such service, and that is told.
    fn fallback(&self, written: &model::Fallback, told: &mut Vec<Diagnostic>) -> Option<Fallback> {
        let instead = match (&written.to, &written.reply) {
            (Some(name), _) => Instead::Service(self.named(name, told)?.first()?.0.clone()),
            (None, Some(reply)) => Instead::Fixed(fixed(reply)),
            (None, None) => return None,
        };
        let on = written.on.as_ref().map_or(&FallbackOn::USUAL[..], |on| &on.value);
        Some(Fallback { instead, on: on.into() })
    }

    /// The service that a route without anything else would be sent to. `None`: there is no such service, and that is told.
    pub(super) fn only(&self, name: &Spanned<String>, told: &mut Vec<Diagnostic>) -> Option<Targets> {
        self.named(name, told).map(Arc::clone)
    }

    fn named(&self, name: &Spanned<String>, told: &mut Vec<Diagnostic>) -> Option<&Targets> {
        let found = self.named.get(name.value.as_str()).map(|known| &known.only);
        if found.is_none() {
            told.push(Diagnostic::error(format!("there is no service `{}`", name.value)).at(&name.span));
        }
        found
    }
}

/// What `**` stands for is the path below the directory.
fn files(written: &model::Files, pattern: &Pattern, route: &model::Route) -> Result<Action, Diagnostic> {
    let Some(before) = pattern.text().strip_suffix("/**").filter(|_| pattern.has_tail()) else {
        let mistake = Diagnostic::error("the path of a route with `files` ends in `/**`").at(&route.path.span);
        return Err(mistake.hint("what `**` stands for is the path below the directory"));
    };
    Ok(Action::Serve(Arc::new(Files::build(written, before.matches('/').count())?)))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn fixed(reply: &model::Reply) -> Fixed {
    let body = reply.body.as_ref().map_or_else(Bytes::new, |body| bytes(&body.value));
    let mut fields = Vec::new();
    if !body.is_empty() {
        fields.push((Bytes::from_static(b"Content-Type"), bytes(reply.media_type.as_str())));
    }
    fields.extend(reply.headers.iter().flat_map(|h| &h.0).map(|(n, v)| (bytes(n.value.as_str()), bytes(v.as_str()))));
    Fixed { status: reply.status.get(), fields: fields.into(), body }
}
