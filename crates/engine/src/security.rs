//! Security events: who was refused, from where and why, for the gateway's own log. Never a credential: what a problem keeps as its
//! cause tells none.
//!
//! Not the audit log, which tells what those do who run the gateway.

use std::time::{Duration, Instant};

use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;

use crate::rarely::Rarely;
use crate::worker::Worker;

/// Most events of a worker in a second: whoever is refused a thousand times writes no thousand lines.
const MOST: u32 = 50;

/// How often they are told.
pub(crate) fn rarely() -> Rarely {
    Rarely::new(MOST, Duration::from_secs(1))
}

/// Tells of an exchange that ended, if somebody was refused in it: they did not say who they are (401), may not (403), or came too often,
/// with too much at once, or with too many wrong credentials (429), or with a body that is none (400).
pub(crate) fn ended(x: &Exchange, now: Instant, worker: &Worker) {
    let Some(fault) = x.trail.fault else { return };
    if SLOW.contains(&fault.slug) {
        return slow(worker, now, fault.slug, x.client, Some(&*x.route.name));
    }
    if !is_refusal(fault.status, fault.slug) {
        return;
    }
    worker.refusals.tell(now, |left_out| {
        let caller = x.principal.as_deref();
        tracing::warn!(
            target: "security",
            problem = fault.slug,
            client = %x.client,
            id = x.id.as_str(),
            route = %x.route.name,
            method = x.head.method_text(),
            path = x.head.path(),
            source = caller.map(|caller| &*caller.source),
            subject = caller.map(|caller| &*caller.subject),
            consumer = caller.and_then(|caller| caller.consumer.as_deref()),
            cause = x.trail.cause.as_deref(),
            left_out = (left_out > 0).then_some(left_out),
            "refused"
        );
    });
}

/// Who took too long for what; each is told of by itself.
pub(crate) const SLOW: [&str; 4] = ["http/head-timeout", "http/body-timeout", "http/slow-body", "http/slow-reader"];

/// Tells of a client that took too long: of one now and then, since a bad line makes the honest slow, too.
pub(crate) fn slow(worker: &Worker, now: Instant, slug: &str, client: ClientAddress, route: Option<&str>) {
    let told = SLOW.iter().zip(&worker.slow).find(|(of, _)| **of == slug);
    let Some((_, rarely)) = told else { return };
    rarely.tell(now, |left_out| {
        let left_out = (left_out > 0).then_some(left_out);
        tracing::warn!(target: "security", problem = slug, %client, route, left_out, "too slow");
    });
}

/// Tells of a connection that a listener lets nobody make from there.
pub(crate) fn not_let_in(client: ClientAddress, now: Instant, rarely: &Rarely) {
    rarely.tell(now, |left_out| {
        let left_out = (left_out > 0).then_some(left_out);
        tracing::warn!(target: "security", %client, left_out, "not let in by its address: connection closed");
    });
}

fn is_refusal(status: u16, slug: &str) -> bool {
    matches!(status, 401 | 403)
        || matches!(slug, "auth/too-many-failures" | "limit/exceeded" | "in_flight/exceeded")
        || slug.starts_with("payload/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_has_a_fault_of_ours() {
        assert!(SLOW.iter().all(|slug| crate::faults::ALL.iter().any(|fault| fault.slug == *slug)));
    }

    #[test]
    fn only_who_was_refused_is_told_of() {
        for (status, slug, is) in [
            (401, "jwt/expired", true),
            (403, "allow/scope", true),
            (429, "auth/too-many-failures", true),
            (429, "limit/exceeded", true),
            (429, "in_flight/exceeded", true),
            (429, "token/crowded", false),
            (404, "route/none", false),
            (503, "jwt/keys", false),
        ] {
            assert_eq!(is_refusal(status, slug), is, "{slug}");
        }
    }
}
