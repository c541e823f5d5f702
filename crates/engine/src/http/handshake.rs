//! What is said on a client's connection before HTTP.

use std::time::Duration;

use tollgate_core::facts::Conn;
use tollgate_net::tls::{Failure, Outcome, Server};
use tollgate_net::{Socket, Stream, proxy_protocol};
use tollgate_observe::metrics::Closed;

use crate::crowd::Member;
use crate::deployment::Rules;
use crate::faults;
use crate::listener::Front;
use crate::security;
use crate::worker::Worker;

/// What comes before HTTP: for whom a proxy speaks, then TLS; each as far as the listener asks for it.
pub(crate) async fn greet(
    mut socket: Socket,
    mut conn: Conn,
    front: &Front,
    worker: &Worker,
    rules: &Rules,
    member: &mut Member,
) -> Result<(Stream, Conn), Closed> {
    let most = rules.limits.handshake_timeout.0;
    // Whoever is not believed cannot say who it is: what it sends is taken for what a client sends.
    if front.greeting.is_proxied && rules.trust.is_proxy(conn.peer()) {
        match tokio::time::timeout(most, proxy_protocol::read(&mut socket)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((client, reached)))) => {
                conn = conn.on_behalf_of(client, reached);
                let limits = (!front.serves_on()).then_some(&rules.limits);
                if let Err(why) = member.is_of(conn.peer(), &front.admission, &rules.trust, limits) {
                    if why == Closed::Denied {
                        security::not_let_in(conn.peer(), worker.now(), &worker.refusals);
                    }
                    socket.reset_on_close();
                    return Err(why);
                }
            }
            Ok(Err(error)) => {
                worker.headerless.tell(worker.now(), |kept_back| {
                    let proxy = conn.peer();
                    tracing::info!(%proxy, %error, kept_back, "no PROXY header from a proxy: connection closed");
                });
                return Err(Closed::Error);
            }
            Err(_) => return Err(Closed::Timeout),
        }
    }
    match &front.greeting.tls {
        Some(tls) => handshake(socket, conn, tls, worker, most).await,
        None => Ok((Stream::Plain(socket), conn)),
    }
}

/// Carries out a client's handshake, which may take `most`; counts how it ended. A client that speaks HTTP without TLS is
/// let in, to be told so.
async fn handshake(
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
            tracing::debug!(client = %conn.peer(), outcome = outcome.label(), %error, "no TLS with a client");
            (outcome, Err(if outcome == Outcome::Closed { Closed::Client } else { Closed::Error }))
        }
        Err(_) => (Outcome::Timeout, Err(Closed::Timeout)),
    };
    worker.counters().handshake(outcome.label());
    settled
}
