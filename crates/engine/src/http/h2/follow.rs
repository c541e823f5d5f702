//! Follows the headers of frames (RFC 9113 §4.1) in the bytes that come, and keeps account of the kinds that are dear to us and cheap to
//! their sender.

use std::time::Instant;

/// The client's preface, before the first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
/// The flag ACK, and END_STREAM of other frames.
const ACK_OR_END: u8 = 1;
const END_HEADERS: u8 = 4;

/// For how many at most that is kept: for what may be on its way when we stop to write.
const MOST_UPDATES: f64 = 65_536.0;

/// Kinds of frames that are counted, with how many may come at once and how many per second after that.
static KINDS: [Kind; 8] = [
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
    // CVE-2019-9511: room for a byte at a time, so that each needs a frame. What is written gives more, see [`Follow::may_update`].
    Kind { name: "window_update", burst: 2000, per_second: 1000 },
    // Types that nobody here knows: read and passed over (RFC 9113 §5.5).
    Kind { name: "extension", burst: 500, per_second: 100 },
];
const WINDOW_UPDATE: usize = 6;

struct Kind {
    name: &'static str,
    burst: u32,
    per_second: u32,
}

/// The name of a kind.
pub(super) fn name(kind: usize) -> &'static str {
    KINDS.get(kind).map_or("", |kind| kind.name)
}

/// Follows the frames and keeps their accounts.
#[derive(Debug)]
pub(super) struct Follow {
    /// Bytes to pass over: the preface, then the content of a frame.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    /// Whether the first frame was seen, which must be SETTINGS; and that it was something else.
    begun: bool,
    pub(super) begins_wrongly: bool,
    /// When the head began that is not complete.
    pub(super) head: Option<Instant>,
    accounts: [Account; KINDS.len()],
}

/// What is left of a kind's allowance.
#[derive(Clone, Copy, Debug)]
struct Account {
    left: f64,
    looked: Instant,
}

impl Follow {
    pub(super) fn new(now: Instant) -> Self {
        let accounts = std::array::from_fn(|kind| Account { left: f64::from(KINDS[kind].burst), looked: now });
        Self { skip: PREFACE, header: [0; HEADER], have: 0, begun: false, begins_wrongly: false, head: None, accounts }
    }

    /// Takes the next bytes; gives the kind of frame that came too often, if one did.
    pub(super) fn take(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Option<usize> {
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
            if kind == HEADERS {
                self.head = None;
            }
            self.begins_wrongly |= !self.begun && (kind != SETTINGS || flags & ACK_OR_END != 0);
            self.begun = true;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if let Some(kind) = counted(kind, flags, self.skip)
                && !self.accounts[kind].spend(&KINDS[kind], now())
            {
                too_many = Some(kind);
            }
        }
        self.head = if self.is_in_head() { Some(self.head.unwrap_or_else(now)) } else { None };
        too_many
    }

    /// So many more times the peer may tell of room.
    pub(super) fn may_update(&mut self, more: u64) {
        self.accounts[WINDOW_UPDATE].credit(more);
    }

    /// Whether there is a head, or the fields behind a body, of which something is missing.
    fn is_in_head(&self) -> bool {
        let [_, _, _, kind, flags, ..] = self.header;
        matches!(kind, HEADERS | CONTINUATION) && (self.skip > 0 || flags & END_HEADERS == 0)
    }

    /// The stream of a DATA frame of which something is missing, and how much is there.
    pub(super) fn half_data(&self) -> (u32, u32) {
        let [a, b, c, kind, _, stream @ ..] = self.header;
        if kind != DATA || self.skip == 0 {
            return (0, 0);
        }
        let length = u32::from_be_bytes([0, a, b, c]);
        (
            u32::from_be_bytes(stream) & (u32::MAX >> 1),
            length.saturating_sub(u32::try_from(self.skip).unwrap_or(length)),
        )
    }
}

/// Which account a frame belongs to (RFC 9113 §6).
fn counted(kind: u8, flags: u8, length: usize) -> Option<usize> {
    match kind {
        DATA if length == 0 && flags & ACK_OR_END == 0 => Some(5),
        2 => Some(3),
        3 => Some(0),
        SETTINGS if flags & ACK_OR_END == 0 => Some(2),
        6 if flags & ACK_OR_END == 0 => Some(1),
        8 => Some(WINDOW_UPDATE),
        CONTINUATION => Some(4),
        10.. => Some(7),
        _ => None,
    }
}

impl Account {
    /// Takes one; whether there was one.
    fn spend(&mut self, kind: &Kind, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.looked).as_secs_f64();
        self.looked = now;
        let most = self.left.max(f64::from(kind.burst));
        self.left = (self.left + passed * f64::from(kind.per_second)).min(most) - 1.0;
        self.left >= 0.0
    }

    /// Gives so many more.
    fn credit(&mut self, more: u64) {
        self.left = (self.left + more as f64).min(MOST_UPDATES);
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
        tollgate_core::clock::Clock::fake(std::time::UNIX_EPOCH).now()
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
            let kinds = [(3, 4), (6, 8), (4, 0), (2, 5), (9, 10), (0, 0), (8, 4), (10, 3), (255, 0)];
            assert_eq!(
                kinds.map(|(kind, length)| most(kind, length, cut)),
                [200, 100, 50, 500, 200, 100, 2000, 500, 500]
            );
            assert_eq!(most(0, 10, cut), u32::MAX, "content is never too much");
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
    fn what_was_written_may_be_answered_with_room_for_more() {
        let now = start();
        let mut follow = Follow::new(now);
        follow.take(&[b'x'; PREFACE], || now);
        follow.may_update(10_000);
        let updates = |follow: &mut Follow, n: u32| (0..n).find(|_| follow.take(&frame(8, 0, 4), || now).is_some());
        assert_eq!(updates(&mut follow, 20_000), Some(12_000));
        follow.may_update(u64::MAX);
        assert_eq!(updates(&mut follow, 100_000), Some(65_536), "and that has an end");
    }

    #[test]
    fn a_head_is_waited_for_from_its_first_byte_to_its_last() {
        let now = start();
        let later = now + Duration::from_secs(1);
        let mut follow = Follow::new(now);
        follow.take(&[b'x'; PREFACE], || now);
        let mut took = |bytes: &[u8], at| {
            follow.take(bytes, || at);
            follow.head
        };
        let (whole, open, last) = (frame(1, 4, 10), frame(1, 0, 10), frame(9, 4, 10));
        assert_eq!(took(&whole, now), None);
        assert_eq!(took(&whole[..12], now), Some(now));
        assert_eq!(took(&whole[12..15], later), Some(now));
        assert_eq!(took(&[&whole[15..], &open[..]].concat(), later), Some(later), "the next one has its own time");
        assert_eq!(took(&last[..HEADER + 3], later + Duration::from_secs(1)), Some(later));
        assert_eq!(took(&last[HEADER + 3..], later), None);
    }

    #[test]
    fn content_that_has_come_is_known_before_its_frame_is_complete() {
        let now = start();
        let mut follow = Follow::new(now);
        follow.take(&[b'x'; PREFACE - 1], || now);
        assert_eq!(follow.half_data(), (0, 0));
        follow.take(b"x", || now);
        let data = frame(0, 0, 600);
        for (to, told) in [(5, (0, 0)), (HEADER, (1, 0)), (HEADER + 400, (1, 400)), (data.len(), (0, 0))] {
            let mut follow = Follow::new(now);
            follow.take(&[b'x'; PREFACE], || now);
            follow.take(&data[..to], || now);
            assert_eq!(follow.half_data(), told, "{to}");
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
