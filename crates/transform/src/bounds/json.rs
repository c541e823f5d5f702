//! JSON (RFC 8259), by its grammar to the letter.
//!
//! Two things are left to whoever reads the values: whether the escapes of surrogates come in pairs (RFC 8259 §8.2), and whether the names
//! of an object differ (§4).

use memchr::memchr2;

use super::{Checker, Limit, Violation, Wrong, count};

/// How much a document may have of what.
#[derive(Clone, Copy, Debug)]
pub struct JsonLimits {
    /// Levels of objects and arrays.
    pub depth: u64,
    /// Keys of an object.
    pub keys: u64,
    /// Entries of an array.
    pub items: u64,
    /// Bytes of a key, as it is written.
    pub key: u64,
    /// Bytes of a string, as it is written.
    pub string: u64,
    /// Bytes of a number, as it is written.
    pub number: u64,
    /// Values in all: objects, arrays, and what stands in them.
    pub values: u64,
}

/// How many values stand on the top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One.
    One,
    /// Any number, with whitespace or record separators (RFC 7464) between them. Each is a document, and held to the limits.
    Many,
}

const DEPTH: Limit = Limit { name: "depth", counts: "levels of objects and arrays" };
const KEYS: Limit = Limit { name: "keys", counts: "keys in one object" };
const ITEMS: Limit = Limit { name: "items", counts: "entries in one array" };
const KEY: Limit = Limit { name: "key", counts: "bytes in a key" };
const STRING: Limit = Limit { name: "string", counts: "bytes in a string" };
const NUMBER: Limit = Limit { name: "number", counts: "bytes in a number" };
const VALUES: Limit = Limit { name: "values", counts: "values" };

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value.
    Value,
    /// A value, or the end of the array that was just begun.
    ValueOrEnd,
    /// A key, or the end of the object that was just begun.
    KeyOrEnd,
    /// A key.
    Key,
    /// The colon behind a key.
    Colon,
    /// What may stand behind a value.
    Behind,
    /// The rest of a string.
    Text(Role),
    /// What stands behind a backslash.
    Escape(Role),
    /// So many hexadecimal digits.
    Hex(Role, u8),
    /// The rest of a number.
    Number(Place),
    /// The rest of a word.
    Word(&'static [u8]),
}

/// What a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    Value,
}

/// Where in a number (RFC 8259 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind the minus.
    Minus,
    /// Behind a zero, which nothing may follow but a fraction or an exponent.
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// An object or array that was begun.
#[derive(Debug)]
pub(super) struct Open {
    role: Role,
    /// Its keys, or its entries.
    counted: u64,
}

/// The grammar.
#[derive(Debug)]
pub struct Machine {
    limits: JsonLimits,
    top: Values,
    state: State,
    /// As deep as the limit allows.
    pub(super) open: Vec<Open>,
    /// Values so far.
    values: u64,
    /// Bytes of the string or number so far.
    length: u64,
    taken: u64,
}

impl Checker<Machine> {
    /// Looks at one document, or at a sequence of them.
    #[must_use]
    pub fn json(limits: JsonLimits, top: Values) -> Self {
        let (open, state) = (Vec::new(), State::Value);
        Self::of(Machine { limits, top, state, open, values: 0, length: 0, taken: 0 })
    }
}

impl super::Machine for Machine {
    fn take(&mut self, text: &str) -> Result<(), Violation> {
        let mut bytes = text.as_bytes();
        while let Some(byte) = bytes.first() {
            let done = self.step(*byte, bytes).map_err(|what| Violation { what, at: self.taken })?;
            self.taken += done as u64;
            bytes = &bytes[done..];
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Violation> {
        if let State::Number(place) = self.state
            && place.may_end()
        {
            self.state = State::Behind;
        }
        let is_over = match self.state {
            State::Behind => self.open.is_empty(),
            // Of a sequence the last one is over, or there was none.
            State::Value => self.top == Values::Many && self.open.is_empty(),
            _ => false,
        };
        if is_over { Ok(()) } else { Err(Violation { what: Wrong::Malformed("it ends too early"), at: self.taken }) }
    }

    fn taken(&self) -> u64 {
        self.taken
    }
}

impl Machine {
    /// Takes some bytes, the first of which is `byte`; how many.
    fn step(&mut self, byte: u8, bytes: &[u8]) -> Result<usize, Wrong> {
        match self.state {
            State::Text(role) => return self.text(role, bytes),
            State::Escape(role) => return self.escape(role, byte),
            State::Hex(role, left) => return self.hex(role, left, byte),
            State::Number(place) => return self.number(place, bytes),
            State::Word(rest) => return self.word(rest, byte),
            _ => {}
        }
        if is_space(byte) {
            self.part();
            return Ok(bytes.iter().take_while(|byte| is_space(**byte)).count());
        }
        match (self.state, byte) {
            (State::ValueOrEnd, b']') | (State::KeyOrEnd, b'}') => self.close(),
            (State::Value | State::ValueOrEnd, _) if self.is_separator(byte) => {}
            (State::Value | State::ValueOrEnd, _) => self.begin(byte)?,
            (State::Key | State::KeyOrEnd, b'"') => self.begin_key()?,
            (State::Colon, b':') => self.state = State::Value,
            (State::Behind, _) => self.behind(byte)?,
            (State::KeyOrEnd, _) => return Err(Wrong::Malformed("a key or `}` is missing")),
            (State::Colon, _) => return Err(Wrong::Malformed("`:` is missing")),
            (_, _) => return Err(Wrong::Malformed("a key is missing")),
        }
        Ok(1)
    }

    /// A value begins.
    fn begin(&mut self, byte: u8) -> Result<(), Wrong> {
        let state = match byte {
            b'{' => State::KeyOrEnd,
            b'[' => State::ValueOrEnd,
            b'"' => State::Text(Role::Value),
            b'-' => State::Number(Place::Minus),
            b'0' => State::Number(Place::Zero),
            b'1'..=b'9' => State::Number(Place::Whole),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            _ => return Err(Wrong::Malformed("a value is missing")),
        };
        count(&mut self.values, self.limits.values, VALUES)?;
        if let Some(Open { role: Role::Value, counted }) = self.open.last_mut() {
            count(counted, self.limits.items, ITEMS)?;
        }
        self.length = 0;
        match state {
            State::KeyOrEnd => self.enter(Role::Key)?,
            State::ValueOrEnd => self.enter(Role::Value)?,
            State::Number(_) => count(&mut self.length, self.limits.number, NUMBER)?,
            _ => {}
        }
        self.state = state;
        Ok(())
    }

    fn begin_key(&mut self) -> Result<(), Wrong> {
        if let Some(open) = self.open.last_mut() {
            count(&mut open.counted, self.limits.keys, KEYS)?;
        }
        self.length = 0;
        self.state = State::Text(Role::Key);
        Ok(())
    }

    fn enter(&mut self, role: Role) -> Result<(), Wrong> {
        if self.open.len() as u64 >= self.limits.depth {
            return Err(Wrong::Exceeded(DEPTH, self.limits.depth));
        }
        self.open.push(Open { role, counted: 0 });
        Ok(())
    }

    fn close(&mut self) {
        self.open.pop();
        self.state = State::Behind;
    }

    /// What stands behind a value.
    fn behind(&mut self, byte: u8) -> Result<(), Wrong> {
        match (self.open.last().map(|open| open.role), byte) {
            (Some(Role::Key), b',') => self.state = State::Key,
            (Some(Role::Value), b',') => self.state = State::Value,
            (Some(Role::Key), b'}') | (Some(Role::Value), b']') => self.close(),
            (Some(Role::Key), _) => return Err(Wrong::Malformed("`,` or `}` is missing")),
            (Some(Role::Value), _) => return Err(Wrong::Malformed("`,` or `]` is missing")),
            (None, _) if self.is_separator(byte) => self.part(),
            (None, _) => return Err(Wrong::Malformed("something follows its end")),
        }
        Ok(())
    }

    /// A record separator (RFC 7464 §2.2), where one may stand.
    fn is_separator(&self, byte: u8) -> bool {
        byte == 0x1E && self.top == Values::Many && self.open.is_empty()
    }

    /// What is no part of a value came: in a sequence, the next one may begin.
    fn part(&mut self) {
        if self.state == State::Behind && self.open.is_empty() && self.top == Values::Many {
            self.state = State::Value;
            self.values = 0;
        }
    }

    /// How many bytes a string may have, and what they are called.
    fn room(&self, role: Role) -> (u64, Limit) {
        match role {
            Role::Key => (self.limits.key, KEY),
            Role::Value => (self.limits.string, STRING),
        }
    }

    fn text(&mut self, role: Role, bytes: &[u8]) -> Result<usize, Wrong> {
        let (most, limit) = self.room(role);
        let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        let room = usize::try_from(most - self.length).unwrap_or(usize::MAX);
        let run = &bytes[..end.min(room)];
        if let Some(at) = find_control(run) {
            self.taken += at as u64;
            return Err(Wrong::Malformed("a control character in a string"));
        }
        if end > room {
            self.taken += room as u64;
            return Err(Wrong::Exceeded(limit, most));
        }
        self.length += end as u64;
        match bytes.get(end) {
            None => Ok(end),
            Some(b'"') => {
                self.state = if role == Role::Key { State::Colon } else { State::Behind };
                Ok(end + 1)
            }
            // A backslash: the next step finds it first.
            Some(_) if end > 0 => Ok(end),
            Some(_) => {
                count(&mut self.length, most, limit)?;
                self.state = State::Escape(role);
                Ok(1)
            }
        }
    }

    fn escape(&mut self, role: Role, byte: u8) -> Result<usize, Wrong> {
        let (most, limit) = self.room(role);
        self.state = match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text(role),
            b'u' => State::Hex(role, 4),
            _ => return Err(Wrong::Malformed("an escape that means nothing")),
        };
        count(&mut self.length, most, limit)?;
        Ok(1)
    }

    fn hex(&mut self, role: Role, left: u8, byte: u8) -> Result<usize, Wrong> {
        let (most, limit) = self.room(role);
        if !byte.is_ascii_hexdigit() {
            return Err(Wrong::Malformed("`\\u` without four hexadecimal digits"));
        }
        count(&mut self.length, most, limit)?;
        self.state = if left > 1 { State::Hex(role, left - 1) } else { State::Text(role) };
        Ok(1)
    }

    fn number(&mut self, mut place: Place, bytes: &[u8]) -> Result<usize, Wrong> {
        let start = self.taken;
        for (done, byte) in bytes.iter().enumerate() {
            let Some(next) = place.next(*byte) else {
                if place.may_end() {
                    self.state = State::Behind;
                    return Ok(done);
                }
                self.taken = start + done as u64;
                return Err(Wrong::Malformed("a number without its digits"));
            };
            if self.length >= self.limits.number {
                self.taken = start + done as u64;
                return Err(Wrong::Exceeded(NUMBER, self.limits.number));
            }
            self.length += 1;
            place = next;
        }
        self.state = State::Number(place);
        Ok(bytes.len())
    }

    fn word(&mut self, rest: &'static [u8], byte: u8) -> Result<usize, Wrong> {
        match rest {
            [wanted, rest @ ..] if *wanted == byte => {
                self.state = if rest.is_empty() { State::Behind } else { State::Word(rest) };
                Ok(1)
            }
            _ => Err(Wrong::Malformed("a word that is none of `true`, `false` and `null`")),
        }
    }
}

impl Place {
    /// What stands there, if this byte may.
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    /// Whether a number may end there.
    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Exponent)
    }
}

/// Whitespace (RFC 8259 §2).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The first character that may not stand in a string but as an escape (RFC 8259 §7).
fn find_control(run: &[u8]) -> Option<usize> {
    // Of nearly all runs there is none, which is found out many bytes at a time.
    let any = run.iter().fold(false, |any, byte| any | (*byte < 0x20));
    if any { run.iter().position(|byte| *byte < 0x20) } else { None }
}
