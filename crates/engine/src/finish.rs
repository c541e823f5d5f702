//! After the last byte: counters, the access log, and whoever wants to know.

use std::time::UNIX_EPOCH;

use tollgate_observe::access_log::Entry;
use tollgate_plan::RoutePlan;

use crate::http::client::Client;
use crate::http::turn::Turn;

/// Ends the accounts of an exchange.
pub(crate) fn finish(client: &Client, turn: &mut Turn, route: &RoutePlan, begun: usize) {
    let worker = &client.worker;
    let x = &mut turn.x;
    let duration = worker.now().saturating_duration_since(x.began);
    x.trail.bytes_in = x.head.fields.head_len as u64 + turn.upload.taken();
    route.metrics.shard(worker.index).finish(x.trail.status, duration, x.trail.bytes_in, x.trail.bytes_out);
    if let Some(fault) = x.trail.fault {
        worker.counters().problem(fault.slug);
    }
    if route.hooks.done {
        for link in route.chain[..begun.min(route.chain.len())].iter().filter(|link| link.hooks.done) {
            link.policy.on_done(x);
        }
    }
    worker.with_log(|log| {
        let text = |name: &str| x.head.fields.get(name);
        let trail = &x.trail;
        let time = worker.clock.unix().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(duration);
        log.write(&Entry {
            time: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            id: x.id.as_str(),
            trace: x.trace.id,
            client: x.client,
            method: x.head.method_text(),
            host: x.head.host(),
            path: x.head.path(),
            query: x.head.query(),
            status: trail.status,
            bytes_in: trail.bytes_in,
            bytes_out: trail.bytes_out,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            api: &x.route.api,
            route: &x.route.name,
            service: trail.service.as_deref(),
            instance: trail.instance,
            attempts: trail.attempts,
            upstream_us: trail.upstream.map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
            problem: trail.fault.map(|f| f.slug),
            cause: trail.cause.as_deref(),
            user_agent: text("user-agent"),
            referer: text("referer"),
        });
    });
}
