//! How much time is left, as callers and services tell each other in a header of their choice (`deadline` of a route).

use std::time::{Duration, Instant};

use tollgate_config::model::{Accept, TimeUnit};
use tollgate_core::exchange::{Exchange, Peer};
use tollgate_plan::DeadlineField;

/// The longest that is understood: more is no deadline.
const MOST: f64 = 366.0 * 24.0 * 3600.0;

/// How much time the caller says is left, if it is one whose word counts.
pub(crate) fn told(x: &Exchange, field: &DeadlineField) -> Option<Duration> {
    let counts = match field.accept {
        Accept::Always => true,
        Accept::Trusted => x.peer == Peer::Proxy,
        Accept::Never => false,
    };
    let mut values = x.head.fields.all(&field.name).filter(|_| counts);
    // Of two that differ nobody knows which is meant; the shorter one is right for both.
    let first = values.next().and_then(|value| read(value, field.unit));
    values.filter_map(|value| read(value, field.unit)).chain(first).min()
}

/// A number without a sign, with a fraction perhaps; `None`: it says nothing that can be understood.
fn read(value: &[u8], unit: TimeUnit) -> Option<Duration> {
    let is_number = (1..=16).contains(&value.len()) && value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let number: f64 = std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()?;
    let seconds = match unit {
        TimeUnit::Milliseconds => number / 1000.0,
        TimeUnit::Seconds => number,
    };
    (seconds <= MOST).then(|| Duration::from_secs_f64(seconds))
}

/// Writes the field for what is left until then.
pub(crate) fn write(out: &mut Vec<u8>, field: &DeadlineField, until: Instant, now: Instant) {
    let left = until.saturating_duration_since(now).as_millis();
    let number = match field.unit {
        TimeUnit::Milliseconds => left.to_string(),
        TimeUnit::Seconds => format!("{}.{:03}", left / 1000, left % 1000),
    };
    for piece in [field.name.as_bytes(), b": ", number.as_bytes(), b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::clock::Clock;

    #[test]
    fn what_is_no_number_says_nothing() {
        let millis = |text: &str| read(text.as_bytes(), TimeUnit::Milliseconds);
        assert_eq!(millis("250"), Some(Duration::from_millis(250)));
        assert_eq!(millis("0"), Some(Duration::ZERO));
        assert_eq!(read(b"1.5", TimeUnit::Seconds), Some(Duration::from_millis(1500)));
        for wrong in ["", "-1", "+1", "1e9", "1s", ".", "1.2.3", "inf", "99999999999999999", " 5"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
        assert_eq!(read(b"999999999", TimeUnit::Seconds), None, "more than a year");
    }

    #[test]
    fn what_is_left_is_written_in_its_unit() {
        let now = Clock::real().now();
        let told = |unit, left| {
            let mut out = Vec::new();
            let field = DeadlineField { name: "X-Left".into(), unit, accept: Accept::Always };
            write(&mut out, &field, now + Duration::from_millis(left), now);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told(TimeUnit::Milliseconds, 250), "X-Left: 250\r\n");
        assert_eq!(told(TimeUnit::Seconds, 2005), "X-Left: 2.005\r\n");
        assert_eq!(told(TimeUnit::Milliseconds, 0), "X-Left: 0\r\n");
    }
}
