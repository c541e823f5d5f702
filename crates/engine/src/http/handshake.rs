//! TLS with a client, before anything else is said.

use std::time::Duration;

use tollgate_core::facts::Conn;
use tollgate_net::tls::{Failure, Outcome, Server};
use tollgate_net::{Socket, Stream};
use tollgate_observe::metrics::Closed;

use crate::faults;
use crate::worker::Worker;

/// Carries out a client's handshake, which may take `most`; counts how it ended. A client that speaks HTTP without TLS is
/// let in, to be told so.
pub(crate) async fn handshake(
    socket: Socket,
    conn: Conn,
    tls: &Server,
    worker: &Worker,
    most: Duration,
) -> Result<(Stream, Conn), Closed> {
    let (outcome, settled) = match tokio::time::timeout(most, tls.accept(socket)).await {
        Ok(Ok((stream, facts))) => (Outcome::Ok, Ok((stream, conn.under(facts)))),
        Ok(Err(Failure::PlainHttp(socket))) => {
            let conn = Conn { refused: Some(&faults::PLAIN_HTTP), ..conn };
            (Outcome::PlainHttp, Ok((Stream::Plain(socket), conn)))
        }
        Ok(Err(Failure::Ended(outcome, error))) => {
            tracing::debug!(client = %conn.peer_ip(), outcome = outcome.label(), %error, "no TLS with a client");
            (outcome, Err(if outcome == Outcome::Closed { Closed::Client } else { Closed::Error }))
        }
        Err(_) => (Outcome::Timeout, Err(Closed::Timeout)),
    };
    worker.counters().handshake(outcome.label());
    settled
}
