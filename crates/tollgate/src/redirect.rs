//! `redirect to https`: clients that come without TLS are sent to the same URL with it.

use std::future::ready;
use std::sync::Arc;

use tollgate_config::model::{Config, HostPattern, ListenerKind};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::host;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::reply::Reply;
use tollgate_engine::{Deployment, Rules};
use tollgate_observe::metrics::Metrics;
use tollgate_plan::Plan;

use crate::tls::Tls;

/// Sent nowhere, since nobody knows the host: whoever makes up a host would else decide where others are sent.
pub(crate) static UNKNOWN_HOST: Fault = Fault::client(
    "redirect/unknown-host",
    421,
    "This host is not served here",
    "The listener redirects to https, but neither an api's `hosts` nor a certificate is for the host that was asked for (RFC 9110 \
     §15.5.20).",
);

/// All of them, for the catalogue.
pub(crate) static FAULTS: &[&Fault] = &[&UNKNOWN_HOST];

/// Sends to https.
#[derive(Debug)]
struct ToHttps {
    hosts: Vec<HostPattern>,
    tls: Tls,
    port: u16,
}

impl Handler for ToHttps {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(ready(self.answer(x)))
    }
}

impl ToHttps {
    fn answer(&self, x: &Exchange) -> Result<Reply, Problem> {
        let host = host::name(x.head.host()).to_ascii_lowercase();
        if !self.knows(&host) {
            return Err(UNKNOWN_HOST.problem());
        }
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        let query = x.head.query().map(|query| format!("?{query}")).unwrap_or_default();
        let location = format!("https://{host}{port}{}{query}", x.head.path());
        Ok(Reply::empty(308).header("Location", location))
    }

    fn knows(&self, host: &str) -> bool {
        let is_for = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) => name == host,
            HostPattern::Wildcard(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|before| before.len() > 1 && before.ends_with('.'))
            }
        };
        self.hosts.iter().any(is_for) || self.tls.knows(host)
    }
}

/// What a listener that redirects serves.
pub(crate) fn deployment(
    config: &Config,
    tls: &Tls,
    metrics: &Arc<Metrics>,
    rules: &Arc<Rules>,
) -> Result<Deployment, Vec<Diagnostic>> {
    let hosts = config.apis.iter().flat_map(|api| &api.hosts).map(|host| host.value.clone()).collect();
    let secure = config.listen.iter().filter(|listener| listener.tls.is_some() && listener.kind == ListenerKind::Http);
    let ports = secure.filter_map(|listener| listener.address.port());
    // The usual one if it is there, else the first.
    let port = ports.clone().find(|port| *port == 443).or(ports.clone().next()).unwrap_or(443);
    let handler: Arc<dyn Handler> = Arc::new(ToHttps { hosts, tls: tls.clone(), port });
    let plan = Arc::new(Plan::of_handlers(vec![("", "/**", handler)], metrics)?);
    Ok(Deployment::new(plan, Arc::new([]), Arc::clone(rules)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(host: &str) -> bool {
        let hosts = vec![HostPattern::Exact("shop.example".into()), HostPattern::Wildcard("wild.example".into())];
        ToHttps { hosts, tls: Tls::default(), port: 443 }.knows(&host::name(host).to_ascii_lowercase())
    }

    #[test]
    fn only_hosts_of_the_file_are_known() {
        for host in ["shop.example", "Shop.Example.:80", "a.wild.example", "a.b.wild.example:8080"] {
            assert!(known(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil-shop.example", "wild.example", ".wild.example", "xwild.example", "[::1]:80"]
        {
            assert!(!known(host), "{host}");
        }
    }
}
