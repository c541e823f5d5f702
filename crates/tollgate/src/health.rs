//! What the health listener answers: alive, ready, metrics, status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::reply::Reply;
use tollgate_engine::{Deployment, Drain, Rules};
use tollgate_observe::metrics::Metrics;
use tollgate_plan::Plan;

use crate::scrape::Scrape;
use crate::status::Status;

/// Not all sockets are bound yet, or the gateway is stopping.
pub(crate) static NOT_READY: Fault = Fault::gateway(
    "health/not-ready",
    503,
    "Not ready",
    "The config is not applied and all sockets bound yet, or the gateway is stopping: send no new traffic here.",
);

/// All of them, for the catalogue.
pub(crate) static FAULTS: &[&Fault] = &[&NOT_READY];

/// Whether new traffic is welcome.
#[derive(Debug)]
pub(crate) struct Readiness {
    started: AtomicBool,
    leads: AtomicBool,
    handed_over: AtomicBool,
    taken_out: AtomicBool,
    drain: Arc<Drain>,
}

impl Readiness {
    pub(crate) fn new(drain: Arc<Drain>) -> Arc<Self> {
        Arc::new(Self {
            started: AtomicBool::new(false),
            leads: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            taken_out: AtomicBool::new(false),
            drain,
        })
    }

    /// The config is applied and all sockets are bound.
    pub(crate) fn started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// It will stop soon: new traffic should go elsewhere, though what comes is served.
    pub(crate) fn leads(&self) {
        self.leads.store(true, Ordering::Release);
    }

    /// Another process serves on the same sockets: whoever asks this one, on a connection that it has yet, asks for both.
    pub(crate) fn handed_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    /// Whoever runs it takes it out, or puts it back: new traffic should go elsewhere, though what comes is served.
    pub(crate) fn take_out(&self, is_out: bool) {
        self.taken_out.store(is_out, Ordering::Release);
    }

    /// Whether it is taken out.
    pub(crate) fn is_out(&self) -> bool {
        self.taken_out.load(Ordering::Acquire)
    }

    /// Whether new traffic is welcome.
    pub(crate) fn is_ready(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        !is(&self.taken_out)
            && (is(&self.handed_over) || is(&self.started) && !is(&self.leads) && !self.drain.is_begun())
    }
}

/// Liveness: the process answers.
#[derive(Debug)]
struct Live;

impl Handler for Live {
    fn call<'a>(&'a self, _: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(std::future::ready(Ok(json(200, "{\"status\":\"live\"}\n".to_owned()))))
    }
}

#[derive(Debug)]
struct Ready(Arc<Readiness>);

impl Handler for Ready {
    fn call<'a>(&'a self, _: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let answer = match self.0.is_ready() {
            true => Ok(json(200, "{\"status\":\"ready\"}\n".to_owned())),
            false => Err(NOT_READY.problem()),
        };
        Box::pin(std::future::ready(answer))
    }
}

#[derive(Debug)]
struct ShowStatus(Arc<Status>);

impl Handler for ShowStatus {
    fn call<'a>(&'a self, _: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let mut text = self.0.now().to_string();
        text.push('\n');
        Box::pin(std::future::ready(Ok(json(200, text))))
    }
}

fn json(status: u16, text: String) -> Reply {
    Reply::full(status, "application/json", text).header("Cache-Control", "no-store")
}

/// What a health listener serves.
pub(crate) fn deployment(
    readiness: &Arc<Readiness>,
    scrape: Scrape,
    metrics: &Arc<Metrics>,
    status: &Arc<Status>,
    rules: &Arc<Rules>,
) -> Result<Deployment, Vec<tollgate_core::diagnostic::Diagnostic>> {
    let routes: Vec<(&str, &str, Arc<dyn Handler>)> = vec![
        ("GET", "/health/live", Arc::new(Live)),
        ("GET", "/health/ready", Arc::new(Ready(Arc::clone(readiness)))),
        ("GET", "/metrics", Arc::new(scrape)),
        ("GET", "/status", Arc::new(ShowStatus(Arc::clone(status)))),
    ];
    let plan = Arc::new(Plan::of_handlers(routes, metrics)?);
    Ok(Deployment::new(plan, Arc::new([]), Arc::clone(rules)))
}
