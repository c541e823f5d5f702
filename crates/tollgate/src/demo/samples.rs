//! The sample services: what a company might have behind its gateway.

use std::sync::Arc;

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_engine::{Deployment, Rules};
use tollgate_observe::metrics::Metrics;
use tollgate_plan::Plan;

/// A sample service on one port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Its port.
    pub(crate) port: u16,
    /// What it does.
    pub(crate) about: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Orders,
    Stock,
    Legacy,
}

/// All of them.
pub(crate) fn all() -> [Sample; 4] {
    let sample = |name, port, about, kind| Sample { name, port, about, kind };
    [
        sample("orders", 9001, "first instance of orders", Kind::Orders),
        sample("orders", 9002, "second instance of orders", Kind::Orders),
        sample("stock", 9003, "stock", Kind::Stock),
        sample("legacy", 9004, "an old system that speaks XML", Kind::Legacy),
    ]
}

impl Sample {
    /// What is served on its port.
    pub(crate) fn deployment(&self, metrics: &Arc<Metrics>, rules: &Arc<Rules>) -> Result<Deployment, Vec<Diagnostic>> {
        let handler: Arc<dyn Handler> = Arc::new(*self);
        let plan = Arc::new(Plan::of_handlers(vec![("", "/**", handler)], metrics)?);
        Ok(Deployment::new(plan, Arc::new([]), Arc::clone(rules)))
    }

    fn reply(&self, x: &Exchange) -> Reply {
        let path = x.head.path();
        match self.kind {
            Kind::Orders => {
                let id = x.head.fields.text("x-correlation-id").unwrap_or_default();
                let mut text = serde_json::json!({ "service": "orders", "instance": self.port, "path": path, "correlation_id": id });
                if let Some(user) = x.head.fields.text("x-user") {
                    text["user"] = user.into();
                }
                Reply::full(200, "application/json", format!("{text}\n"))
            }
            Kind::Stock => match path.strip_prefix("/items/") {
                Some(item) => {
                    let text = serde_json::json!({ "service": "stock", "item": item, "available": 3 });
                    Reply::full(200, "application/json", format!("{text}\n"))
                }
                None => Reply::full(404, "text/plain; charset=utf-8", "no such thing in stock\n"),
            },
            Kind::Legacy => {
                Reply::full(200, "application/xml", format!("<answer path=\"{path}\">still running</answer>\n"))
            }
        }
    }
}

impl Handler for Sample {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(std::future::ready(Ok(self.reply(x))))
    }
}
