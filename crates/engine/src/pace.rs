//! Whether a client keeps the pace of `limits.pace`.
//!
//! The clock runs only while it is the client that is waited for. A client begins with a `grace` of time; what it waits uses that
//! up, and every byte earns some back: so that it must be as fast as the rate, `grace` aside, wherever one begins to look. Nothing
//! is done per byte: bytes are counted anyway, and looked at when the exchange is.

use std::time::{Duration, Instant};

use tollgate_config::model::{Limits, OrNone, Pace};
use tollgate_core::field::Known;
use tollgate_core::head::Fields;
use tollgate_core::units::ByteRate;

use crate::deployment::Deployment;
use crate::faults::{SLOW_BODY, SLOW_READER};
use crate::http::downstream::{Client, Downstream};
use crate::http::line::Line;
use crate::http::turn::Turn;
use crate::respond::Halt;

/// The least that a client must do, one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least {
    /// Bytes in a second; more than none.
    rate: u64,
    grace: Duration,
}

impl Least {
    /// Of bodies of requests.
    pub(crate) fn of_requests(limits: &Limits) -> Option<Self> {
        let pace = pace(limits)?;
        Self::new(&pace.request, pace)
    }

    /// Of answers that are read. That shows in lumps: the system, and the windows of HTTP/2, make room for more only once much was
    /// read. No lump counts for more than the grace all the same: the first ones go into buffers of the client's system, and say
    /// nothing of the client.
    pub(crate) fn of_answers(limits: &Limits) -> Option<Self> {
        let pace = pace(limits)?;
        Self::new(&pace.response, pace)
    }

    fn new(rate: &OrNone<ByteRate>, pace: &Pace) -> Option<Self> {
        match rate {
            OrNone::Some(rate) => Some(Self { rate: rate.per_second().get(), grace: pace.grace.0 }),
            OrNone::None => None,
        }
    }

    /// The same with this grace, if that is longer.
    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        Self { grace: self.grace.max(grace), ..self }
    }

    /// What is spent of the grace after so many bytes in so much time. Who looks late does not hold that against anybody.
    fn spent(&self, before: Duration, bytes: u64, elapsed: Duration) -> Duration {
        let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.rate);
        before.saturating_add(elapsed).min(self.grace).saturating_sub(earned)
    }
}

fn pace(limits: &Limits) -> Option<&Pace> {
    match &limits.pace {
        OrNone::Some(pace) => Some(pace),
        OrNone::None => None,
    }
}

/// How a client stands, one way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// Bytes at the last look.
    bytes: u64,
    /// How much of its grace was spent by then.
    spent: Duration,
    /// The client has been waited for since then.
    since: Option<Instant>,
}

impl Meter {
    /// Looks at it; `bytes`: all that it ever did, `waits`: it is waited for. Gives until when, if it does nothing.
    pub(crate) fn look(
        &mut self,
        least: Least,
        bytes: u64,
        waits: bool,
        now: impl FnOnce() -> Instant,
    ) -> Option<Instant> {
        if bytes > self.bytes || waits != self.since.is_some() {
            let (more, now) = (bytes.saturating_sub(self.bytes), now());
            // What passed while nobody waited says nothing: of an answer, it may be in a buffer of the system.
            if let Some(since) = self.since {
                self.spent = least.spent(self.spent, more, now.saturating_duration_since(since));
            }
            (self.bytes, self.since) = (self.bytes.max(bytes), waits.then_some(now));
        }
        self.since?.checked_add(least.grace.saturating_sub(self.spent))
    }
}

/// Until when the client is waited for, each way; `None`: that is not what is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dues {
    /// To go on sending its request.
    pub(crate) up: Option<Instant>,
    /// To go on reading the answer.
    pub(crate) down: Option<Instant>,
}

impl Dues {
    /// The earlier of what is due, and this.
    pub(crate) fn before(&self, deadline: Instant) -> Instant {
        [self.up, self.down].into_iter().flatten().fold(deadline, Instant::min)
    }

    /// Who was too slow for it, if that was over before this.
    pub(crate) fn missed(&self, deadline: Instant) -> Option<Halt> {
        let at = self.before(deadline);
        let fault = match (self.up, self.down) {
            (_, Some(down)) if down == at => &SLOW_READER,
            (Some(up), _) if up == at => &SLOW_BODY,
            _ => return None,
        };
        Some(Halt::Slow(fault))
    }
}

/// Until when the client may be waited for to send what is missing of its request. `waits`: that is what is waited for.
pub(crate) fn upload<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    line: Option<&Line>,
    waits: bool,
) -> Option<Instant> {
    let least = Least::of_requests(&d.rules.limits)?;
    // A stream of calls lasts as long as it likes, and says little or nothing for a while.
    let waits = waits && !(turn.is_grpc && matches!(line, Some(Line::Frames(_))));
    // Not looked at before it is waited for, and then no more than is needed.
    let arriving = if waits { client.side.arriving() } else { 0 };
    turn.upload.pace_in(least, arriving, waits, || client.look())
}

/// Until when the client may be waited for to take what there is of the answer.
pub(crate) fn download<S>(client: &mut Client<S>, turn: &mut Turn, d: &Deployment) -> Option<Instant> {
    let least = Least::of_answers(&d.rules.limits)?;
    let waits = turn.download.is_blocked_on_sink(&turn.reply_head) && !has_events(&turn.x.reply.head.fields);
    turn.download.pace_out(least, waits, || client.look())
}

/// Whether these are the fields of an answer that is a stream of events (WHATWG HTML §9.2), which lasts as long as somebody listens.
pub(crate) fn has_events(fields: &Fields) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = fields.known(Known::ContentType).and_then(|kind| kind.split_at_checked(EVENTS.len()));
    kind.is_some_and(|(kind, behind)| {
        kind.eq_ignore_ascii_case(EVENTS) && matches!(behind.first(), None | Some(b';' | b' ' | b'\t'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const LEAST: Least = Least { rate: 100, grace: Duration::from_secs(10) };

    /// Looks at these times, with so many bytes by then and whether it is waited for; gives how many seconds are left each time.
    fn left(looks: &[(u32, u64, bool)]) -> Vec<Option<u64>> {
        let (start, mut meter) = (tollgate_core::clock::Clock::fake(std::time::UNIX_EPOCH).now(), Meter::default());
        let look = |&(second, bytes, waits): &(u32, u64, bool)| {
            let now = start + second * SECOND;
            meter.look(LEAST, bytes, waits, || now).map(|due| due.saturating_duration_since(now).as_secs())
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn a_client_has_its_grace_and_earns_time_by_what_it_sends() {
        let looks = [(0, 0, true), (4, 200, true), (9, 300, true), (10, 300, true), (13, 400, true)];
        assert_eq!(left(&looks), [Some(10), Some(8), Some(4), Some(3), Some(1)]);
    }

    #[test]
    fn nobody_saves_up_more_than_the_grace() {
        let looks = [(0, 0, true), (1, 1_000_000, true), (11, 1_000_000, true)];
        assert_eq!(left(&looks), [Some(10), Some(10), Some(0)]);
    }

    #[test]
    fn time_in_which_others_are_waited_for_is_not_held_against_it() {
        let looks = [(0, 0, true), (4, 0, false), (1000, 0, false), (1000, 0, true), (1006, 0, true)];
        assert_eq!(left(&looks), [Some(10), None, None, Some(6), Some(0)]);
    }

    #[test]
    fn what_passed_before_it_was_waited_for_earns_nothing() {
        let looks = [(0, 0, true), (4, 0, true), (5, 0, false), (6, 500_000, false), (7, 500_000, true)];
        assert_eq!(left(&looks), [Some(10), Some(6), None, None, Some(5)]);
    }

    #[test]
    fn more_grace_is_given_at_once() {
        let (start, mut meter) = (tollgate_core::clock::Clock::fake(std::time::UNIX_EPOCH).now(), Meter::default());
        for (seconds, due) in [(10, 10), (60, 60)] {
            let least = LEAST.with_grace(seconds * SECOND);
            assert_eq!(meter.look(least, 0, true, || start), Some(start + due * SECOND));
        }
    }

    #[test]
    fn who_was_late_to_look_does_not_hold_that_against_it() {
        assert_eq!(left(&[(0, 0, true), (60, 500, true)]), [Some(10), Some(5)]);
    }
}
