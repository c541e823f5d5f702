//! What this crate makes of the bytes of one connection, read to the end. Shared with the fuzz targets.

use std::io::IoSlice;

use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::field::Known;
use tollgate_core::head::{Fields, RequestHead, Version};
use tollgate_core::problem::Problem;
use tollgate_http1::request::{Reader, Verdict, judge};
use tollgate_http1::transfer::{Bad, Batch, Inflow, Outflow, Runs, SLICES};
use tollgate_http1::{HeadLimits, Parsed};

/// Names and values in order.
pub(crate) type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// One request as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// As it came.
    pub(crate) method: String,
    /// 0 or 1.
    pub(crate) minor: u8,
    /// The path as it came.
    pub(crate) path: String,
    /// Behind `?`.
    pub(crate) query: Option<String>,
    /// All field lines, names in lower case, sorted by name; lines of one name in their order.
    pub(crate) fields: Lines,
    /// The body.
    pub(crate) content: Vec<u8>,
    /// Like `fields`, without those that no trailer may have.
    pub(crate) trailers: Lines,
}

/// How the reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All bytes were used up.
    Clean,
    /// The last message is not all there.
    Partial,
    /// The client asks to close: what follows is nobody's.
    Closed,
    /// The next message is refused, for this reason.
    Refused(Refusal),
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The fault of the answer.
    pub(crate) slug: &'static str,
    /// What was found.
    pub(crate) detail: String,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { slug: problem.fault.slug, detail: problem.detail.to_string() }
    }
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Self {
        let (slug, detail) = match bad {
            Bad::Malformed(what) => ("http/malformed", what),
            Bad::TooLarge => ("http/body-too-large", ""),
        };
        Self { slug, detail: detail.to_owned() }
    }
}

/// Reads all requests in `bytes`, which must fit into a buffer.
pub(crate) fn requests(bytes: &[u8]) -> (Vec<Message>, End) {
    let (mut messages, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match request(&bytes[at..]) {
            Ok(Some((message, verdict, used))) => {
                messages.push(message);
                at += used;
                if !verdict.keep_alive {
                    return (messages, End::Closed);
                }
            }
            Ok(None) => return (messages, End::Partial),
            Err(refusal) => return (messages, End::Refused(refusal)),
        }
    }
    (messages, End::Clean)
}

/// Reads the head at the start of `bytes`; `None`: there should be more.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<RequestHead>, Refusal> {
    let mut head = RequestHead::default();
    head.fields.buffer = Buffer::holding(bytes);
    let parsed = Reader::default().read(&mut head, &HeadLimits::default())?;
    Ok((parsed == Parsed::Complete).then_some(head))
}

/// Reads one request; gives it, what it means, and how many bytes it took.
pub(crate) fn request(bytes: &[u8]) -> Result<Option<(Message, Verdict, usize)>, Refusal> {
    let Some(mut head) = head(bytes)? else { return Ok(None) };
    let verdict = judge(&mut head)?;
    let mut rest = bytes[head.fields.head_len..].to_vec();
    let Some((content, trailers, used)) = body(verdict.length, &mut rest)? else { return Ok(None) };
    let used = head.fields.head_len + used;
    Ok(Some((message(&head, content, trailers), verdict, used)))
}

fn message(head: &RequestHead, content: Vec<u8>, trailers: Lines) -> Message {
    let bytes = head.fields.buffer.filled();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let raw = text(head.raw_path.of(bytes));
    let received = head.fields.received().iter().map(|f| (f.name.of(bytes), f.value.of(bytes)));
    Message {
        method: head.method_text().to_owned(),
        minor: u8::from(head.version == Version::Http11),
        path: if raw.is_empty() { "/".to_owned() } else { raw },
        query: head.query().map(str::to_owned),
        fields: sorted(received),
        content,
        trailers,
    }
}

/// Content, trailers and the number of bytes used; `None`: there should be more.
pub(crate) fn body(length: Length, bytes: &mut [u8]) -> Result<Option<(Vec<u8>, Lines, usize)>, Refusal> {
    let (mut inflow, mut content, mut at) = (Inflow::new(length), Vec::new(), 0);
    while !inflow.is_done() && at < bytes.len() {
        let mut runs = Runs::default();
        let end = bytes.len();
        at = inflow.take(bytes, at..end, &mut runs, u64::MAX, HeadLimits::default().head)?;
        write_out(&Batch::new(Outflow::Plain, runs, false, None), bytes, &mut content);
    }
    if !inflow.is_done() {
        return Ok(None);
    }
    assert_eq!(inflow.taken, content.len() as u64);
    let trailers = inflow.trailers(HeadLimits::default().fields).map_err(Bad::Malformed)?;
    Ok(Some((content, trailers.as_ref().map(|fields| sorted(fields.iter())).unwrap_or_default(), at)))
}

/// Appends all that `batch` writes of `body`.
pub(crate) fn write_out(batch: &Batch, body: &[u8], out: &mut Vec<u8>) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let n = batch.slices(b"", body, &mut slices);
    slices[..n].iter().for_each(|slice| out.extend_from_slice(slice));
}

/// The lines in an order in which two readers can be compared.
pub(crate) fn sorted<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Lines {
    let mut lines: Lines = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
    lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    lines
}

/// The lines that may stand in a trailer.
pub(crate) fn allowed_in_trailer(lines: Lines) -> Lines {
    lines.into_iter().filter(|(name, _)| !Known::of(name).is_forbidden_in_trailer()).collect()
}

/// Fields of these lines, as if a policy had added them.
pub(crate) fn added(lines: &[(String, String)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.add(name.clone(), value.clone());
    }
    fields
}
