//! The proof with which a server agrees to WebSocket (RFC 6455 §4.2.2). HTTP/2 has none (RFC 8441 §5.1): where one side
//! speaks it and the other does not, the gateway gives or checks the proof itself. What follows is in [`track`].

mod track;

pub(crate) use track::Track;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use tollgate_core::head::RequestHead;

use crate::http::turn::Turn;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether that is WebSocket.
pub(crate) fn is_spoken(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"websocket")
}

/// The proof that belongs to a key.
fn accept(key: &[u8]) -> String {
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()).as_ref())
}

fn expected(head: &RequestHead) -> Option<String> {
    head.fields.get("sec-websocket-key").map(accept)
}

/// A service agreed over HTTP/2: a client of HTTP/1.1 is given the proof.
pub(super) fn prove(turn: &mut Turn) {
    if let Some(proof) = expected(&turn.x.head).filter(|_| !turn.connects) {
        turn.x.reply.head.fields.set("Sec-WebSocket-Accept", proof);
    }
}

/// A service agreed over HTTP/1.1 to a client of HTTP/2, for whom the gateway made the key.
///
/// # Errors
/// The proof is missing, or belongs to another key.
pub(super) fn check(turn: &Turn, protocol: &[u8]) -> Result<(), &'static str> {
    let is_ours = turn.connects && is_spoken(protocol);
    let given = turn.x.reply.head.fields.get("sec-websocket-accept");
    match is_ours && given != expected(&turn.x.head).as_deref().map(str::as_bytes) {
        true => Err("a `Sec-WebSocket-Accept` that does not belong to the key"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
