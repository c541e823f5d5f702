//! What a condition may ask about the caller: `claims`, `scopes`, `principal`, `consumer`.

use std::collections::HashMap;
use std::sync::Arc;

use cel::IdedExpr;
use cel::Value;
use cel::common::ast::{Expr, operators};
use cel::objects::{Key, Map};
use tollgate_core::principal::Principal;
use tollgate_core::serde_json::Value as Json;

use crate::check::Type;
use crate::read::{Mistake, literal};
use crate::{ExprError, parse};

/// Something about the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trait {
    /// What the credential is good for.
    Scopes,
    /// Who it is.
    Subject,
    /// By which application.
    Consumer,
    /// The claim that is reached by these names.
    Claim(Vec<String>),
    /// Whether there is one.
    HasClaim(Vec<String>),
}

impl Trait {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Scopes => Type::List,
            Self::Subject | Self::Consumer => Type::Text,
            Self::Claim(_) => Type::Unknown,
            Self::HasClaim(_) => Type::Truth,
        }
    }

    /// Its value. Somebody who is not known has none, and neither has a claim that is not there: a condition that asks for it
    /// cannot be told, `!=` no more than `==`.
    pub(crate) fn read(&self, caller: Option<&Principal>) -> Option<Value> {
        let caller = caller?;
        let text = |text: &str| Value::String(Arc::new(text.to_owned()));
        Some(match self {
            Self::Scopes => Value::List(Arc::new(caller.scopes.iter().map(|scope| text(scope)).collect())),
            Self::Subject => text(&caller.subject),
            Self::Consumer => text(caller.consumer.as_deref().unwrap_or_default()),
            Self::Claim(path) => value(caller.claim(path).filter(|claim| !claim.is_null())?),
            Self::HasClaim(path) => Value::Bool(caller.claim(path).is_some_and(|claim| !claim.is_null())),
        })
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        // Whole numbers are compared with whole numbers, as they are written in a condition.
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Int(number),
            (_, Some(number), _) => Value::UInt(number),
            (.., number) => Value::Float(number.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(list) => Value::List(Arc::new(list.iter().map(value).collect())),
        Json::Object(map) => {
            let entries = map.iter().map(|(name, inner)| (Key::String(Arc::new(name.clone())), value(inner)));
            Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
        }
    }
}

/// Something about the caller as a text, for a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told(Trait);

impl Told {
    /// Compiles `principal`, `consumer`, `scopes` or a claim: `claims.realm_access.roles`.
    ///
    /// # Errors
    /// It is something else, with its place.
    pub fn compile(text: &str) -> Result<Self, ExprError> {
        let (expr, _) = parse(text)?;
        let other = |message: String, hint| ExprError { message, hint, offset: 0 };
        match read(&expr) {
            Some(Ok(Trait::HasClaim(_))) | None => {
                let hint = "`principal`, `consumer`, `scopes`, or a claim such as `claims.email`".to_owned();
                Err(other(format!("`{}` is nothing about the caller", text.trim()), Some(hint)))
            }
            Some(Ok(told)) => Ok(Self(told)),
            Some(Err(mistake)) => Err(other(mistake.message, mistake.hint)),
        }
    }

    /// What it is of this caller: a list with `,` between its texts, scopes with blanks, an object as JSON. `None`: the claim is not
    /// there.
    #[must_use]
    pub fn of(&self, caller: &Principal) -> Option<String> {
        match &self.0 {
            Trait::Scopes => Some(caller.scopes.join(" ")),
            Trait::Subject => Some(caller.subject.to_string()),
            Trait::Consumer => caller.consumer.as_deref().map(str::to_owned),
            Trait::Claim(path) => plain(caller.claim(path)?),
            Trait::HasClaim(_) => None,
        }
    }
}

fn plain(json: &Json) -> Option<String> {
    match json {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        // A list whose texts have commas would be read as another one.
        Json::Array(list) if list.iter().any(|item| item.as_str().is_none_or(|text| text.contains(','))) => {
            Some(json.to_string())
        }
        Json::Array(list) => Some(list.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

/// The words that are about the caller.
pub(crate) const WORDS: [&str; 4] = ["claims", "scopes", "principal", "consumer"];

/// Reads an expression that is about the caller. `None`: it is about something else.
pub(crate) fn read(expr: &IdedExpr) -> Option<Result<Trait, Mistake>> {
    if let Expr::Ident(name) = &expr.expr {
        return Some(Ok(match name.as_str() {
            "scopes" => Trait::Scopes,
            "principal" => Trait::Subject,
            "consumer" => Trait::Consumer,
            "claims" => {
                return Some(Err(Mistake::new("`claims` is no value by itself").hint("name one: `claims.email`")));
            }
            _ => return None,
        }));
    }
    let is_asked_for = matches!(&expr.expr, Expr::Select(select) if select.test);
    let path = path(expr)?;
    Some(Ok(if is_asked_for { Trait::HasClaim(path) } else { Trait::Claim(path) }))
}

/// `claims.a.b`, `claims["a"].b` → `[a, b]`.
fn path(expr: &IdedExpr) -> Option<Vec<String>> {
    let (of, name) = match &expr.expr {
        Expr::Select(select) => (&*select.operand, select.field.as_str()),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, name] = call.args.as_slice() else { return None };
            (of, literal(name)?)
        }
        _ => return None,
    };
    let mut path = match &of.expr {
        Expr::Ident(claims) if claims == "claims" => Vec::new(),
        _ => path(of)?,
    };
    path.push(name.to_owned());
    Some(path)
}
