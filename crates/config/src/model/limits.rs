//! `limits`: what a client may send, and for how long it may dawdle.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{Bounded, BoundedSize, ByteRate, Period};

use crate::model::defaults::v1;
use crate::model::settings::OrNone;

/// A head must fit one buffer of a worker.
const LARGEST_HEAD: u64 = 48 * 1024;

section! {
    /// What a client may send, and for how long it may dawdle.
    pub struct Limits: fit {
        /// Longest request target (path and query); beyond it the answer is 414. At most `head`.
        target: Spanned<BoundedSize<64, LARGEST_HEAD>> = v1::LIMIT_TARGET,
        /// Largest head (start line and header fields together); beyond it the answer is 431.
        head: Spanned<BoundedSize<1024, LARGEST_HEAD>> = v1::LIMIT_HEAD,
        /// Most header fields; beyond it the answer is 431.
        fields: Bounded<1, 1000> = v1::LIMIT_FIELDS,
        /// How long a head may take from its first byte to its last.
        head_timeout: Period = v1::LIMIT_HEAD_TIMEOUT,
        /// How long a client may take for its TLS handshake.
        handshake_timeout: Period = v1::LIMIT_HANDSHAKE_TIMEOUT,
        /// How fast a client must send the bodies of its requests, and read answers; `none`: however slowly.
        pace: OrNone<Pace>,
        /// How long a connection may stay open without a request.
        keep_alive: Period = v1::LIMIT_KEEP_ALIVE,
        /// Most requests at once on one HTTP/2 connection.
        streams: Bounded<1, 10_000> = v1::LIMIT_STREAMS,
        /// Most connections from one client address (from one /64 of IPv6); further ones are closed at once. Proxies of `trust`
        /// may have any number. Without it, anybody may.
        connections_per_address: Option<Bounded<1, 16_777_216>>,
        /// Most credentials from one client address (from one /64 of IPv6) that look guessed, within a minute: forged tokens, unknown keys,
        /// wrong passwords. After that, those that are not known already are answered 429.
        failures: Bounded<1, 1_000_000> = v1::LIMIT_FAILURES,
        /// Most connections of all clients together; further ones wait in the system's queue.
        connections: Bounded<1, 16_777_216> = v1::LIMIT_CONNECTIONS,
        /// Most requests on one connection, after which it is closed; without it, any number.
        requests_per_connection: Option<Bounded<1, 1_000_000_000>>,
    }
}

section! {
    /// The least that a client must do, counted only while it is the client that is waited for. Who falls behind by more than
    /// `grace` is cut off.
    pub struct Pace {
        /// How fast the content of a request must come. Calls of gRPC to a service that speaks HTTP/2 may take their time.
        request: OrNone<ByteRate> = v1::PACE,
        /// How fast an answer must be read. Events (`text/event-stream`) may be read as slowly as the route's `idle` allows.
        response: OrNone<ByteRate> = v1::PACE,
        /// By how much time a client may be behind: at the beginning, and after a pause.
        grace: Period = v1::PACE_GRACE,
    }
}

/// Whether the limits fit each other.
fn fit(limits: &Limits, cx: &mut DecodeCx) -> bool {
    let (target, head) = (limits.target.get(), limits.head.get());
    if target > head {
        let mistake = Diagnostic::error(format!("`target` ({target} bytes) is larger than `head` ({head} bytes)"));
        let mistake = mistake.at(&limits.target.span).at(&limits.head.span);
        cx.report(mistake.hint("the target is a part of the head: lower `target` or raise `head`"));
    }
    target <= head
}
