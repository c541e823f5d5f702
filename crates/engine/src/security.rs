//! Security events: who was refused, from where and why, for the gateway's own log. Never a credential: what a problem keeps as its
//! cause tells none.
//!
//! Not the audit log, which tells what those do who run the gateway.

use std::time::{Duration, Instant};

use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;

use crate::rarely::Rarely;

/// Most events of a worker in a second: whoever is refused a thousand times writes no thousand lines.
const MOST: u32 = 50;

/// How often they are told.
pub(crate) fn rarely() -> Rarely {
    Rarely::new(MOST, Duration::from_secs(1))
}

/// Tells of an exchange that ended, if somebody was refused in it: they did not say who they are (401), may not (403), or came too often,
/// with too much at once, or with too many wrong credentials (429).
pub(crate) fn ended(x: &Exchange, now: Instant, rarely: &Rarely) {
    let Some(fault) = x.trail.fault.filter(|fault| is_refusal(fault.status, fault.slug)) else { return };
    rarely.tell(now, |left_out| {
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

/// Tells of a connection that a listener lets nobody make from there.
pub(crate) fn not_let_in(client: ClientAddress, now: Instant, rarely: &Rarely) {
    rarely.tell(now, |left_out| {
        let left_out = (left_out > 0).then_some(left_out);
        tracing::warn!(target: "security", %client, left_out, "not let in by its address: connection closed");
    });
}

fn is_refusal(status: u16, slug: &str) -> bool {
    matches!(status, 401 | 403) || matches!(slug, "auth/too-many-failures" | "limit/exceeded" | "in_flight/exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

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
