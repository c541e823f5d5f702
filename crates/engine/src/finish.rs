//! After the last byte: counters, the access log, and whoever wants to know.

use std::time::{Duration, UNIX_EPOCH};

use tollgate_core::exchange::Exchange;
use tollgate_core::field::Known;
use tollgate_observe::access_log::Entry;
use tollgate_plan::RoutePlan;

use crate::http::downstream::Client;
use crate::http::turn::Turn;
use crate::security;

/// Ends the accounts of an exchange.
pub(crate) fn finish<S>(client: &mut Client<S>, turn: &mut Turn, route: &RoutePlan, begun: usize) {
    let now = client.look();
    let worker = &client.worker;
    turn.note_shadow();
    let x = &mut turn.x;
    let duration = now.saturating_duration_since(x.began);
    x.trail.bytes_in = x.head.fields.head_len as u64 + turn.upload.taken() + turn.tunnelled;
    route.metrics.shard(worker.index).finish(x.trail.status, duration, x.trail.bytes_in, x.trail.bytes_out);
    if let Some(fault) = x.trail.fault {
        worker.counters().problem(&x.route.api, fault.slug);
        security::ended(x, now, worker);
    }
    if let Some(fault) = x.trail.shadow {
        worker.counters().shadow(&x.route.api, fault.slug);
    }
    if route.hooks.done {
        for link in route.chain[..begun.min(route.chain.len())].iter().filter(|link| link.hooks.done) {
            link.policy.on_done(x);
        }
    }
    x.held.clear();
    worker.with_log(|log| {
        log.push(&entry(x, duration, worker.clock.unix().duration_since(UNIX_EPOCH).unwrap_or_default()));
    });
}

fn entry(x: &Exchange, duration: Duration, ended: Duration) -> Entry<'_> {
    let trail = &x.trail;
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let caller = x.principal.as_deref();
    // A request whose head was not understood has no method, host or path to speak of.
    Entry {
        time: micros(ended.saturating_sub(duration)),
        id: x.id.as_str(),
        trace: Some(x.trace.id),
        client: x.client,
        protocol: x.head.version.name(),
        tls: x.conn.tls.as_ref().map(|tls| tls.version),
        certificate: x.conn.tls.as_ref().and_then(|tls| tls.client.as_ref()).map(|client| &*client.subject),
        auth: caller.map(|caller| &*caller.source),
        subject: caller.map(|caller| &*caller.subject).filter(|subject| !subject.is_empty()),
        consumer: caller.and_then(|caller| caller.consumer.as_deref()),
        method: some_text(x.head.method_text()),
        host: some_text(x.head.host()),
        path: some_text(x.head.path()),
        query: x.head.query().map(str::as_bytes),
        status: trail.status,
        bytes_in: trail.bytes_in,
        bytes_out: trail.bytes_out,
        duration_us: micros(duration),
        api: Some(&*x.route.api).filter(|api| !api.is_empty()),
        route: Some(&*x.route.name),
        service: trail.service.as_deref(),
        instance: trail.instance.as_ref(),
        attempts: trail.attempts,
        upstream_us: trail.upstream.map(micros),
        problem: trail.fault.map(|fault| fault.slug),
        shadow: trail.shadow.map(|fault| fault.slug),
        cause: trail.cause.as_deref(),
        user_agent: x.head.fields.known(Known::UserAgent),
        referer: x.head.fields.known(Known::Referer),
    }
}

fn some_text(text: &str) -> Option<&[u8]> {
    Some(text.as_bytes()).filter(|text| !text.is_empty())
}
