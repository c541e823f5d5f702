//! Expressions in CEL whose value is a text or a number, rather than whether something holds.

use std::borrow::Cow;

use cel::Value;
use tollgate_core::serde_json::Value as Json;

use crate::caller::{self, Trait};
use crate::check::{Checker, Type};
use crate::facts::Facts;
use crate::general::General;
use crate::plain::Subject;
use crate::{ExprError, Scope, parse, read};

/// A compiled expression. Two are equal if their texts are.
#[derive(Debug)]
pub struct Term {
    text: String,
    how: How,
}

#[derive(Debug)]
enum How {
    /// Read as it is.
    Subject(Subject),
    Caller(Trait),
    General(General),
}

impl Term {
    /// Compiles an expression for a text: a number or a truth value is one, too.
    ///
    /// # Errors
    /// The first mistake found, with its place.
    pub fn text_of(text: &str, scope: Scope) -> Result<Self, ExprError> {
        Self::compile(text, scope, "a text", |kind| kind != Type::List)
    }

    /// Compiles an expression for a whole number.
    ///
    /// # Errors
    /// The first mistake found, with its place.
    pub fn number_of(text: &str, scope: Scope) -> Result<Self, ExprError> {
        Self::compile(text, scope, "a whole number", |kind| matches!(kind, Type::Int | Type::Uint | Type::Unknown))
    }

    fn compile(text: &str, scope: Scope, wanted: &str, fits: impl Fn(Type) -> bool) -> Result<Self, ExprError> {
        let (expr, source) = parse(text)?;
        let subject = read::subject(&expr).and_then(Result::ok);
        let asked = caller::read(&expr).filter(|_| scope == Scope::Caller).and_then(Result::ok);
        let mut checker = Checker::new(&source, scope);
        let id = expr.id;
        let (checked, kind) = checker.check(expr, 0)?;
        if !fits(kind) {
            return Err(checker.error(id, format!("this is to be {wanted}, and it is {}", kind.name())));
        }
        let how = match (subject, asked) {
            (Some(subject), _) => How::Subject(subject),
            (None, Some(asked)) => How::Caller(asked),
            (None, None) => How::General(General::new(checked, checker.slots())),
        };
        Ok(Self { text: text.trim().to_owned(), how })
    }

    /// Its value as a text. `None`: it cannot be told, or is a list or an object.
    #[must_use]
    pub fn text<'f>(&self, facts: &'f dyn Facts) -> Option<Cow<'f, str>> {
        match &self.how {
            How::Subject(subject) => Some(subject.read(facts)),
            How::Caller(Trait::Subject) => Some(facts.caller()?.subject.as_ref().into()),
            How::Caller(Trait::Consumer) => Some(facts.caller()?.consumer.as_deref()?.into()),
            How::Caller(Trait::Claim(path)) => match facts.caller()?.claim(path)? {
                Json::String(text) => Some(text.into()),
                Json::Number(number) => Some(number.to_string().into()),
                Json::Bool(truth) => Some(truth.to_string().into()),
                _ => None,
            },
            How::Caller(asked) => written(&asked.read(facts.caller())?).map(Cow::Owned),
            How::General(general) => written(&general.value(facts)?).map(Cow::Owned),
        }
    }

    /// Its value as a whole number. `None`: it cannot be told, or is none.
    #[must_use]
    pub fn number(&self, facts: &dyn Facts) -> Option<i64> {
        let value = match &self.how {
            How::Subject(_) => return None,
            How::Caller(asked) => asked.read(facts.caller())?,
            How::General(general) => general.value(facts)?,
        };
        match value {
            Value::Int(number) => Some(number),
            Value::UInt(number) => i64::try_from(number).ok(),
            _ => None,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
