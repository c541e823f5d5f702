//! Operators: whether a value is what a rule looks for.

pub(crate) mod by_hand;
pub(crate) mod injection;
pub(crate) mod pattern;

use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use ipnet::IpNet;
use regex::bytes::Regex;
use tollgate_core::diagnostic::nearest;

use crate::compile::Names;
use crate::operator::by_hand::ByHand;
use crate::template::{Template, number};
use crate::transform::url::is_badly_encoded;

/// Most phrases of one operator.
const MOST_PHRASES: usize = 100_000;
/// Most values that a match keeps: the whole, and nine groups.
pub(crate) const GROUPS: usize = 10;

/// What a value is held against.
#[derive(Debug)]
pub(crate) enum Operator {
    Pattern(Regex),
    ByHand(ByHand),
    /// A pattern with variables in it, and what it last was; in fact they do not vary.
    Varying(Template, OnceLock<(Vec<u8>, Regex)>),
    Phrases(AhoCorasick),
    Text(Comparison, Template),
    Number(Order, Template),
    Networks(Vec<IpNet>),
    /// Bytes that are none of these.
    OtherBytes(Box<[bool; 256]>),
    BadUrlEncoding,
    BadUtf8,
    Sql,
    Script,
    Always,
    Never,
}

/// How texts are compared: the value with what the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    BeginsWith,
    EndsWith,
    Contains,
    ContainsWord,
    /// The value is a part of what the rule says.
    Within,
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    AtLeast,
    Above,
    AtMost,
    Below,
}

/// Why there is no such operator.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is wrong, or not known.
    Wrong(String),
    /// Rules with it are not run: what it would need.
    NotHere(&'static str),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// Operators by their names, for messages.
pub(crate) const NAMES: &[&str] = &[
    "beginsWith",
    "contains",
    "containsWord",
    "detectSQLi",
    "detectXSS",
    "endsWith",
    "eq",
    "ge",
    "gt",
    "ipMatch",
    "ipMatchFromFile",
    "le",
    "lt",
    "noMatch",
    "pm",
    "pmFromFile",
    "rx",
    "streq",
    "unconditionalMatch",
    "validateByteRange",
    "validateUrlEncoding",
    "validateUtf8Encoding",
    "within",
];

impl Operator {
    /// The operator of this name with this parameter; files of it stand in `folder`.
    pub(crate) fn read(name: &str, parameter: &str, folder: &Path, names: &mut Names) -> Result<Self, Refused> {
        match name.to_ascii_lowercase().as_str() {
            "rx" => rx(parameter, names),
            "pm" => phrases(phrases_in(parameter)),
            "pmf" | "pmfromfile" => {
                phrases(lines_of(parameter, folder, names)?.into_iter().map(String::into_bytes).collect())
            }
            "streq" => Ok(Self::Text(Comparison::Equal, Template::read(parameter, names)?)),
            "beginswith" => Ok(Self::Text(Comparison::BeginsWith, Template::read(parameter, names)?)),
            "endswith" => Ok(Self::Text(Comparison::EndsWith, Template::read(parameter, names)?)),
            "contains" => Ok(Self::Text(Comparison::Contains, Template::read(parameter, names)?)),
            "containsword" => Ok(Self::Text(Comparison::ContainsWord, Template::read(parameter, names)?)),
            "within" => Ok(Self::Text(Comparison::Within, Template::read(parameter, names)?)),
            "eq" => Ok(Self::Number(Order::Equal, Template::read(parameter, names)?)),
            "ge" => Ok(Self::Number(Order::AtLeast, Template::read(parameter, names)?)),
            "gt" => Ok(Self::Number(Order::Above, Template::read(parameter, names)?)),
            "le" => Ok(Self::Number(Order::AtMost, Template::read(parameter, names)?)),
            "lt" => Ok(Self::Number(Order::Below, Template::read(parameter, names)?)),
            "ipmatch" => networks(parameter.split(',').map(str::trim)),
            "ipmatchf" | "ipmatchfromfile" => networks(lines_of(parameter, folder, names)?.iter().map(String::as_str)),
            "validatebyterange" => byte_range(parameter),
            "validateurlencoding" => Ok(Self::BadUrlEncoding),
            "validateutf8encoding" => Ok(Self::BadUtf8),
            "detectsqli" => Ok(Self::Sql),
            "detectxss" => Ok(Self::Script),
            "unconditionalmatch" => Ok(Self::Always),
            "nomatch" => Ok(Self::Never),
            "rbl" => Err(Refused::NotHere("questions to other servers")),
            "geolookup" => Err(Refused::NotHere("a list of where addresses are")),
            "inspectfile" | "fuzzyhash" => Err(Refused::NotHere("uploaded files in files")),
            _ => {
                let near = nearest(name, NAMES.iter().copied())
                    .map_or(String::new(), |near| format!(": did you mean `@{near}`?"));
                Err(Refused::Wrong(format!("there is no operator `@{name}` here{near}")))
            }
        }
    }

    /// The text that it is held against, if that has to be known first.
    pub(crate) fn parameter(&self) -> Option<&Template> {
        match self {
            Self::Text(_, template) | Self::Number(_, template) | Self::Varying(template, _) => Some(template),
            _ => None,
        }
    }

    /// Whether the value is what is looked for; `parameter` is what [`Operator::parameter`] stands for now. What was matched goes to
    /// `groups`.
    pub(crate) fn finds(&self, value: &[u8], parameter: &[u8], groups: Option<&mut Vec<Vec<u8>>>) -> bool {
        match self {
            Self::Pattern(pattern) => matched(pattern, value, groups),
            Self::Varying(_, last) => varying(last, value, parameter, groups),
            Self::ByHand(pattern) => keep(pattern.find(value).map(|range| &value[range]), groups),
            Self::Phrases(phrases) => match groups {
                None => phrases.is_match(value),
                groups => keep(phrases.find(value).map(|found| &value[found.range()]), groups),
            },
            Self::Text(how, _) => keep(how.holds(value, parameter).then_some(value), groups),
            Self::Number(order, template) => {
                order.holds(number(value), template.fixed_number().unwrap_or_else(|| number(parameter)))
            }
            Self::Networks(networks) => {
                let address = str::from_utf8(value).ok().and_then(|text| text.parse::<IpAddr>().ok());
                address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
            Self::OtherBytes(taken) => value.iter().any(|byte| !taken[usize::from(*byte)]),
            Self::BadUrlEncoding => is_badly_encoded(value),
            Self::BadUtf8 => str::from_utf8(value).is_err(),
            Self::Sql => {
                let fingerprint = injection::sql(value);
                keep(fingerprint.as_deref(), groups)
            }
            Self::Script => keep(injection::script(value).then_some(value), groups),
            Self::Always => true,
            Self::Never => false,
        }
    }

    /// About how many bytes of work it is to hold a value of this length against it.
    pub(crate) fn cost(&self, length: usize) -> usize {
        match self {
            Self::Text(..) | Self::Number(..) | Self::Always | Self::Never => 1 + length / 64,
            _ => 16 + length,
        }
    }
}

fn rx(parameter: &str, names: &mut Names) -> Result<Operator, Refused> {
    if let Some(by_hand) = ByHand::of(parameter) {
        return Ok(Operator::ByHand(by_hand));
    }
    if parameter.contains("%{") {
        let template = Template::read(parameter, names)?;
        return Ok(Operator::Varying(template, OnceLock::new()));
    }
    Ok(Operator::Pattern(pattern::compile(parameter)?))
}

/// Whether a pattern fits that was not known when the rules were read. One that cannot be compiled fits nothing.
fn varying(last: &OnceLock<(Vec<u8>, Regex)>, value: &[u8], text: &[u8], groups: Option<&mut Vec<Vec<u8>>>) -> bool {
    if let Some((_, pattern)) = last.get().filter(|(of, _)| of == text) {
        return matched(pattern, value, groups);
    }
    let compiled = str::from_utf8(text).ok().and_then(|text| pattern::compile(text).ok());
    let Some(pattern) = compiled else { return false };
    let is = matched(&pattern, value, groups);
    let _ = last.set((text.to_vec(), pattern));
    is
}

fn matched(pattern: &Regex, value: &[u8], groups: Option<&mut Vec<Vec<u8>>>) -> bool {
    // Nearly all values fit no pattern: only of those that do it is asked where.
    if !pattern.is_match(value) {
        return false;
    }
    if let Some(groups) = groups {
        let found = pattern.captures(value);
        let all = found.iter().flat_map(|found| found.iter().take(GROUPS));
        groups.extend(all.map(|group| group.map_or(Vec::new(), |group| group.as_bytes().to_vec())));
    }
    true
}

fn keep(found: Option<&[u8]>, groups: Option<&mut Vec<Vec<u8>>>) -> bool {
    if let (Some(found), Some(groups)) = (found, groups) {
        groups.push(found.to_vec());
    }
    found.is_some()
}

impl Comparison {
    fn holds(self, value: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Equal => value == other,
            Self::BeginsWith => value.starts_with(other),
            Self::EndsWith => value.ends_with(other),
            Self::Contains => find(value, other).is_some(),
            Self::ContainsWord => contains_word(value, other),
            Self::Within => find(other, value).is_some(),
        }
    }
}

impl Order {
    fn holds(self, value: i64, other: i64) -> bool {
        match self {
            Self::Equal => value == other,
            Self::AtLeast => value >= other,
            Self::Above => value > other,
            Self::AtMost => value <= other,
            Self::Below => value < other,
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() { Some(0) } else { memchr::memmem::find(text, part) }
}

fn contains_word(text: &[u8], word: &[u8]) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| find(rest, word)) {
        let (start, end) = (from + at, from + at + word.len());
        if is_end(start.checked_sub(1).and_then(|before| text.get(before))) && is_end(text.get(end)) {
            return true;
        }
        from = start + 1;
    }
    false
}

fn phrases(all: Vec<Vec<u8>>) -> Result<Operator, Refused> {
    if all.is_empty() || all.len() > MOST_PHRASES || all.iter().any(Vec::is_empty) {
        return Err(Refused::Wrong(format!("phrases are one to {MOST_PHRASES}, and none is empty")));
    }
    let built = AhoCorasick::builder().ascii_case_insensitive(true).build(all);
    Ok(Operator::Phrases(built.map_err(|error| error.to_string())?))
}

/// Phrases with blanks between them. Between `|` and `|` may be bytes in hexadecimal digits, as Snort has them.
fn phrases_in(text: &str) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let bytes = if c == '|' { hexadecimal(rest) } else { None };
        let Some(last) = all.last_mut() else { break };
        match bytes {
            Some((bytes, behind)) => {
                last.extend(bytes);
                rest = behind;
            }
            None if c.is_whitespace() => all.push(Vec::new()),
            None => last.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    all.retain(|phrase| !phrase.is_empty());
    all
}

/// Bytes up to `|`, and what is behind it.
fn hexadecimal(text: &str) -> Option<(Vec<u8>, &str)> {
    let (digits, behind) = text.split_once('|')?;
    let values = digits.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).ok());
    values.collect::<Option<Vec<u8>>>().filter(|all| !all.is_empty()).map(|all| (all, behind))
}

/// The lines of a file that say something.
fn lines_of(name: &str, folder: &Path, names: &mut Names) -> Result<Vec<String>, Refused> {
    let path = folder.join(name.trim());
    let text = names.seen.content(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(ToOwned::to_owned).collect())
}

fn networks<'t>(all: impl Iterator<Item = &'t str>) -> Result<Operator, Refused> {
    let read = |text: &str| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| Refused::Wrong(format!("`{text}` is no address and no network")))
    };
    Ok(Operator::Networks(all.map(read).collect::<Result<_, _>>()?))
}

fn byte_range(parameter: &str) -> Result<Operator, Refused> {
    let mut taken = Box::new([false; 256]);
    for part in parameter.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u8>(), last.trim().parse::<u8>()) {
            (Ok(first), Ok(last)) if first <= last => (first..=last).for_each(|byte| taken[usize::from(byte)] = true),
            _ => return Err(Refused::Wrong(format!("`{part}` is no range of bytes: `32-126`, or `10`"))),
        }
    }
    Ok(Operator::OtherBytes(taken))
}

#[cfg(test)]
mod tests;
