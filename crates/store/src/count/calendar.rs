//! Counts per day, week or month of a calendar.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use tollgate_core::counters::{Each, Taken};

use super::table::Meaning;

/// Bits of a word that count; those above tell when the window ends.
const COUNT: u32 = 30;
/// The largest count.
pub(crate) const MOST: u32 = (1 << COUNT) - 1;
/// Windows end at whole quarters of an hour, wherever they are: no zone has other offsets today. 2^26 of them are 1900 years.
const QUARTER: u64 = 900;

/// A word is the quarter of an hour at which its window ends, and how much was taken in it.
#[derive(Debug)]
pub(crate) struct UntilEnd;

impl Meaning for UntilEnd {
    fn is_over(word: u64, now: u64) -> bool {
        word >> COUNT <= now
    }

    /// What has counted least.
    fn weight(word: u64, _: u64) -> u64 {
        word & u64::from(MOST)
    }
}

/// The quarter of an hour that a time is in.
pub(crate) fn quarter(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / QUARTER
}

/// Counts windows of one kind.
#[derive(Debug)]
pub(crate) struct Calendar {
    most: u32,
    each: Each,
    zone: TimeZone,
    /// The end of the window that we are in, a quarter of an hour, looked up once.
    end: AtomicU64,
}

impl Calendar {
    pub(crate) fn new(most: u32, each: Each, zone: TimeZone) -> Self {
        Self { most: most.min(MOST), each, zone, end: AtomicU64::new(0) }
    }

    /// The end of the window that this time is in.
    pub(crate) fn end(&self, now: SystemTime) -> u64 {
        let (known, quarter) = (self.end.load(Ordering::Relaxed), quarter(now));
        // A clock that was set back may be in the window before; that is one that is over.
        if quarter < known {
            return known;
        }
        let end = end(now, self.each, &self.zone).map_or(quarter + 1, |end| end.div_ceil(QUARTER));
        self.end.store(end, Ordering::Relaxed);
        end
    }

    /// The same, of any time.
    pub(crate) fn end_at(&self, time: SystemTime) -> u64 {
        end(time, self.each, &self.zone).map_or_else(|| quarter(time) + 1, |end| end.div_ceil(QUARTER))
    }

    /// Takes so much in the window that ends then.
    pub(crate) fn take(&self, word: u64, end: u64, now: SystemTime, cost: u32) -> (Option<u64>, Taken) {
        let counted = if word >> COUNT == end { word & u64::from(MOST) } else { 0 };
        let until = UNIX_EPOCH + Duration::from_secs(end * QUARTER);
        let whole = until.duration_since(now).unwrap_or_default();
        let (after, most) = (counted + u64::from(cost), u64::from(self.most));
        if after > most {
            return (None, Taken { refused: Some(whole), left: most.saturating_sub(counted), whole });
        }
        (Some(end << COUNT | after), Taken { refused: None, left: most - after, whole })
    }

    /// The word after so much was given back; `None`: nothing was taken.
    pub(crate) fn give_back(&self, word: u64, end: u64, cost: u32) -> Option<u64> {
        let counted = word & u64::from(MOST);
        (word >> COUNT == end).then(|| end << COUNT | counted.saturating_sub(u64::from(cost)))
    }
}

/// When the window ends that this time is in: seconds of Unix time. `None`: beyond what a calendar knows.
fn end(now: SystemTime, each: Each, zone: &TimeZone) -> Option<u64> {
    let now = Timestamp::try_from(now).ok()?.to_zoned_datetime(zone.clone());
    let days = match each {
        Each::Day => Span::new().days(1),
        Each::Week => Span::new().days(8 - i64::from(now.weekday().to_monday_one_offset())),
        Each::Month => Span::new().months(1),
    };
    let first = if each == Each::Month { now.first_of_month().ok()? } else { now };
    let end = first.checked_add(days).ok()?.start_of_day().ok()?;
    u64::try_from(end.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().try_into().unwrap()
    }

    fn ends(now: &str, each: Each, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let seconds = end(at(now), each, &zone).unwrap();
        Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap().to_string()
    }

    #[test]
    fn windows_end_where_the_calendar_of_the_zone_says() {
        assert_eq!(ends("2026-11-27T23:59:59Z", Each::Day, "UTC"), "2026-11-28T00:00:00Z");
        assert_eq!(ends("2026-11-28T00:00:00Z", Each::Day, "UTC"), "2026-11-29T00:00:00Z");
        assert_eq!(ends("2026-11-27T23:30:00Z", Each::Day, "Europe/Berlin"), "2026-11-28T23:00:00Z");
        // The days on which clocks are set have 23 and 25 hours.
        assert_eq!(ends("2026-03-28T23:30:00Z", Each::Day, "Europe/Berlin"), "2026-03-29T22:00:00Z");
        assert_eq!(ends("2026-10-24T22:30:00Z", Each::Day, "Europe/Berlin"), "2026-10-25T23:00:00Z");
        assert_eq!(ends("2026-11-27T12:00:00Z", Each::Week, "UTC"), "2026-11-30T00:00:00Z");
        assert_eq!(ends("2026-11-30T00:00:00Z", Each::Week, "UTC"), "2026-12-07T00:00:00Z");
        assert_eq!(ends("2026-11-29T23:59:59Z", Each::Week, "UTC"), "2026-11-30T00:00:00Z");
        assert_eq!(ends("2026-12-31T12:00:00Z", Each::Month, "Asia/Kathmandu"), "2026-12-31T18:15:00Z");
        assert_eq!(ends("2028-02-01T00:00:00Z", Each::Month, "UTC"), "2028-03-01T00:00:00Z");
    }

    #[test]
    fn a_count_is_exact_and_begins_anew_with_each_window() {
        let calendar = Calendar::new(2, Each::Day, TimeZone::UTC);
        let mut word = 0;
        let mut take = |now: &str, cost| {
            let (new, taken) = calendar.take(word, calendar.end(at(now)), at(now), cost);
            word = new.unwrap_or(word);
            (taken.refused.map(|wait| wait.as_secs()), taken.left)
        };
        assert_eq!((take("2026-11-27T00:00:00Z", 1), take("2026-11-27T12:00:00Z", 1)), ((None, 1), (None, 0)));
        assert_eq!(take("2026-11-27T23:00:00Z", 1), (Some(3600), 0));
        assert_eq!(take("2026-11-28T00:00:00Z", 3), (Some(86_400), 2), "more than there is in a day");
        assert_eq!(take("2026-11-28T00:00:00Z", 2), (None, 0));
    }
}
