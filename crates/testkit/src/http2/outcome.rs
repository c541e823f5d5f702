//! What may come of a case, in words: `status 1 200, ended 1`.

use std::fmt;

use super::client::Came;
use super::frame::Code;

/// Facts that all hold.
#[derive(Clone)]
pub struct Outcome {
    text: String,
    facts: Vec<Fact>,
}

#[derive(Clone)]
enum Fact {
    /// `fine`: nothing in particular; the connection serves on.
    Fine,
    /// `status STREAM NUMBER`.
    Status(u32, u16),
    /// `interim STREAM NUMBER`.
    Interim(u32, u16),
    /// `ended STREAM`: by END_STREAM.
    Ended(u32),
    /// `body STREAM LENGTH`: so many bytes so far.
    Body(u32, usize),
    /// `reset STREAM [CODE|CODE]`.
    Reset(u32, Vec<Code>),
    /// `goaway CODE|CODE`, after which the connection must end.
    Goaway(Vec<Code>),
    /// `closed`.
    Closed,
    /// `pong TEXT`: an answer to a PING.
    Pong(Vec<u8>),
    /// `acks NUMBER`: of SETTINGS.
    Acks(usize),
}

impl Outcome {
    /// Reads it.
    ///
    /// # Errors
    /// When it says nothing that is known.
    pub fn new(text: &str) -> Result<Self, String> {
        let facts = text.split(", ").map(fact).collect::<Option<Vec<_>>>();
        Ok(Self { text: text.to_owned(), facts: facts.ok_or_else(|| format!("{text:?} is no outcome"))? })
    }

    /// Whether all of it has come.
    #[must_use]
    pub fn holds(&self, came: &Came) -> bool {
        self.facts.iter().all(|fact| fact.holds(came))
    }

    /// Whether the connection serves on after it.
    #[must_use]
    pub fn survives(&self) -> bool {
        !self.facts.iter().any(|fact| matches!(fact, Fact::Goaway(_) | Fact::Closed))
    }

    /// Whether it speaks of a reset of this stream.
    #[must_use]
    pub fn resets(&self, stream: u32) -> bool {
        self.facts.iter().any(|fact| matches!(fact, Fact::Reset(of, _) if *of == stream))
    }

    /// The last final status that it names, with its stream.
    #[must_use]
    pub fn status(&self) -> Option<(u32, u16)> {
        self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Status(stream, status) => Some((*stream, *status)),
            _ => None,
        })
    }
}

impl Fact {
    fn holds(&self, came: &Came) -> bool {
        let answer = |stream: &u32| came.answers.get(stream);
        match self {
            Self::Fine => true,
            Self::Status(stream, status) => answer(stream).is_some_and(|a| a.status == *status),
            Self::Interim(stream, status) => answer(stream).is_some_and(|a| a.interim.contains(status)),
            Self::Ended(stream) => answer(stream).is_some_and(|a| a.ended),
            Self::Body(stream, length) => answer(stream).is_some_and(|a| a.body.len() == *length),
            Self::Reset(stream, codes) => {
                answer(stream).and_then(|a| a.reset).is_some_and(|code| codes.is_empty() || codes.contains(&code))
            }
            Self::Goaway(codes) => came.ended.is_some() && came.goaways.iter().any(|(_, code)| codes.contains(code)),
            Self::Closed => came.ended.is_some(),
            Self::Pong(text) => came.pongs.iter().any(|pong| pong == text),
            Self::Acks(number) => came.acks == *number,
        }
    }
}

fn fact(text: &str) -> Option<Fact> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u32>().ok();
    Some(match words[..] {
        ["fine"] => Fact::Fine,
        ["closed"] => Fact::Closed,
        ["status", _, status] => Fact::Status(number(1)?, status.parse().ok()?),
        ["interim", _, status] => Fact::Interim(number(1)?, status.parse().ok()?),
        ["ended", _] => Fact::Ended(number(1)?),
        ["body", _, length] => Fact::Body(number(1)?, length.parse().ok()?),
        ["reset", _] => Fact::Reset(number(1)?, Vec::new()),
        ["reset", _, codes] => Fact::Reset(number(1)?, self::codes(codes)?),
        ["goaway", codes] => Fact::Goaway(self::codes(codes)?),
        ["pong", ..] => Fact::Pong(text.trim_start().strip_prefix("pong ")?.as_bytes().to_vec()),
        ["acks", number] => Fact::Acks(number.parse().ok()?),
        _ => return None,
    })
}

fn codes(text: &str) -> Option<Vec<Code>> {
    text.split('|').map(Code::named).collect()
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}
