//! `Max-Forwards`: how far an `OPTIONS` or `TRACE` may go (RFC 9110 §7.6.2).

use tollgate_core::exchange::Exchange;
use tollgate_core::head::Method;
use tollgate_core::reply::Reply;
use tollgate_core::secrets::is_secret;
use tollgate_http1::write;
use tollgate_plan::Plan;

const FIELD: &str = "Max-Forwards";

/// The answer, if the request may go no further than here; else one hop is counted.
pub(crate) fn last_hop(x: &mut Exchange, plan: &Plan) -> Option<Reply> {
    if !matches!(x.head.method, Method::Options | Method::Trace) {
        return None;
    }
    match (left(x)?.checked_sub(1), x.head.method) {
        (Some(left), _) => {
            x.head.fields.set(FIELD, left.to_string());
            None
        }
        (None, Method::Options) => Some(Reply::empty(200).header("Allow", plan.allow(x))),
        (None, _) => Some(Reply::full(200, "message/http", reflection(x))),
    }
}

/// How many hops are left: the fewest, if several are told. What is no number is sent on as it came.
fn left(x: &Exchange) -> Option<u64> {
    let told = x.head.fields.all(FIELD).filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
    told.filter_map(|digits| std::str::from_utf8(digits).ok()).map(|digits| digits.parse().unwrap_or(u64::MAX)).min()
}

/// The request as it was received, without what lets somebody in (RFC 9110 §9.3.8): not what was added to it here.
fn reflection(x: &Exchange) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    for piece in [x.head.method_text(), " ", x.head.path()] {
        out.extend_from_slice(piece.as_bytes());
    }
    if let Some(query) = x.head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(format!(" {}\r\n", x.head.version.name()).as_bytes());
    let bytes = x.head.fields.buffer.filled();
    for field in x.head.fields.received().iter().filter(|field| !field.dropped && !field.known.is_hop_by_hop()) {
        let name = field.name.of(bytes);
        if !is_secret(name) {
            write::field(&mut out, name, field.value.of(bytes));
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}
