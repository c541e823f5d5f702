//! Counts, on the socket, the frames of HTTP/2 that cost their sender nothing and us something.
//!
//! The frames themselves are read by the crate h2, which bounds what it keeps of them; it does not say how many of each
//! kind came. So their headers (RFC 9113 §4.1) are followed in the bytes on their way to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tollgate_core::buffer::Buffer;
use tollgate_core::clock::Clock;
use tollgate_net::Stream;

/// The client's preface, before the first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;
const HEADER: usize = 9;
const SETTINGS: u8 = 4;
/// The flag ACK, and END_STREAM of other frames.
const ACK_OR_END: u8 = 1;

/// Kinds of frames that are counted, with how many may come at once and how many per second after that.
static KINDS: [Kind; 6] = [
    // CVE-2023-44487: a request and at once its reset.
    Kind { name: "rst_stream", burst: 200, per_second: 50 },
    // CVE-2019-9512, CVE-2019-9515: each asks for an answer.
    Kind { name: "ping", burst: 100, per_second: 20 },
    Kind { name: "settings", burst: 50, per_second: 5 },
    // CVE-2019-9513.
    Kind { name: "priority", burst: 500, per_second: 100 },
    // CVE-2024-27316 and its like: heads that never end. h2 bounds the length of one head; this the number of all.
    Kind { name: "continuation", burst: 200, per_second: 50 },
    // CVE-2019-9518: frames with nothing in them that do not end their stream. h2 takes 100 over a connection's whole life.
    Kind { name: "empty_data", burst: 100, per_second: 50 },
];

struct Kind {
    name: &'static str,
    burst: u32,
    per_second: u32,
}

/// Whether there were too many, shared by the meter and whoever can do something about it.
#[derive(Debug, Default)]
pub(super) struct Flood(AtomicU8);

impl Flood {
    /// Whether any kind came too often.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Which kind.
    pub(super) fn kind(&self) -> &'static str {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        KINDS.get(number.wrapping_sub(1)).map_or("", |kind| kind.name)
    }

    fn raise(&self, kind: usize) {
        self.0.store(u8::try_from(kind + 1).unwrap_or(u8::MAX), Ordering::Relaxed);
    }
}

/// A connection whose frames are counted on their way in.
#[derive(Debug)]
pub(super) struct Metered {
    stream: Stream,
    /// What was read before anybody knew that this is HTTP/2, from `given` on.
    read: Buffer,
    given: usize,
    follow: Follow,
    clock: Clock,
    flood: Arc<Flood>,
}

impl Metered {
    pub(super) fn new(stream: Stream, read: Buffer, clock: Clock, flood: Arc<Flood>) -> Self {
        let follow = Follow::new(clock.now());
        Self { stream, read, given: 0, follow, clock, flood }
    }

    fn count(&mut self, bytes: &[u8]) {
        // Once per read, and only if a frame that counts is in it.
        let clock = &self.clock;
        if let Some(kind) = self.follow.take(bytes, || clock.now()) {
            self.flood.raise(kind);
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let left = this.read.filled().get(this.given..).unwrap_or_default();
        if left.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
        } else {
            let n = left.len().min(into.remaining());
            into.put_slice(&left[..n]);
            this.given += n;
            if this.given == this.read.len() {
                this.read = Buffer::none();
                this.given = 0;
            }
        }
        this.count(into.filled().get(before..).unwrap_or_default());
        match this.follow.begins_wrongly {
            // RFC 9113 §3.4: a connection error, of which nothing need be said. h2 would serve such a client.
            true => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "no SETTINGS behind the preface"))),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Follows the frames and keeps their accounts.
#[derive(Debug)]
struct Follow {
    /// Bytes to pass over: the preface, then the content of a frame.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    /// Whether the first frame was seen, which must be SETTINGS; and that it was something else.
    begun: bool,
    begins_wrongly: bool,
    accounts: [Account; KINDS.len()],
}

/// What is left of a kind's allowance.
#[derive(Clone, Copy, Debug)]
struct Account {
    left: f64,
    looked: Instant,
}

impl Follow {
    fn new(now: Instant) -> Self {
        let accounts = std::array::from_fn(|kind| Account { left: f64::from(KINDS[kind].burst), looked: now });
        Self { skip: PREFACE, header: [0; HEADER], have: 0, begun: false, begins_wrongly: false, accounts }
    }

    /// Takes the next bytes; gives the kind of frame that came too often, if one did.
    fn take(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Option<usize> {
        let mut too_many = None;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have < HEADER {
                break;
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.header;
            self.begins_wrongly |= !self.begun && (kind != SETTINGS || flags & ACK_OR_END != 0);
            self.begun = true;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if let Some(kind) = counted(kind, flags, self.skip)
                && !self.accounts[kind].spend(&KINDS[kind], now())
            {
                too_many = Some(kind);
            }
        }
        too_many
    }
}

/// Whether h2 ended the connection because of too much of something: it has bounds of its own, and does not say which was
/// met.
pub(super) fn is_flood(error: &h2::Error) -> bool {
    error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
}

/// Which account a frame belongs to (RFC 9113 §6).
fn counted(kind: u8, flags: u8, length: usize) -> Option<usize> {
    match kind {
        0 if length == 0 && flags & ACK_OR_END == 0 => Some(5),
        2 => Some(3),
        3 => Some(0),
        SETTINGS if flags & ACK_OR_END == 0 => Some(2),
        6 if flags & ACK_OR_END == 0 => Some(1),
        9 => Some(4),
        _ => None,
    }
}

impl Account {
    /// Takes one; whether there was one.
    fn spend(&mut self, kind: &Kind, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.looked).as_secs_f64();
        self.looked = now;
        self.left = (self.left + passed * f64::from(kind.per_second)).min(f64::from(kind.burst)) - 1.0;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0, (length >> 8) as u8, length as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER + length, 0);
        bytes
    }

    fn start() -> Instant {
        Clock::fake(std::time::UNIX_EPOCH).now()
    }

    /// How many frames of this kind are taken before it is too many, cut into reads of `cut` bytes.
    fn most(kind: u8, length: usize, cut: usize) -> u32 {
        let now = start();
        let mut follow = Follow::new(now);
        assert_eq!(follow.take(&[b'x'; PREFACE], || now), None);
        for n in 0..10_000 {
            for bytes in frame(kind, 0, length).chunks(cut) {
                if follow.take(bytes, || now).is_some() {
                    return n;
                }
            }
        }
        u32::MAX
    }

    #[test]
    fn every_kind_has_its_allowance_however_the_frames_are_cut() {
        for cut in [1, 7, 9, 1000] {
            let kinds = [(3, 4), (6, 8), (4, 0), (2, 5), (9, 10), (0, 0)];
            assert_eq!(kinds.map(|(kind, length)| most(kind, length, cut)), [200, 100, 50, 500, 200, 100]);
            assert_eq!(most(0, 10, cut), u32::MAX, "content is never too much");
            assert_eq!(most(8, 4, cut), u32::MAX);
        }
    }

    #[test]
    fn settings_come_first() {
        let now = start();
        for (kind, flags, wrong) in [(4, 0, false), (4, 1, true), (6, 0, true), (1, 5, true)] {
            let mut follow = Follow::new(now);
            let first = [&[b'x'; PREFACE][..], &frame(kind, flags, 0)[..]].concat();
            first.chunks(5).for_each(|bytes| assert_eq!(follow.take(bytes, || now), None));
            assert_eq!(follow.begins_wrongly, wrong);
            follow.take(&frame(6, 0, 8), || now);
            assert_eq!(follow.begins_wrongly, wrong, "later frames may be any");
        }
    }

    #[test]
    fn answers_and_ends_are_free() {
        let now = start();
        let mut follow = Follow::new(now);
        follow.take(&[b'x'; PREFACE], || now);
        for (kind, length) in [(4, 0), (6, 8), (0, 0)] {
            for _ in 0..1000 {
                assert_eq!(follow.take(&frame(kind, 1, length), || now), None);
            }
        }
    }

    #[test]
    fn time_gives_the_allowance_back() {
        let now = start();
        let mut follow = Follow::new(now);
        follow.take(&[b'x'; PREFACE], || now);
        let pings = |follow: &mut Follow, n: u32, now| (0..n).find(|_| follow.take(&frame(6, 0, 8), || now).is_some());
        assert_eq!(pings(&mut follow, 100, now), None);
        assert_eq!(pings(&mut follow, 21, now + Duration::from_secs(1)), Some(20));
        assert_eq!(
            pings(&mut follow, 101, now + Duration::from_secs(3600)),
            Some(100),
            "and never more than the burst"
        );
    }
}
