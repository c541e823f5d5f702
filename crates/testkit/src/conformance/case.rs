//! What a case file holds.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::yaml;

/// One case. If the gateway refuses what is sent, a near twin shows what it does not refuse.
#[derive(Debug)]
pub struct Case {
    /// Names it, uniquely.
    pub name: String,
    /// The clause or the advisory it comes from.
    pub clause: String,
    /// Whether two readers of good faith understand the bytes differently; the control proves it.
    pub ambiguous: bool,
    /// Why a refusal is none of those: what the readers of the control make of it, or why it is refused all the same.
    pub alike: Option<String>,
    /// What is sent and what must come of it.
    pub exchange: Exchange,
    /// Almost the same, and accepted.
    pub twin: Option<Exchange>,
}

/// Bytes sent over one connection and what must come of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    send: OneOrMany<Piece>,
    expect: OneOrMany<u16>,
    #[serde(default)]
    methods: Vec<String>,
    after: Option<After>,
    /// The client sends nothing more and says so.
    #[serde(default)]
    pub half_close: bool,
    /// How the `type` of the problem ends.
    pub problem: Option<String>,
    /// Fields of the last answer: `Name: value`, or `Name` for any value.
    #[serde(default)]
    pub answer: Vec<String>,
    backend: Option<View>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Repeated { repeat: String, times: usize },
}

/// The connection once all answers are there.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It serves the next request.
    Open,
    /// The gateway has closed it, in order.
    Closed,
}

/// What the backend may have seen.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum View {
    /// In words.
    Word(Word),
    /// Exactly these requests.
    Requests(Vec<Expected>),
}

/// A view without a whole request.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Not a byte.
    Nothing,
    /// Perhaps the beginning of a request to `/cut`, on a connection that then ended.
    Incomplete,
}

/// A request as the backend must see it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The whole start line.
    pub line: String,
    /// `Name: value` for exactly this field once, `Name` for any value.
    #[serde(default)]
    pub has: Vec<String>,
    /// Names that must not be there.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// The body without its framing.
    #[serde(default)]
    pub body: String,
    /// `none`, `length` or `chunked`; anything, if not given.
    pub framing: Option<String>,
    /// As `has`, behind the last chunk, and nothing else there.
    pub trailers: Option<Vec<String>>,
}

impl Exchange {
    /// The bytes. In the files every character up to U+00FF stands for one byte.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in self.send.all() {
            match piece {
                Piece::Text(text) => bytes.extend(latin1(text)),
                Piece::Repeated { repeat, times } => bytes.extend(latin1(&repeat.repeat(*times))),
            }
        }
        bytes
    }

    /// The final statuses, in order.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        self.expect.all().to_vec()
    }

    /// The method that the answer with this number belongs to: only HEAD matters.
    #[must_use]
    pub fn method(&self, number: usize) -> &str {
        self.methods.get(number).map_or("GET", String::as_str)
    }

    /// Whether the gateway answers for itself that it refuses, or does not answer at all.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.statuses().last().is_none_or(|status| *status >= 400)
    }

    /// What the connection must be like afterwards: closed after a refusal, if nothing else is written.
    #[must_use]
    pub fn after(&self) -> After {
        self.after.unwrap_or(if self.is_refusal() || self.half_close { After::Closed } else { After::Open })
    }

    /// What the backend may have seen: nothing, if nothing else is written.
    #[must_use]
    pub fn view(&self) -> &View {
        self.backend.as_ref().unwrap_or(&View::Word(Word::Nothing))
    }
}

impl<T> OneOrMany<T> {
    fn all(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// One byte per character.
///
/// # Panics
/// At characters that are no byte.
#[must_use]
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap_or_else(|_| panic!("{c:?} in {text:?} is no byte"))).collect()
}

/// All cases of the `.yaml` files in `folder`, by file name.
///
/// # Panics
/// When a file cannot be read, or its cases break the rules: unique names, a clause for each, a twin for each refusal,
/// which is ambiguous or says why not.
#[must_use]
pub fn load(folder: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (file, value) in trees(folder) {
        let case = case(value.clone()).unwrap_or_else(|error| panic!("{}: {error} in {value}", file.display()));
        assert!(cases.iter().all(|c| c.name != case.name), "two cases are named {:?}", case.name);
        assert!(case.exchange.is_refusal() == case.twin.is_some(), "{:?}: a twin is for refusals", case.name);
        assert!(case.twin.as_ref().is_none_or(|t| !t.is_refusal()), "{:?}: its twin is refused", case.name);
        let says_why = case.ambiguous != case.alike.is_some();
        assert!(says_why || !case.exchange.is_refusal(), "{:?}: `ambiguous`, or why it is `alike`", case.name);
        cases.push(case);
    }
    cases
}

/// The cases of the `.yaml` files in `folder`, unread, each with its file.
pub(crate) fn trees(folder: &Path) -> Vec<(PathBuf, Value)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    let mut trees = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a case file");
        let tree = yaml::read(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let Value::Array(list) = tree else { panic!("{}: not a list", file.display()) };
        trees.extend(list.into_iter().map(|value| (file.clone(), value)));
    }
    trees
}

fn case(value: Value) -> Result<Case, String> {
    let Value::Object(mut map) = value else { return Err("not a mapping".to_owned()) };
    let mut text = |key: &str| match map.remove(key) {
        Some(Value::String(text)) => Ok(text),
        other => Err(format!("`{key}` is {other:?}")),
    };
    let (name, clause) = (text("name")?, text("clause")?);
    let ambiguous = map.remove("ambiguous") == Some(Value::Bool(true));
    let alike = map.remove("alike").and_then(|why| why.as_str().map(str::to_owned));
    let twin = map.remove("twin").map(exchange).transpose()?;
    Ok(Case { name, clause, ambiguous, alike, twin, exchange: exchange(Value::Object(map))? })
}

fn exchange(value: Value) -> Result<Exchange, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}
