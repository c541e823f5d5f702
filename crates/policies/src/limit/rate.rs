//! How often: `100/min`, `5/10s`, `1/day`.

use std::fmt;
use std::time::Duration;

use tollgate_core::counters::Each;
use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::text::{FromText, decode_from_text, text_schema};

/// The largest count: what fits into a counter of a calendar's window.
const MOST: u32 = 1_000_000_000;
/// The longest window that is no calendar's.
const HOUR: u64 = 3600;
/// How the units of windows are written, with their seconds.
const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", HOUR)];
/// How windows of the calendar are written.
const CALENDAR: [(&str, Each); 3] = [("day", Each::Day), ("week", Each::Week), ("month", Each::Month)];

/// So many in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub(super) count: u32,
    /// In which time.
    pub(super) window: Window,
}

/// The time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// So many of a unit.
    Units(u64, &'static str, u64),
    /// One of the calendar.
    Each(Each),
}

impl Window {
    /// About how long it is, for those who are told in seconds.
    pub(super) fn seconds(self) -> u64 {
        match self {
            Self::Units(count, _, seconds) => count * seconds,
            Self::Each(Each::Day) => 86_400,
            Self::Each(Each::Week) => 7 * 86_400,
            Self::Each(Each::Month) => 30 * 86_400,
        }
    }

    pub(super) fn length(self) -> Duration {
        Duration::from_secs(self.seconds())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(1, unit, _) => f.write_str(unit),
            Self::Units(count, unit, _) => write!(f, "{count}{unit}"),
            Self::Each(each) => f.write_str(CALENDAR.iter().find(|(_, own)| own == each).map_or("", |(word, _)| word)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.window)
    }
}

impl FromText for Rate {
    const WHAT: &'static str = "a rate: `100/min`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let no_rate = || Diagnostic::error(format!("`{text}` is no rate"));
        if text.trim().contains(char::is_whitespace) {
            let mistake = Diagnostic::error(format!("`{text}` is no limit"));
            return Err(
                mistake.hint("`100/min per user and ip burst 20`, `100/min per user exact`, `1/day in Europe/Berlin`")
            );
        }
        let Some((count, window)) = text.split_once('/') else {
            return Err(no_rate().hint("a number and a time: `100/min`, `5/10s`, `1/day`"));
        };
        let counted = count.trim().parse().ok().filter(|count| (1..=MOST).contains(count));
        let Some(count) = counted else {
            return Err(no_rate().hint(format!("a whole number before the `/`, from 1 to {MOST}")));
        };
        Ok(Self { count, window: Self::window(window.trim(), &no_rate)? })
    }
}

decode_from_text!(Rate);
text_schema!(
    Rate,
    "Rate",
    "description": "So many in each second, minute or hour, or a few of them; or in each day, week or month of the calendar.",
    "pattern": r"^[0-9]+/([0-9]*(s|min|h)|day|week|month)$",
    "examples": ["100/min", "5/10s", "1/day"]
);

impl Rate {
    fn window(text: &str, no_rate: &dyn Fn() -> Diagnostic) -> Result<Window, Diagnostic> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (many, unit) = text.split_at(digits);
        let many = if many.is_empty() { Some(1) } else { many.parse().ok().filter(|many| *many > 0) };
        if let Some((_, each)) = CALENDAR.iter().find(|(word, _)| *word == unit) {
            return match digits {
                0 => Ok(Window::Each(*each)),
                _ => Err(no_rate().hint(format!("one {unit}: `/{unit}`"))),
            };
        }
        let Some((unit, seconds)) = UNITS.iter().find(|(word, _)| *word == unit) else {
            let words = UNITS.iter().map(|(word, _)| *word).chain(CALENDAR.iter().map(|(word, _)| *word));
            let meant = words.clone().find(|word| unit.starts_with(word)).or_else(|| nearest(unit, words));
            return Err(match meant.filter(|_| unit.len() > 1) {
                Some(meant) => no_rate().hint(format!("did you mean `/{meant}`?")),
                None => no_rate().hint("a time after the `/`: `s`, `min`, `h`, `day`, `week` or `month`"),
            });
        };
        match many.filter(|many: &u64| many.saturating_mul(*seconds) <= HOUR) {
            Some(many) => Ok(Window::Units(many, unit, *seconds)),
            None => {
                Err(no_rate()
                    .hint("from `1s` to `1h`; longer ones are those of the calendar: `/day`, `/week`, `/month`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_as_it_is_written() {
        for text in ["100/min", "5/10s", "1/day", "3/week", "1000000000/month", "1/h", "7/15min"] {
            assert_eq!(Rate::from_text(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::from_text("7/15min").unwrap().window.seconds(), 900);
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let told = |text| Rate::from_text(text).unwrap_err().hint.unwrap();
        assert_eq!(told("100"), "a number and a time: `100/min`, `5/10s`, `1/day`");
        assert_eq!(told("0/s"), "a whole number before the `/`, from 1 to 1000000000");
        assert_eq!(told("1.5/s"), told("0/s"));
        assert_eq!(told("10/minute"), "did you mean `/min`?");
        assert_eq!(told("10/m"), "a time after the `/`: `s`, `min`, `h`, `day`, `week` or `month`");
        assert_eq!(told("10/"), told("10/m"));
        for text in ["10/0s", "10/2h", "10/3601s", "10/99999999999999999999s"] {
            assert!(told(text).starts_with("from `1s` to `1h`"), "{text}");
        }
        assert_eq!(told("10/2day"), "one day: `/day`");
    }
}
