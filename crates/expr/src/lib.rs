//! Conditions in CEL, with simple predicates turned into plain compares; and expressions for texts and numbers.
//!
//! What may stand in a condition of this version:
//! - `request.method`, `request.path` (normalised), `request.host` (lower case, no port), `request.scheme`, `ip`;
//! - `header("X-Beta")`, `query("page")`, `cookie("session")`: the value, `""` if it is not there;
//!   `has_header(…)`, `has_query(…)`, `has_cookie(…)` tell the difference;
//! - `ip_in("10.0.0.0/8", "fd00::/8")`;
//! - once it is known who calls: `claims.email`, `claims["https://a/b"].c`, `has(claims.email)`, `scopes` (a list), `principal` (who it
//!   is), `consumer` (the application); a claim that is not there is nothing, and equal to nothing;
//! - `==`, `!=`, `<`, `in […]`, `&&`, `||`, `!`, `? :`, arithmetic, and on texts `.startsWith()`, `.endsWith()`,
//!   `.contains()`, `.matches()` (a regex, anywhere in the text), `.size()`, `.lowerAscii()`, `.upperAscii()`,
//!   `.trim()`.
//!
//! Everything is checked at compile: names, types, literals that could never match. What a request brings can
//! only make it false: an error while evaluating (a number that is none) counts as false. The parts of a
//! conjunction are compiled one by one; a part that only compares runs without the interpreter and allocates
//! nothing, unless a value must be decoded first.

#![forbid(unsafe_code)]

mod caller;
mod check;
mod facts;
mod general;
mod plain;
mod read;
mod term;

use std::fmt;

use cel::IdedExpr;
use cel::common::ast::{Expr, SourceInfo, operators};
use cel::parser::Parser;

pub use caller::Told;
pub use facts::Facts;
pub use term::Term;

use check::{Checker, Type};
use general::General;
use plain::Plain;

/// Longest condition, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// Deepest nesting of a condition.
const MAX_DEPTH: usize = 32;

/// Why a condition is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to write instead, if that is known.
    pub hint: Option<String>,
    /// Byte in the condition's text.
    pub offset: usize,
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExprError {}

/// What a condition may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The request: who calls is not known yet.
    Request,
    /// The caller, too.
    Caller,
}

/// A compiled condition. Two are equal if their texts are.
#[derive(Debug)]
pub struct Condition {
    text: String,
    /// Joined by `&&`; those without the interpreter first, for they cost least.
    parts: Vec<Part>,
}

/// One part of a conjunction.
#[derive(Debug)]
enum Part {
    Plain(Plain),
    General(General),
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// The first mistake found, with its place.
    pub fn compile(text: &str) -> Result<Self, ExprError> {
        Self::compile_in(text, Scope::Request)
    }

    /// Compiles a condition that may be about this.
    ///
    /// # Errors
    /// The first mistake found, with its place.
    pub fn compile_in(text: &str, scope: Scope) -> Result<Self, ExprError> {
        Self::compile_by(text, scope, plain::read)
    }

    /// `simplify` turns a part into plain compares where it can; tests hand in one that never does.
    fn compile_by(text: &str, scope: Scope, simplify: impl Fn(&IdedExpr) -> Option<Plain>) -> Result<Self, ExprError> {
        let (expr, source) = parse(text)?;
        let mut conjuncts = Vec::new();
        flatten(expr, &mut conjuncts);
        let mut parts = Vec::with_capacity(conjuncts.len());
        for conjunct in conjuncts {
            let mut checker = Checker::new(&source, scope);
            let simple = simplify(&conjunct);
            let id = conjunct.id;
            let (checked, kind) = checker.check(conjunct, 0)?;
            if !matches!(kind, Type::Truth | Type::Unknown) {
                return Err(checker.error(id, format!("a condition is true or false, this is {}", kind.name())));
            }
            parts.push(simple.map_or_else(|| Part::General(General::new(checked, checker.slots())), Part::Plain));
        }
        parts.sort_by_key(|part| matches!(part, Part::General(_)));
        Ok(Self { text: text.trim().to_owned(), parts })
    }

    /// Whether the condition holds; false too if it cannot be told.
    #[must_use]
    pub fn matches(&self, facts: &dyn Facts) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Plain(plain) => plain.holds(facts),
            Part::General(general) => general.holds(facts),
        })
    }

    /// The number of conditions joined by `&&` at the top.
    #[must_use]
    pub fn conjuncts(&self) -> usize {
        self.parts.len()
    }

    /// Whether it is certain that no request meets both: `header("X") == "a"` and `header("X") == "b"`.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        self.plain().any(|ours| other.plain().any(|theirs| ours.excludes(theirs)))
    }

    /// The text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn plain(&self) -> impl Iterator<Item = &Plain> {
        self.parts.iter().filter_map(|part| match part {
            Part::Plain(plain) => Some(plain),
            Part::General(_) => None,
        })
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), ExprError> {
    let refused = |message: String, offset| Err(ExprError { message, hint: None, offset });
    if text.trim().is_empty() {
        return refused("the condition is empty".into(), 0);
    }
    if text.len() > MAX_LENGTH {
        return refused(format!("the condition is longer than {MAX_LENGTH} bytes"), MAX_LENGTH);
    }
    // The parser goes down the stack once per level and bracket; it is not asked about what is too deep anyway.
    if let Some(offset) = too_deep(text) {
        return refused(format!("the condition is nested deeper than {MAX_DEPTH} levels"), offset);
    }
    Parser::new().parse_with_source_info(text).map_err(|errors| {
        let first = errors.errors.first();
        let message = first.map_or("cannot be read", |error| error.msg.trim_start_matches("Syntax error: "));
        let offset = first.map_or(0, |error| offset_of(text, error.pos));
        ExprError { message: format!("not a condition: {}", spoken(message)), hint: None, offset }
    })
}

/// Where brackets go deeper than allowed. Those in quotes count too: a text full of brackets is no loss.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    text.bytes().position(|byte| {
        match byte {
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// The parser's list of what it expected names its grammar's tokens, which tells a user nothing.
fn spoken(message: &str) -> &str {
    message.split(" expecting ").next().unwrap_or(message)
}

/// The byte that line and column (both from 1, in characters) lead to.
fn offset_of(text: &str, (line, column): (isize, isize)) -> usize {
    let before = usize::try_from(line - 1).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let skipped = usize::try_from(column - 1).unwrap_or(0);
    let length: usize = text[start..].chars().take(skipped).map(char::len_utf8).sum();
    start + length
}

/// Takes a tree of `&&` apart.
fn flatten(expr: IdedExpr, parts: &mut Vec<IdedExpr>) {
    match expr.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
            call.args.into_iter().for_each(|side| flatten(side, parts));
        }
        _ => parts.push(expr),
    }
}

#[cfg(test)]
mod tests;
