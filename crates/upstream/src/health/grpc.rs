//! A check by the gRPC health protocol: `grpc.health.v1.Health/Check`
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
//!
//! Its two messages have one field each, so they are written and read by hand.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tollgate_net::Stream;

use crate::exchange::{Speaks, broken, exchange};

/// Most bytes of an answer: a healthy one has seven.
const MOST: usize = 4096;
/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// What is asked by gRPC.
#[derive(Clone, Debug)]
pub struct GrpcCheck {
    /// The service that is asked for; empty: the whole server.
    pub service: String,
    /// What is sent as `:authority`; `None`: the instance's name or address.
    pub host: Option<String>,
}

impl GrpcCheck {
    /// Asks over this connection. `authority`: what the instance is called if the file says nothing.
    ///
    /// # Errors
    /// Why the instance is not well.
    pub(super) async fn ask(&self, stream: Stream, scheme: &str, authority: String) -> Result<(), String> {
        let request = self.request(scheme, authority).map_err(|error| error.to_string())?;
        exchange(stream, Speaks::Http2, request, judge).await
    }

    fn request(&self, scheme: &str, authority: String) -> http::Result<Request<Full<Bytes>>> {
        let authority = self.host.clone().unwrap_or(authority);
        Request::builder()
            .method("POST")
            .uri(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("tollgate/", env!("CARGO_PKG_VERSION"), " (health check)"))
            .body(Full::new(framed(&self.service)))
    }
}

/// `HealthCheckRequest { string service = 1; }` behind gRPC's five bytes: not compressed, and so long.
fn framed(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        write_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

async fn judge(response: Response<Incoming>) -> Result<(), String> {
    let (parts, mut body) = response.into_parts();
    if parts.status != 200 {
        return Err(format!("answered with status {}", parts.status.as_u16()));
    }
    // An answer of nothing but trailers has them in its head.
    call_status(&parts.headers)?;
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|e| broken(&e))?.into_data() {
            Ok(data) if read.len() + data.len() > MOST => return Err("answered with too much".to_owned()),
            Ok(data) => read.extend_from_slice(&data),
            Err(other) => call_status(other.trailers_ref().unwrap_or(&HeaderMap::new()))?,
        }
    }
    match serving_status(&read) {
        Some(SERVING) => Ok(()),
        Some(2) => Err("answered NOT_SERVING".to_owned()),
        Some(3) => Err("answered SERVICE_UNKNOWN".to_owned()),
        Some(other) => Err(format!("answered with the serving status {other}")),
        None => Err("answered without a serving status".to_owned()),
    }
}

/// Fails if the call did.
fn call_status(fields: &HeaderMap) -> Result<(), String> {
    match fields.get("grpc-status").map(http::HeaderValue::as_bytes) {
        None | Some(b"0") => Ok(()),
        Some(b"5") => Err("the health service does not know the service (NOT_FOUND)".to_owned()),
        Some(b"12") => Err("there is no health service (UNIMPLEMENTED)".to_owned()),
        Some(other) => Err(format!("the call failed with gRPC status {}", other.escape_ascii())),
    }
}

/// `HealthCheckResponse { ServingStatus status = 1; }`. A field that is not there is 0 (UNKNOWN).
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    if prefix[0] != 0 || message.len() != length {
        return None;
    }
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let key = read_varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = read_varint(&mut rest)?;
                status = if key >> 3 == 1 { value } else { status };
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_protoc_would_make_of_them() {
        assert_eq!(&framed("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&framed("shop.Orders")[..], *b"\0\0\0\0\x0d\x0a\x0bshop.Orders");
        let long = framed(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn answers_are_read_to_the_byte() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0), "not set means unknown");
        // A field that a later version may bring.
        assert_eq!(serving_status(&[0, 0, 0, 0, 6, 0x12, 2, b'h', b'i', 8, 1]), Some(1));
        for wrong in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 1, 8]] {
            assert_eq!(serving_status(wrong), None, "{wrong:?}");
        }
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 0x12, 9]), None);
    }
}
