//! Checks a syntax tree: every name known, every type right. On the way, what is ours becomes variables.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, ListExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use tollgate_core::diagnostic::nearest;

use crate::general::{Slot, slot_name};
use crate::read::{self, FUNCTIONS, LATER, METHODS, Mistake, REQUEST_FIELDS};
use crate::{ExprError, MAX_DEPTH, Scope, caller};

/// What is known about a value before there is a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Truth,
    Text,
    Int,
    Uint,
    Double,
    List,
    /// Bytes, null, and what comes out of a list.
    Unknown,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Truth => "a truth value",
            Self::Text => "a text",
            Self::Int => "a whole number",
            Self::Uint => "an unsigned number",
            Self::Double => "a number with a fraction",
            Self::List => "a list",
            Self::Unknown => "something else",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether values of the two types can be equal or in order.
    fn compares_with(self, other: Self) -> bool {
        self == other || self == Self::Unknown || other == Self::Unknown || (self.is_number() && other.is_number())
    }

    /// Whether a value of this type can be one of that.
    fn may_be(self, wanted: Self) -> bool {
        self == wanted || self == Self::Unknown
    }
}

type Checked = Result<(IdedExpr, Type), ExprError>;

/// Walks one expression.
pub(crate) struct Checker<'s> {
    source: &'s SourceInfo,
    scope: Scope,
    slots: Vec<Slot>,
}

impl<'s> Checker<'s> {
    pub(crate) fn new(source: &'s SourceInfo, scope: Scope) -> Self {
        Self { source, scope, slots: Vec::new() }
    }

    /// What the variables stand for, in the order of their numbers.
    pub(crate) fn slots(self) -> Vec<Slot> {
        self.slots
    }

    /// A mistake at the expression with this number.
    pub(crate) fn error(&self, id: u64, message: impl Into<String>) -> ExprError {
        self.mistake(id, Mistake::new(message))
    }

    fn mistake(&self, id: u64, mistake: Mistake) -> ExprError {
        let offset = self.source.offset_for(id).map_or(0, |(start, _)| start as usize);
        ExprError { message: mistake.message, hint: mistake.hint, offset: offset.min(self.source.source.len()) }
    }

    pub(crate) fn check(&mut self, expr: IdedExpr, depth: usize) -> Checked {
        let id = expr.id;
        if depth > MAX_DEPTH {
            return Err(self.error(id, format!("the condition is nested deeper than {MAX_DEPTH} levels")));
        }
        if let Some(subject) = read::subject(&expr) {
            let subject = subject.map_err(|mistake| self.mistake(id, mistake))?;
            return Ok((self.slot(id, Slot::Text(subject)), Type::Text));
        }
        if let Some(test) = read::special_test(&expr) {
            let test = test.map_err(|mistake| self.mistake(id, mistake))?;
            return Ok((self.slot(id, Slot::Truth(test)), Type::Truth));
        }
        if let Some(asked) = caller::read(&expr).filter(|_| self.scope == Scope::Caller) {
            let asked = asked.map_err(|mistake| self.mistake(id, mistake))?;
            let kind = asked.kind();
            return Ok((self.slot(id, Slot::Caller(asked)), kind));
        }
        match expr.expr {
            Expr::Literal(value) => {
                let kind = literal_type(&value);
                Ok((IdedExpr { id, expr: Expr::Literal(value) }, kind))
            }
            Expr::Ident(name) => Err(self.unknown_variable(id, &name)),
            Expr::Select(select) => Err(self.no_field(id, &select)),
            Expr::List(list) => self.check_list(id, list, depth),
            Expr::Call(call) => self.check_call(id, call, depth),
            Expr::Comprehension(_) => Err(self.not_yet(id, "loops over lists (`all`, `exists`, `map`, `filter`) are")),
            Expr::Map(_) | Expr::Struct(_) => Err(self.not_yet(id, "mappings are")),
            Expr::Unspecified => Err(self.error(id, "not a condition")),
        }
    }

    fn slot(&mut self, id: u64, slot: Slot) -> IdedExpr {
        self.slots.push(slot);
        IdedExpr { id, expr: Expr::Ident(slot_name(self.slots.len() - 1)) }
    }

    fn check_all(&mut self, exprs: Vec<IdedExpr>, depth: usize) -> Result<(Vec<IdedExpr>, Vec<Type>), ExprError> {
        let checked = exprs.into_iter().map(|expr| self.check(expr, depth + 1));
        Ok(checked.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
    }

    fn check_list(&mut self, id: u64, list: ListExpr, depth: usize) -> Checked {
        let (elements, _) = self.check_all(list.elements, depth)?;
        Ok((IdedExpr { id, expr: Expr::List(ListExpr::new(elements)) }, Type::List))
    }

    fn check_call(&mut self, id: u64, call: CallExpr, depth: usize) -> Checked {
        let CallExpr { func_name, target, args } = call;
        if target.is_none() && is_operator(&func_name) {
            self.check_literals(&func_name, &args)?;
        } else {
            self.check_name(id, &func_name, target.as_deref())?;
        }
        let target = target.map(|target| self.check(*target, depth + 1)).transpose()?;
        let (args, mut types) = self.check_all(args, depth)?;
        let (target, kind) = match target {
            Some((target, of)) => {
                let kind = method_type(&func_name, of, &types);
                types.insert(0, of);
                (Some(Box::new(target)), kind)
            }
            None => (None, operator_type(&func_name, &types).or_else(|| function_type(&func_name, &types))),
        };
        let kind = kind.ok_or_else(|| self.wrong_types(id, &func_name, &types))?;
        Ok((IdedExpr { id, expr: Expr::Call(CallExpr { func_name, target, args }) }, kind))
    }

    /// Texts that could never be the value they are compared with.
    fn check_literals(&self, operator: &str, args: &[IdedExpr]) -> Result<(), ExprError> {
        let [a, b] = args else { return Ok(()) };
        let mut pairs: Vec<(&IdedExpr, &IdedExpr)> = Vec::new();
        match (operator, &b.expr) {
            (operators::EQUALS | operators::NOT_EQUALS, _) => pairs.extend([(a, b), (b, a)]),
            (operators::IN, Expr::List(list)) => pairs.extend(list.elements.iter().map(|element| (a, element))),
            _ => {}
        }
        for (side, other) in pairs {
            if let (Some(Ok(subject)), Some(text)) = (read::subject(side), read::literal(other)) {
                read::comparable(&subject, text).map_err(|mistake| self.mistake(other.id, mistake))?;
            }
        }
        Ok(())
    }

    /// A function that is no operator must be one we know.
    fn check_name(&self, id: u64, name: &str, target: Option<&IdedExpr>) -> Result<(), ExprError> {
        let (known, what): (&[&str], _) =
            if target.is_some() { (&METHODS, "method") } else { (&FUNCTIONS, "function") };
        if known.contains(&name) {
            return Ok(());
        }
        if LATER.contains(&name) {
            return Err(self.not_yet(id, &format!("`{name}` is")));
        }
        let mistake = Mistake::new(format!("unknown {what} `{name}`"));
        let functions = if target.is_some_and(read::is_request) { &FUNCTIONS[..] } else { known };
        Err(self.mistake(
            id,
            match nearest(name, functions.iter().copied()) {
                Some(word) if known.contains(&word) => mistake.hint(format!("did you mean `{word}`?")),
                Some(word) => mistake.hint(format!("write `{word}(…)` without `request.`")),
                None => mistake.hint(format!("known: {}", known.join(", "))),
            },
        ))
    }

    fn unknown_variable(&self, id: u64, name: &str) -> ExprError {
        if LATER.contains(&name) {
            return self.not_yet(id, &format!("`{name}` is"));
        }
        if caller::WORDS.contains(&name) {
            let mistake = Mistake::new(format!("`{name}` is not known yet when a route is looked for"));
            return self.mistake(id, mistake.hint("what the caller may do is said by `allow`"));
        }
        if name == "request" {
            let mistake = Mistake::new("`request` is no value by itself");
            return self.mistake(id, mistake.hint(format!("its parts are: {}", REQUEST_FIELDS.join(", "))));
        }
        let mistake = Mistake::new(format!("unknown variable `{name}`"));
        if FUNCTIONS.contains(&name) {
            return self.mistake(id, mistake.hint(format!("`{name}` is a function: `{name}(…)`")));
        }
        if REQUEST_FIELDS.contains(&name) {
            return self.mistake(id, mistake.hint(format!("write `request.{name}`")));
        }
        let callers = caller::WORDS.into_iter().filter(|_| self.scope == Scope::Caller);
        let word = nearest(name, ["request", "ip"].into_iter().chain(callers).chain(FUNCTIONS));
        self.mistake(
            id,
            match word {
                Some(word) => mistake.hint(format!("did you mean `{word}`?")),
                None if self.scope == Scope::Caller => {
                    mistake.hint(format!("known: request, ip, {}; a text needs quotes", caller::WORDS.join(", ")))
                }
                None => mistake.hint("known: request, ip; a text needs quotes"),
            },
        )
    }

    fn no_field(&self, id: u64, select: &SelectExpr) -> ExprError {
        if !read::is_request(&select.operand) {
            return match &select.operand.expr {
                Expr::Ident(name) if name != "ip" => self.unknown_variable(select.operand.id, name),
                Expr::Select(inner) if read::subject(&select.operand).is_none() => self.no_field(id, inner),
                _ => self.error(id, format!("there is no field `{}` here", select.field)),
            };
        }
        if select.test {
            let mistake = Mistake::new("`has` is of no use here");
            return self.mistake(id, mistake.hint("`has_header(\"X\")`, `has_query(\"x\")`, `has_cookie(\"x\")`"));
        }
        let mistake = Mistake::new(format!("`request` has no `{}`", select.field));
        if FUNCTIONS.contains(&select.field.as_str()) {
            return self.mistake(id, mistake.hint(format!("write `{}(\"name\")`", select.field)));
        }
        self.mistake(
            id,
            match nearest(&select.field, REQUEST_FIELDS) {
                Some(word) => mistake.hint(format!("did you mean `{word}`?")),
                None => mistake.hint(format!("its parts are: {}", REQUEST_FIELDS.join(", "))),
            },
        )
    }

    fn not_yet(&self, id: u64, what: &str) -> ExprError {
        const VERSION: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
        self.error(id, format!("{what} not in this version of Tollgate ({VERSION})"))
    }

    fn wrong_types(&self, id: u64, function: &str, types: &[Type]) -> ExprError {
        let names: Vec<&str> = types.iter().map(|kind| kind.name()).collect();
        let word = function.trim_matches('_').trim_start_matches('@');
        let taken = if names.is_empty() { "nothing".to_owned() } else { names.join(" and ") };
        let mistake = Mistake::new(format!("`{word}` cannot take {taken}"));
        self.mistake(
            id,
            match types {
                [Type::Text, Type::Int] | [Type::Int, Type::Text] => {
                    mistake.hint("put the number in quotes, or make the text a number with `int(…)`")
                }
                [_, Type::Text] if function == operators::IN => mistake.hint("for a part of a text use `.contains(…)`"),
                _ => mistake,
            },
        )
    }
}

fn literal_type(value: &LiteralValue) -> Type {
    match value {
        LiteralValue::Boolean(_) => Type::Truth,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::UInt(_) => Type::Uint,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Bytes(_) | LiteralValue::Null => Type::Unknown,
    }
}

/// Operators have names that no user can write.
fn is_operator(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The type of an operator's result; `None` if it cannot take these.
fn operator_type(name: &str, types: &[Type]) -> Option<Type> {
    match (name, types) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, _) => {
            types.iter().all(|kind| kind.may_be(Type::Truth)).then_some(Type::Truth)
        }
        (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => a.compares_with(*b).then_some(Type::Truth),
        (operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS, [a, b]) => {
            (a.compares_with(*b) && *a != Type::List).then_some(Type::Truth)
        }
        (operators::IN, [_, list]) => list.may_be(Type::List).then_some(Type::Truth),
        (operators::INDEX, [list, _]) => list.may_be(Type::List).then_some(Type::Unknown),
        (operators::CONDITIONAL, [condition, a, b]) => {
            condition.may_be(Type::Truth).then_some(if a == b { *a } else { Type::Unknown })
        }
        (operators::NEGATE, [kind]) => (kind.is_number() || *kind == Type::Unknown).then_some(*kind),
        (operators::ADD, [a, b]) if a == b && matches!(a, Type::Text | Type::List) => Some(*a),
        (
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
            [a, b],
        ) => match (a, b) {
            (Type::Unknown, other) | (other, Type::Unknown) => Some(*other),
            (a, b) => (a == b && a.is_number()).then_some(*a),
        },
        _ => None,
    }
}

fn function_type(name: &str, types: &[Type]) -> Option<Type> {
    let [kind] = types else { return None };
    let converts = kind.is_number() || kind.may_be(Type::Text);
    match name {
        "size" => (kind.may_be(Type::Text) || *kind == Type::List).then_some(Type::Int),
        "int" => converts.then_some(Type::Int),
        "uint" => converts.then_some(Type::Uint),
        "double" => converts.then_some(Type::Double),
        "string" => (converts || *kind == Type::Truth).then_some(Type::Text),
        _ => None,
    }
}

fn method_type(name: &str, target: Type, arguments: &[Type]) -> Option<Type> {
    let on_text = target.may_be(Type::Text);
    match (name, arguments) {
        ("startsWith" | "endsWith" | "contains", [argument]) => {
            (on_text && argument.may_be(Type::Text)).then_some(Type::Truth)
        }
        ("lowerAscii" | "upperAscii" | "trim", []) => on_text.then_some(Type::Text),
        ("size", []) => (on_text || target == Type::List).then_some(Type::Int),
        _ => None,
    }
}
