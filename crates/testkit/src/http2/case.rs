//! What a case file of HTTP/2 holds.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::frame::{Code, Frame, Kind, flag};
use super::hpack;
use super::outcome::Outcome;
use crate::conformance::case::{View, latin1, trees};

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Names it, uniquely.
    pub name: String,
    /// The clause or the advisory it comes from.
    pub clause: String,
    /// What is sent and what must come of it.
    pub exchange: Exchange,
    /// Almost the same, and accepted.
    pub twin: Option<Exchange>,
}

/// What is sent over one connection and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Frames, or other bytes, in order.
    pub send: Vec<Piece>,
    expect: OneOrMany,
    /// What comes instead, as is known: where we do not do what the standard says, or say it with another code.
    instead: Option<String>,
    /// Whether the connection is opened in order before; default: yes.
    #[serde(default = "yes")]
    pub open: bool,
    /// The stream on which one more request shows that the connection serves on; 0: a PING shows it.
    #[serde(default = "probe")]
    pub probe: u32,
    /// How the `type` of the problem in the last answer named ends.
    pub problem: Option<String>,
    /// Fields of that answer: `Name: value`, or `Name` for any value.
    #[serde(default)]
    pub answer: Vec<String>,
    /// What the backend must have seen; not looked at more closely, if not given.
    pub backend: Option<View>,
}

fn yes() -> bool {
    true
}

fn probe() -> u32 {
    99_999
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// One thing that the client does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Piece {
    /// A frame's type, by name or number. Without it the bytes are sent as they are.
    frame: Option<Name>,
    /// Its stream; default: 1 where the type belongs to one, or else 0.
    stream: Option<u32>,
    /// Its flags, by name or number; default: an end of headers and of the stream.
    flags: Option<Vec<Name>>,
    /// The length that its header tells, if it is not true.
    length: Option<usize>,
    /// So often, each on the stream two further if `next` is set.
    times: Option<usize>,
    next: bool,
    /// Sends the block of fields in HEADERS and CONTINUATION frames of so many bytes.
    split: Option<usize>,
    /// So much padding, with its length before.
    pad: Option<u8>,
    /// Wait until this has come.
    #[serde(rename = "await")]
    wait: Option<String>,
    /// The payload is all of these, in this order. Bytes as hexadecimal digits.
    hex: Option<String>,
    /// Four bytes; a code by its name.
    value: Option<Name>,
    /// Settings.
    set: Vec<(u16, u32)>,
    /// `GET /path`: its four fields with a colon.
    request: Option<String>,
    /// `name: value`, or a pair of the two, as literals.
    fields: Vec<Line>,
    /// Each character up to U+00FF is one byte.
    text: Option<String>,
    /// So many letters.
    fill: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Name(String),
    Number(u32),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Text(String),
    Pair(String, String),
    Filled { name: String, fill: usize },
    Repeated { repeat: String, times: usize },
}

/// What the client does next.
#[derive(Debug)]
pub enum Act {
    /// It sends this.
    Send(Vec<u8>),
    /// It reads until this has come.
    Await(Outcome),
}

impl Exchange {
    /// All that may come, as the standard has it.
    ///
    /// # Panics
    /// When that cannot be read.
    #[must_use]
    pub fn lawful(&self) -> Vec<Outcome> {
        let texts = match &self.expect {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        };
        texts.iter().map(|text| Outcome::new(text).expect("an outcome")).collect()
    }

    /// What may come here.
    ///
    /// # Panics
    /// When that cannot be read.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        match &self.instead {
            Some(text) => vec![Outcome::new(text).expect("an outcome")],
            None => self.lawful(),
        }
    }

    /// Whether it is known that the standard says something else.
    #[must_use]
    pub fn deviates(&self) -> bool {
        self.instead.is_some()
    }

    /// Whether it is refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.lawful().iter().all(|outcome| outcome.status().is_none_or(|(_, status)| status >= 400))
    }
}

impl Piece {
    /// What it comes to.
    ///
    /// # Errors
    /// When it is put together wrongly.
    pub fn act(&self) -> Result<Act, String> {
        if let Some(text) = &self.wait {
            return Outcome::new(text).map(Act::Await);
        }
        let mut bytes = Vec::new();
        for number in 0..self.times.unwrap_or(1) {
            let further = if self.next { 2 * u32::try_from(number).unwrap_or_default() } else { 0 };
            bytes.extend(self.bytes(further)?);
        }
        Ok(Act::Send(bytes))
    }

    fn bytes(&self, further: u32) -> Result<Vec<u8>, String> {
        let mut payload = self.payload()?;
        let Some(name) = &self.frame else { return Ok(payload) };
        let kind = match name {
            Name::Name(name) => Kind::named(name).ok_or_else(|| format!("no frame is named {name}"))?,
            Name::Number(number) => Kind(u8::try_from(*number).map_err(|e| e.to_string())?),
        };
        let of_connection =
            matches!(kind, Kind::SETTINGS | Kind::PING | Kind::GOAWAY | Kind::WINDOW_UPDATE) || kind.0 > 9;
        let stream = self.stream.unwrap_or(u32::from(!of_connection)) + further;
        let mut flags = self.flags(kind)?;
        if let Some(padding) = self.pad {
            flags |= flag::PADDED;
            payload.insert(0, padding);
            payload.resize(payload.len() + usize::from(padding), 0);
        }
        let frame = Frame::new(kind, flags, stream, payload);
        match self.split {
            Some(size) => Ok(split(&frame, size)),
            None => Ok(frame.bytes_told(self.length.unwrap_or(frame.payload.len()))),
        }
    }

    fn flags(&self, kind: Kind) -> Result<u8, String> {
        let Some(given) = &self.flags else {
            return Ok(match kind {
                Kind::HEADERS => flag::END_HEADERS | flag::END_STREAM,
                Kind::DATA => flag::END_STREAM,
                Kind::CONTINUATION | Kind::PUSH_PROMISE => flag::END_HEADERS,
                _ => 0,
            });
        };
        given.iter().try_fold(0, |flags, name| match name {
            Name::Name(name) => flag::named(name).map(|f| flags | f).ok_or_else(|| format!("no flag is named {name}")),
            Name::Number(number) => u8::try_from(*number).map(|f| flags | f).map_err(|e| e.to_string()),
        })
    }

    fn payload(&self) -> Result<Vec<u8>, String> {
        let mut payload = Vec::new();
        let digits: String = self.hex.iter().flat_map(|hex| hex.split_whitespace()).collect();
        for at in (0..digits.len()).step_by(2) {
            let pair = digits.get(at..at + 2).ok_or_else(|| format!("half a byte in {digits}"))?;
            payload.push(u8::from_str_radix(pair, 16).map_err(|e| format!("{e}: {pair}"))?);
        }
        match &self.value {
            Some(Name::Number(number)) => payload.extend(number.to_be_bytes()),
            Some(Name::Name(name)) => {
                let code = Code::named(name).ok_or_else(|| format!("no code is named {name}"))?;
                payload.extend(code.0.to_be_bytes());
            }
            None => {}
        }
        payload.extend(Frame::settings(&self.set).payload);
        if let Some(request) = &self.request {
            let (method, path) = request.split_once(' ').ok_or("a request is `METHOD path`")?;
            payload.extend(hpack::request(method, path));
        }
        for line in &self.fields {
            for (name, value) in line.read()? {
                payload.extend(hpack::literal([(&name[..], &value[..])]));
            }
        }
        payload.extend(latin1(self.text.as_deref().unwrap_or_default()));
        payload.resize(payload.len() + self.fill, b'a');
        Ok(payload)
    }
}

impl Line {
    fn read(&self) -> Result<Vec<hpack::Line>, String> {
        let split = |text: &str| {
            // A name may begin with a colon.
            let (at, _) =
                text.match_indices(": ").find(|(at, _)| *at > 0).ok_or_else(|| format!("no field: {text}"))?;
            Ok::<_, String>((latin1(&text[..at]), latin1(&text[at + 2..])))
        };
        Ok(match self {
            Self::Text(text) => vec![split(text)?],
            Self::Pair(name, value) => vec![(latin1(name), latin1(value))],
            Self::Filled { name, fill } => vec![(latin1(name), vec![b'a'; *fill])],
            Self::Repeated { repeat, times } => vec![split(repeat)?; *times],
        })
    }
}

/// HEADERS and as many CONTINUATION frames as it takes.
fn split(frame: &Frame, size: usize) -> Vec<u8> {
    let parts: Vec<&[u8]> = frame.payload.chunks(size).collect();
    let mut bytes = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let kind = if number == 0 { frame.kind } else { Kind::CONTINUATION };
        let mut flags = if number == 0 { frame.flags & !flag::END_HEADERS } else { 0 };
        if number + 1 == parts.len() {
            flags |= flag::END_HEADERS;
        }
        bytes.extend(Frame::new(kind, flags, frame.stream, *part).bytes());
    }
    bytes
}

/// All cases of the `.yaml` files in `folder`, by file name.
///
/// # Panics
/// When a file cannot be read or a case is put together wrongly.
#[must_use]
pub fn load(folder: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (file, value) in trees(folder) {
        let case = case(value.clone()).unwrap_or_else(|error| panic!("{}: {error} in {value}", file.display()));
        assert!(cases.iter().all(|c| c.name != case.name), "two cases are named {:?}", case.name);
        cases.push(case);
    }
    cases
}

fn case(value: Value) -> Result<Case, String> {
    let Value::Object(mut map) = value else { return Err("not a mapping".to_owned()) };
    let mut text = |key: &str| match map.remove(key) {
        Some(Value::String(text)) => Ok(text),
        other => Err(format!("`{key}` is {other:?}")),
    };
    let (name, clause) = (text("name")?, text("clause")?);
    let twin = map.remove("twin").map(exchange).transpose()?;
    Ok(Case { name, clause, twin, exchange: exchange(Value::Object(map))? })
}

fn exchange(value: Value) -> Result<Exchange, String> {
    let exchange: Exchange = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let texts = match &exchange.expect {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many.iter().collect(),
    };
    for text in texts.into_iter().chain(&exchange.instead) {
        Outcome::new(text)?;
    }
    exchange.send.iter().try_for_each(|piece| piece.act().map(drop))?;
    Ok(exchange)
}
