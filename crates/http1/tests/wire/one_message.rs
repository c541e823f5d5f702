//! The property of what is sent on: exactly one message, and the same one for whoever reads it. Shared with the fuzz
//! targets.

use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::field::Known;
use tollgate_core::head::{Method, ReplyHead};
use tollgate_http1::request::judge;
use tollgate_http1::transfer::Outflow;
use tollgate_http1::{HeadLimits, Parsed, response, write};

use crate::forward::{self, Ended, Pace};
use crate::ours::{self, End, Lines, sorted};

/// Reads what was sent on with httparse: method, target, field lines in order, length of the head.
fn httparsed(bytes: &[u8]) -> (String, String, Lines, usize) {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let len = request.parse(bytes).unwrap().unwrap();
    assert_eq!(request.version, Some(1));
    let lines = request.headers.iter().map(|h| (h.name.as_bytes().to_vec(), h.value.to_vec())).collect();
    (request.method.unwrap().to_owned(), request.path.unwrap().to_owned(), lines, len)
}

/// Checks one request that may or may not be accepted; gives whether it was.
///
/// # Panics
/// If the property does not hold.
pub(crate) fn request_is_sent_on_as_one_message(bytes: &[u8], pace: &Pace) -> bool {
    let Some((kept, out)) = forward::request(bytes, pace) else { return false };
    let (before, _, _) = ours::request(bytes).unwrap().unwrap();
    let mut head = ours::head(bytes).unwrap().unwrap();
    judge(&mut head).unwrap();

    let (mut messages, end) = ours::requests(&out);
    assert_eq!((messages.len(), end), (1, End::Clean), "{}", out.escape_ascii());
    let after = messages.remove(0);
    assert_eq!((&after.method, &after.query), (&before.method, &before.query));
    assert_eq!(after.path, head.path());
    assert_eq!((&after.content, &after.trailers), (&before.content, &before.trailers));
    let of_both = |(name, _): &(Vec<u8>, Vec<u8>)| forward::is_passed_on(name);
    assert_eq!(after.fields.iter().filter(|line| of_both(line)).cloned().collect::<Vec<_>>(), lines_sorted(&kept));

    let (method, target, lines, head_len) = httparsed(&out);
    assert_eq!(method, before.method);
    let query = before.query.map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(target, format!("{}{query}", head.path()));
    assert_eq!(lines.into_iter().filter(of_both).collect::<Vec<_>>(), kept, "names, values and order are kept");
    assert_eq!(ours::head(&out).unwrap().unwrap().fields.head_len, head_len);

    let again = forward::request(&out, &Pace::whole()).unwrap().1;
    assert_eq!(ours::requests(&again), ours::requests(&out), "a second gateway changes nothing more");
    true
}

fn lines_sorted(lines: &Lines) -> Lines {
    sorted(lines.iter().map(|(name, value)| (&name[..], &value[..])))
}

fn answer_head(bytes: &[u8], request: Method) -> Option<(ReplyHead, response::Verdict)> {
    let mut head = ReplyHead::default();
    head.fields.buffer = Buffer::holding(bytes);
    if response::Reader::default().read(&mut head, &HeadLimits::default()).ok()? == Parsed::Partial {
        return None;
    }
    let verdict = response::judge(&mut head, request).ok()?;
    Some((head, verdict))
}

/// Checks one answer to a request of this method, which may or may not be accepted.
///
/// # Panics
/// If the property does not hold.
pub(crate) fn answer_is_sent_on_as_one_message(bytes: &[u8], request: Method, pace: &Pace) {
    let Some((head, verdict)) = answer_head(bytes, request) else { return };
    let mut out = Vec::new();
    write::status_line(&mut out, head.status);
    write::fields(&mut out, &head.fields, |_, _| false);
    let outflow = match verdict.length {
        Length::None => Outflow::Nothing,
        Length::Known(n) => {
            write::content_length(&mut out, n);
            Outflow::Plain
        }
        Length::Chunked | Length::UntilClose => {
            write::chunked(&mut out);
            Outflow::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    let head_len = out.len();
    let rest = &bytes[head.fields.head_len..];
    let passed = forward::body(rest, verdict.length, outflow, &out, pace);
    if passed.end != Ok(Ended::Whole) {
        return;
    }
    let (again, told) = answer_head(&passed.out, request).expect("what is sent on is an answer");
    assert_eq!((again.status, again.fields.head_len), (head.status, head_len));
    let kept = head.fields.iter().filter(|(name, _)| !Known::of(name).is_hop_by_hop());
    let lines = again.fields.iter().filter(|(name, _)| !Known::of(name).is_hop_by_hop());
    assert!(lines.eq(kept), "{}", passed.out.escape_ascii());
    let (content, _, used) = ours::body(told.length, &mut passed.out[head_len..].to_vec()).unwrap().unwrap_or_default();
    assert_eq!(head_len + used, passed.out.len(), "nothing is left over");
    if verdict.length == Length::UntilClose {
        assert_eq!(content, rest);
    } else {
        let before = ours::body(verdict.length, &mut rest.to_vec()).unwrap().unwrap_or_default();
        assert_eq!(content, before.0);
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut second = httparse::Response::new(&mut headers);
    assert_eq!(second.parse(&passed.out), Ok(httparse::Status::Complete(head_len)));
    assert_eq!((second.code, second.headers.len()), (Some(head.status), again.fields.received().len()));
}
