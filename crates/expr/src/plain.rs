//! Conditions that only compare: evaluated without the interpreter, and simple enough to reason about.

use std::borrow::Cow;

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};
use ipnet::IpNet;
use regex::Regex;
use tollgate_core::facts::ClientAddress;

use crate::facts::Facts;
use crate::read::{literal, special_test, subject};

/// Something about the request that is a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Method,
    Path,
    Host,
    Scheme,
    Ip,
    /// The name in lower case.
    Header(String),
    Query(String),
    Cookie(String),
}

impl Subject {
    /// The text; empty if it is not there.
    pub(crate) fn read<'f>(&self, facts: &'f dyn Facts) -> Cow<'f, str> {
        match self {
            Self::Method => facts.method().into(),
            Self::Path => facts.path().into(),
            Self::Host => lower(facts.host()),
            Self::Scheme => facts.scheme().into(),
            Self::Ip => facts.ip().to_string().into(),
            Self::Header(name) => facts.header(name).unwrap_or_default().into(),
            Self::Query(name) => facts.query(name).unwrap_or_default(),
            Self::Cookie(name) => facts.cookie(name).unwrap_or_default().into(),
        }
    }

    fn is_present(&self, facts: &dyn Facts) -> bool {
        match self {
            Self::Header(name) => facts.has_header(name),
            Self::Query(name) => facts.query(name).is_some(),
            Self::Cookie(name) => facts.cookie(name).is_some(),
            _ => true,
        }
    }
}

/// No network has a client without an address.
fn is_in(client: ClientAddress, nets: &[IpNet]) -> bool {
    client.ip().is_some_and(|ip| nets.iter().any(|net| net.contains(&ip)))
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// One question about one subject.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Is(Subject, String),
    OneOf(Subject, Vec<String>),
    StartsWith(Subject, String),
    EndsWith(Subject, String),
    Contains(Subject, String),
    Matches(Subject, Regex),
    IsPresent(Subject),
    IpIs(ClientAddress),
    IpIn(Vec<IpNet>),
}

impl Test {
    pub(crate) fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Self::IsPresent(subject) => subject.is_present(facts),
            Self::IpIs(address) => facts.ip() == *address,
            Self::IpIn(nets) => is_in(facts.ip(), nets),
            Self::Is(subject, _)
            | Self::OneOf(subject, _)
            | Self::StartsWith(subject, _)
            | Self::EndsWith(subject, _)
            | Self::Contains(subject, _)
            | Self::Matches(subject, _) => self.holds_for(&subject.read(facts)),
        }
    }

    /// Whether a test of a text holds for `value`; not for tests of addresses.
    fn holds_for(&self, value: &str) -> bool {
        match self {
            Self::Is(_, wanted) => value == wanted,
            Self::OneOf(_, wanted) => wanted.iter().any(|w| w == value),
            Self::StartsWith(_, start) => value.starts_with(start.as_str()),
            Self::EndsWith(_, end) => value.ends_with(end.as_str()),
            Self::Contains(_, part) => value.contains(part.as_str()),
            Self::Matches(_, regex) => regex.is_match(value),
            // A value that is not empty comes from something that is there.
            Self::IsPresent(_) => true,
            Self::IpIs(_) | Self::IpIn(_) => false,
        }
    }

    fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Is(subject, _)
            | Self::OneOf(subject, _)
            | Self::StartsWith(subject, _)
            | Self::EndsWith(subject, _)
            | Self::Contains(subject, _)
            | Self::Matches(subject, _)
            | Self::IsPresent(subject) => Some(subject),
            Self::IpIs(_) | Self::IpIn(_) => None,
        }
    }

    /// The only texts that its subject may have.
    fn values(&self) -> Option<(&Subject, &[String])> {
        match self {
            Self::Is(subject, value) => Some((subject, std::slice::from_ref(value))),
            Self::OneOf(subject, values) => Some((subject, values)),
            _ => None,
        }
    }
}

/// A tree of tests.
#[derive(Clone, Debug)]
pub(crate) enum Plain {
    Fixed(bool),
    Test(Test),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Plain {
    pub(crate) fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Self::Fixed(value) => *value,
            Self::Test(test) => test.holds(facts),
            Self::Not(inner) => !inner.holds(facts),
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
        }
    }

    /// Whether no request can meet both, as far as two tests of the same subject tell.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        self.rules_out(other) || other.rules_out(self)
    }

    /// Whether every value that this admits fails the other; or the other is its denial.
    fn rules_out(&self, other: &Self) -> bool {
        let Self::Test(test) = self else { return false };
        if let Some((subject, values)) = test.values() {
            return values.iter().all(|value| other.admits(subject, value) == Some(false));
        }
        match (test, other) {
            (Test::IpIs(a), Self::Test(Test::IpIs(b))) => a != b,
            (Test::IpIs(a), Self::Test(Test::IpIn(nets))) => !is_in(*a, nets),
            (Test::IsPresent(a), Self::Not(denied)) => {
                matches!(&**denied, Self::Test(Test::IsPresent(b)) if a == b)
            }
            _ => false,
        }
    }

    /// Whether this holds if `subject` is `value`; `None` if that depends on more.
    fn admits(&self, subject: &Subject, value: &str) -> Option<bool> {
        match self {
            // An empty value may come from something that is there or not.
            Self::Test(Test::IsPresent(_)) if value.is_empty() => None,
            Self::Test(test) => (test.subject() == Some(subject)).then(|| test.holds_for(value)),
            Self::Not(inner) => inner.admits(subject, value).map(|admitted| !admitted),
            Self::Fixed(value) => Some(*value),
            Self::All(_) | Self::Any(_) => None,
        }
    }
}

/// Reads an expression that only compares; `None` for all that is more. Mistakes are the checker's to find.
pub(crate) fn read(expr: &IdedExpr) -> Option<Plain> {
    if let Some(Ok(test)) = special_test(expr) {
        return Some(Plain::Test(test));
    }
    let call = match &expr.expr {
        Expr::Literal(LiteralValue::Boolean(value)) => return Some(Plain::Fixed(*value.inner())),
        Expr::Call(call) => call,
        _ => return None,
    };
    let all = || call.args.iter().map(read).collect::<Option<Vec<_>>>();
    match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
        (operators::LOGICAL_AND, None, _) => all().map(Plain::All),
        (operators::LOGICAL_OR, None, _) => all().map(Plain::Any),
        (operators::LOGICAL_NOT, None, [inner]) => Some(Plain::Not(Box::new(read(inner)?))),
        (operators::EQUALS, None, [a, b]) => equality(a, b).map(Plain::Test),
        (operators::NOT_EQUALS, None, [a, b]) => Some(Plain::Not(Box::new(Plain::Test(equality(a, b)?)))),
        (operators::IN, None, [a, b]) => {
            let Expr::List(list) = &b.expr else { return None };
            let values = list.elements.iter().map(|e| literal(e).map(str::to_owned)).collect::<Option<Vec<_>>>()?;
            Some(Plain::Test(Test::OneOf(subject(a)?.ok()?, values)))
        }
        (name, Some(target), [argument]) => {
            let (subject, text) = (subject(target)?.ok()?, literal(argument)?.to_owned());
            match name {
                "startsWith" => Some(Plain::Test(Test::StartsWith(subject, text))),
                "endsWith" => Some(Plain::Test(Test::EndsWith(subject, text))),
                "contains" => Some(Plain::Test(Test::Contains(subject, text))),
                _ => None,
            }
        }
        _ => None,
    }
}

fn equality(a: &IdedExpr, b: &IdedExpr) -> Option<Test> {
    let (subject, text) = match (subject(a), literal(b)) {
        (Some(subject), Some(text)) => (subject.ok()?, text),
        _ => (subject(b)?.ok()?, literal(a)?),
    };
    if subject == Subject::Ip {
        return text.parse().ok().map(Test::IpIs);
    }
    Some(Test::Is(subject, text.to_owned()))
}
