//! Messages sent on as the engine does it: the head from what was understood, the body through one small buffer, with
//! reads and writes of any size. Shared with the fuzz targets.

use std::io::IoSlice;

use tollgate_core::body::Length;
use tollgate_core::field::Known;
use tollgate_core::head::RequestHead;
use tollgate_http1::HeadLimits;
use tollgate_http1::request::{Verdict, judge};
use tollgate_http1::transfer::{Bad, Batch, Inflow, Outflow, Runs, SLICES};
use tollgate_http1::write;

use crate::ours;

/// How the bytes come and go.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Size of the buffer.
    pub(crate) room: usize,
    /// Sizes of the reads, over and over.
    pub(crate) reads: Vec<usize>,
    /// Sizes of the writes, over and over.
    pub(crate) writes: Vec<usize>,
    /// Most content bytes.
    pub(crate) most: u64,
}

impl Pace {
    /// All at once.
    pub(crate) fn whole() -> Self {
        Self { room: usize::MAX, reads: vec![usize::MAX], writes: vec![usize::MAX], most: u64::MAX }
    }
}

/// What a body has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// All that was written.
    pub(crate) out: Vec<u8>,
    /// How many bytes of the input were used up.
    pub(crate) used: usize,
    /// How it ended.
    pub(crate) end: Result<Ended, Bad>,
}

/// How a body ended that is well formed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Whole.
    Whole,
    /// The sender closed too early.
    CutShort,
}

/// Passes a body on, behind `head`; what engine's pump does, without sockets.
pub(crate) fn body(bytes: &[u8], length: Length, outflow: Outflow, head: &[u8], pace: &Pace) -> Passed {
    let mut reads = pace.reads.iter().copied().cycle();
    let mut writes = pace.writes.iter().copied().cycle();
    let (mut inflow, mut buffer, mut out, mut head) = (Inflow::new(length), Vec::new(), Vec::new(), head);
    let (mut fed, mut from, mut ended) = (0, 0, false);
    let mut end = Ok(Ended::Whole);
    while !ended {
        if from < buffer.len() || inflow.is_done() {
            let batch = match batch(&mut inflow, outflow, &mut buffer, &mut from, pace.most) {
                Ok(batch) => batch,
                Err(bad) => {
                    end = Err(bad);
                    break;
                }
            };
            ended = inflow.is_done();
            write_by_pieces(batch, &mut head, &buffer, &mut writes, &mut out);
            continue;
        }
        if buffer.len() >= pace.room.min(1 << 20) || buffer.len() % 3 == 1 {
            buffer.clear();
            from = 0;
        }
        let n = reads.next().unwrap().min(pace.room - buffer.len()).min(bytes.len() - fed);
        buffer.extend_from_slice(&bytes[fed..fed + n]);
        fed += n;
        if n == 0 && !inflow.closed() {
            end = Ok(Ended::CutShort);
            break;
        }
    }
    Passed { out, used: fed - (buffer.len() - from), end }
}

fn batch(inflow: &mut Inflow, outflow: Outflow, buffer: &mut [u8], from: &mut usize, most: u64) -> Result<Batch, Bad> {
    let (range, mut runs) = (*from..buffer.len(), Runs::default());
    *from = inflow.take(buffer, range, &mut runs, most, HeadLimits::default().head)?;
    let is_last = inflow.is_done();
    let trailers = match is_last {
        true => inflow.trailers(HeadLimits::default().fields).map_err(Bad::Malformed)?,
        false => None,
    };
    Ok(Batch::new(outflow, runs, is_last, trailers.as_ref()))
}

fn write_by_pieces(
    mut batch: Batch,
    head: &mut &[u8],
    body: &[u8],
    sizes: &mut impl Iterator<Item = usize>,
    out: &mut Vec<u8>,
) {
    while !head.is_empty() || !batch.is_out() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let n = batch.slices(head, body, &mut slices);
        assert!(slices[..n].iter().all(|slice| !slice.is_empty()), "nothing empty is written");
        let mut left = sizes.next().unwrap();
        let before = out.len();
        for slice in &slices[..n] {
            let part = &slice[..left.min(slice.len())];
            out.extend_from_slice(part);
            left -= part.len();
        }
        let written = out.len() - before;
        let of_head = written.min(head.len());
        *head = &head[of_head..];
        batch.advance(written - of_head);
    }
}

/// Sends the request at the start of `bytes` on; `None`: it is refused or not all there.
pub(crate) fn request(bytes: &[u8], pace: &Pace) -> Option<(ours::Lines, Vec<u8>)> {
    let mut head = ours::head(bytes).ok()??;
    let verdict = judge(&mut head).ok()?;
    let out = request_head(&head, verdict);
    let kept =
        head.fields.iter().filter(|(name, _)| is_passed_on(name)).map(|(name, value)| (name.to_vec(), value.to_vec()));
    let outflow = if verdict.length == Length::Chunked { Outflow::Chunked } else { Outflow::Plain };
    let passed = body(&bytes[head.fields.head_len..], verdict.length, outflow, &out, pace);
    (passed.end == Ok(Ended::Whole)).then(|| (kept.collect(), passed.out))
}

/// Whether the gateway takes over lines of this name as they are.
pub(crate) fn is_passed_on(name: &[u8]) -> bool {
    let known = Known::of(name);
    !known.is_hop_by_hop() && !matches!(known, Known::Host | Known::Expect)
}

/// As the engine's `http::request_head` writes it, without what it adds of its own.
fn request_head(head: &RequestHead, verdict: Verdict) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(head.method_text().as_bytes());
    out.push(b' ');
    out.extend_from_slice(if head.is_asterisk { b"*" } else { head.path().as_bytes() });
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = if head.host().is_empty() { "192.0.2.1:80" } else { head.host() };
    write::field(&mut out, b"Host", host.as_bytes());
    write::fields(&mut out, &head.fields, |known, _| matches!(known, Known::Host | Known::Expect));
    match verdict.length {
        Length::None if head.fields.known(Known::ContentLength).is_some() => write::content_length(&mut out, 0),
        Length::None | Length::UntilClose => {}
        Length::Known(n) => write::content_length(&mut out, n),
        Length::Chunked => write::chunked(&mut out),
    }
    if verdict.takes_trailers {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    if verdict.expects_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}
