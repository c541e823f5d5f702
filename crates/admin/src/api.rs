//! What can be asked: a list, from which the routes and the OpenAPI document are made.

use std::sync::Arc;

use tollgate_core::control::{Actor, Control, NotReloaded, Reloaded, View, Welcome};
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_core::serde_json::{Value, json};

use crate::faults::{CONFIG_REFUSED, UNAVAILABLE};
use crate::guard::{Guard, Verdict};
use crate::openapi;
use crate::registry::{self, Ask, Registry};

/// One thing that can be asked.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// For the document: what it is called, and what it does.
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) does: Does,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Show(View),
    Reload,
    Welcome(Welcome),
    Describe,
    /// Answered by the registry, if the process has one.
    Registry(Ask),
}

const fn show(path: &'static str, view: View, name: &'static str, summary: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, name, summary, does: Does::Show(view) }
}

const fn change(path: &'static str, does: Does, name: &'static str, summary: &'static str) -> Endpoint {
    Endpoint { method: "POST", path, name, summary, does }
}

const fn ask(
    method: &'static str,
    path: &'static str,
    ask: Ask,
    name: &'static str,
    summary: &'static str,
) -> Endpoint {
    Endpoint { method, path, name, summary, does: Does::Registry(ask) }
}

/// One instance.
const INSTANCE: &str = "/v1/registry/services/{service}/instances/{id}";

/// All of it.
pub(crate) const ENDPOINTS: &[Endpoint] = &[
    show("/v1/status", View::Status, "status", "The gateway in short: version, readiness, listeners, numbers."),
    show(
        "/v1/config",
        View::Config,
        "config",
        "The config in short: in force, refused last, and the last 50 attempts.",
    ),
    show(
        "/v1/config/running",
        View::Running,
        "runningConfig",
        "The config in force, long forms only, without its secrets.",
    ),
    show("/v1/config/refused", View::Refused, "refusedConfig", "Why the last config was refused; null if it was not."),
    show("/v1/routes", View::Routes, "routes", "The routes, in the order of the config."),
    show("/v1/services", View::Services, "services", "The services, their instances and the health of those."),
    show("/v1/connections", View::Connections, "connections", "Connections and requests, in numbers."),
    change("/v1/reload", Does::Reload, "reload", "Reads the config again and brings it into force, or says why not."),
    change("/v1/drain", Does::Welcome(Welcome::Off), "drain", "Not ready from now on; what comes is served."),
    change("/v1/undrain", Does::Welcome(Welcome::On), "undrain", "Ready again."),
    ask(
        "GET",
        "/v1/registry/services",
        Ask::Services,
        "services.list",
        "The services of which instances are registered.",
    ),
    ask(
        "GET",
        "/v1/registry/instances",
        Ask::Instances,
        "instances.all",
        "The instances of all services, or what changes in them.",
    ),
    ask(
        "GET",
        "/v1/registry/services/{service}/instances",
        Ask::Instances,
        "instances.list",
        "The instances of a service, or what changes in them.",
    ),
    ask("GET", INSTANCE, Ask::Get, "instances.get", "One instance."),
    ask("PUT", INSTANCE, Ask::Register, "instances.register", "Registers an instance, changes it, or renews it."),
    ask(
        "DELETE",
        INSTANCE,
        Ask::Deregister,
        "instances.deregister",
        "Takes an instance away, also if it is not there.",
    ),
    ask(
        "POST",
        "/v1/registry/services/{service}/instances/{id}/renew",
        Ask::Renew,
        "instances.renew",
        "The instance is still there, and so busy.",
    ),
    ask(
        "POST",
        "/v1/registry/services/{service}/instances/{id}/drain",
        Ask::Drain,
        "instances.drain",
        "The instance gets no new requests.",
    ),
    ask(
        "POST",
        "/v1/registry/services/{service}/instances/{id}/undrain",
        Ask::Undrain,
        "instances.undrain",
        "The instance gets requests again.",
    ),
    Endpoint {
        method: "GET",
        path: "/v1/openapi.json",
        name: "openapi",
        summary: "This document.",
        does: Does::Describe,
    },
];

/// Method and path of everything that is served.
pub fn served() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENDPOINTS.iter().map(|endpoint| (endpoint.method, endpoint.path))
}

/// The routes of an admin listener: method, path, what answers. `registry`: without it, its part is not served.
#[must_use]
pub fn routes(
    control: &Arc<dyn Control>,
    guard: Guard,
    registry: Option<Registry>,
) -> Vec<(&'static str, &'static str, Arc<dyn Handler>)> {
    let (guard, registry) = (Arc::new(guard), registry.map(Arc::new));
    let route = |endpoint: &'static Endpoint| {
        let guard = Arc::clone(&guard);
        let answers: Arc<dyn Handler> = match endpoint.does {
            Does::Registry(ask) => Arc::new(registry::Answers { ask, registry: registry.clone()?, guard }),
            _ => Arc::new(Answers { endpoint, control: Arc::clone(control), guard }),
        };
        Some((endpoint.method, endpoint.path, answers))
    };
    ENDPOINTS.iter().filter_map(route).collect()
}

/// Answers one of them.
#[derive(Debug)]
struct Answers {
    endpoint: &'static Endpoint,
    control: Arc<dyn Control>,
    guard: Arc<Guard>,
}

impl Handler for Answers {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let (verdict, by) = (self.guard.judge(x), Actor::Token(x.client));
        Box::pin(self.answer(verdict, by))
    }

    fn describe(&self) -> String {
        "the admin API".to_owned()
    }
}

impl Answers {
    async fn answer(&self, verdict: Verdict, by: Actor) -> Result<Reply, Problem> {
        self.guard.admit(verdict).await?;
        match self.endpoint.does {
            Does::Show(view) => self.control.show(view).await.map(text).ok_or_else(|| UNAVAILABLE.problem()),
            Does::Reload => self.control.reload(by).await.map(reloaded).map_err(not_reloaded),
            Does::Welcome(welcome) => {
                self.control.welcome(welcome, by).await.ok_or_else(|| UNAVAILABLE.problem())?;
                Ok(answer(&json!({ "drained": welcome == Welcome::Off })))
            }
            Does::Describe => Ok(answer(&openapi::document())),
            // It answers by itself.
            Does::Registry(_) => Err(UNAVAILABLE.problem()),
        }
    }
}

fn reloaded(done: Reloaded) -> Reply {
    answer(&match done {
        Reloaded::Applied { revision, warnings } => {
            json!({ "changed": true, "revision": revision, "warnings": warnings })
        }
        Reloaded::Unchanged { revision } => json!({ "changed": false, "revision": revision, "warnings": "" }),
    })
}

fn not_reloaded(why: NotReloaded) -> Problem {
    match why {
        NotReloaded::Refused(report) => {
            CONFIG_REFUSED.problem().detail("the config before stays in force").member("report", report)
        }
        NotReloaded::Unavailable => UNAVAILABLE.problem(),
    }
}

fn answer(value: &Value) -> Reply {
    text(value.to_string())
}

fn text(mut text: String) -> Reply {
    text.push('\n');
    Reply::full(200, "application/json", text)
        .header("Cache-Control", "no-store")
        .header("X-Content-Type-Options", "nosniff")
}
