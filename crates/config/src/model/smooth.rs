//! `smooth`: requests go evenly spaced, at most so many in a time.

use std::fmt;
use std::time::Duration;

use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::node::{Entry, Node, Span, Value};
use tollgate_core::pacer::Spacing;
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema};
use tollgate_core::units::{Bounded, Period};

use crate::model::defaults::v1;

section! {
    /// Requests go evenly spaced; those that come too soon wait for their turn.
    pub struct Smooth {
        /// How often one may go: `50/s`, `30/min`.
        rate: Evenly,
        /// How many may wait; beyond it the answer is 503 at once. 0: none waits.
        queue: Bounded<0, 1_000_000> = v1::SMOOTH_QUEUE,
        /// How long one may wait at most; who would have to wait longer is answered 503 at once. Without it, as long as its time allows.
        wait: Option<Period>,
    }
}

impl Smooth {
    /// The same for whoever keeps to it.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        Spacing { interval: self.rate.interval(), queue: u32::try_from(self.queue.get()).unwrap_or(u32::MAX) }
    }
}

impl fmt::Display for Smooth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, evenly spaced; {} may wait", self.rate, self.queue.get())?;
        self.wait.map_or(Ok(()), |most| write!(f, ", each at most {}", written(most.0)))
    }
}

/// A span of time as it could be written in the file.
fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

/// The most in a time.
const MOST: u32 = 1_000_000;
/// The longest time.
const HOUR: u64 = 3600;
const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", HOUR)];

/// So many in a time, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evenly {
    count: u32,
    seconds: u64,
    /// As it is written.
    text: String,
}

impl Evenly {
    /// From one to the next. Rounded up: the rate is never exceeded.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_nanos((self.seconds * 1_000_000_000).div_ceil(self.count.into()))
    }
}

impl fmt::Display for Evenly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromText for Evenly {
    const WHAT: &'static str = "a rate: `50/s`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let wrong = |hint: String| Err(Diagnostic::error(format!("`{text}` is no rate to smooth to")).hint(hint));
        if text.trim().contains(char::is_whitespace) {
            return wrong("write `50/s queue 100 wait 2s`".to_owned());
        }
        let Some((count, window)) = text.split_once('/') else {
            return wrong("a number and a time: `50/s`, `30/min`, `1/10s`".to_owned());
        };
        let Some(count) = count.trim().parse().ok().filter(|count| (1..=MOST).contains(count)) else {
            return wrong(format!("a whole number before the `/`, from 1 to {MOST}"));
        };
        let window = window.trim();
        let (many, unit) =
            window.split_at(window.len() - window.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        let Some((_, seconds)) = UNITS.iter().find(|(word, _)| *word == unit) else {
            let words = UNITS.map(|(word, _)| word);
            let meant = words.into_iter().find(|word| unit.starts_with(word)).or_else(|| nearest(unit, words));
            return wrong(match meant.filter(|_| unit.len() > 1) {
                Some(meant) => format!("did you mean `/{meant}`?"),
                None => "a time after the `/`: `s`, `min` or `h`".to_owned(),
            });
        };
        let many = if many.is_empty() { Some(1) } else { many.parse::<u64>().ok().filter(|many| *many > 0) };
        match many.and_then(|many| many.checked_mul(*seconds)).filter(|all| *all <= HOUR) {
            Some(seconds) => Ok(Self { count, seconds, text: text.trim().to_owned() }),
            None => wrong("from `1s` to `1h`".to_owned()),
        }
    }
}

decode_from_text!(Evenly);
text_schema!(
    Evenly,
    "Evenly",
    "description": "So many in a time, evenly spaced.",
    "pattern": r"^[0-9]+/[0-9]*(s|min|h)$",
    "examples": ["50/s", "30/min", "1/10s"]
);

/// What the short form looks like.
pub const SMOOTH_PATTERN: &str = r"^[0-9]+/[0-9]*(s|min|h)( queue [0-9]+)?( wait \S+)?$";

/// `50/s queue 100 wait 2s` → `{ rate: 50/s, queue: 100, wait: 2s }`.
pub fn smooth_in_full(node: &mut Node) {
    let Value::String(text) = &node.value else { return };
    let (text, span) = (text.clone(), node.span.clone());
    let entries = parts(&text, &span);
    // What is no such text is taken for the rate, of which that is told.
    let rate = || vec![Entry::at("rate", Node::new(text.as_str().into(), span.clone()))];
    node.value = Value::Map(entries.unwrap_or_else(rate));
}

fn parts(text: &str, span: &Span) -> Option<Vec<Entry>> {
    let at = |key: &str, value: Value, written: &str| Entry::at(key, Node::new(value, span.narrow(written)));
    let mut words = text.split_whitespace();
    let rate = words.next()?;
    let mut parts = vec![at("rate", rate.into(), rate)];
    while let Some(word) = words.next() {
        let value = words.next()?;
        if parts.iter().any(|part| part.key == word) {
            return None;
        }
        parts.push(match word {
            "queue" => at("queue", value.parse::<i64>().map_or_else(|_| value.into(), Value::Int), value),
            "wait" => at("wait", value.into(), value),
            _ => return None,
        });
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_how_far_apart() {
        let millis = |text| Evenly::from_text(text).unwrap().interval().as_micros();
        assert_eq!(
            [millis("50/s"), millis("30/min"), millis("1/10s"), millis("1/h")],
            [20_000, 2_000_000, 10_000_000, 3_600_000_000]
        );
        assert_eq!(Evenly::from_text("3/s").unwrap().interval(), Duration::from_nanos(333_333_334));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let told = |text| Evenly::from_text(text).unwrap_err().hint.unwrap();
        assert_eq!(told("50"), "a number and a time: `50/s`, `30/min`, `1/10s`");
        assert_eq!(told("0/s"), "a whole number before the `/`, from 1 to 1000000");
        assert_eq!(told("5/minute"), "did you mean `/min`?");
        assert_eq!(told("5/day"), "a time after the `/`: `s`, `min` or `h`");
        assert_eq!(told("5/2h"), "from `1s` to `1h`");
    }
}
