//! What limits of all kinds share: where they count, whom they tell apart, who is excepted.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::iter::Peekable;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Node, Span, Spanned, Value, in_key};
use tollgate_core::policy::{BuildCx, Place};
use tollgate_expr::{Condition, ExprError, Scope};

use crate::kit::forms::list_under;
use crate::kit::key::Part;

/// Applications, and what each of them has in place of what others have.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumers<T>(pub(crate) Vec<(String, T)>);

impl<T: Decode> Decode for Consumers<T> {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return cx.expected(node, "a mapping of applications to what they have");
        };
        let read: Vec<_> = entries.iter().map(|one| Some((one.key.clone(), T::decode(&one.value, cx)?))).collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Consumers<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Consumers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

/// For whom a limit holds, and what of it.
#[derive(Debug)]
pub(crate) struct Whom<T> {
    /// What those have who have no other.
    pub(crate) usual: T,
    /// What applications have that have their own; `None`: they are not counted.
    pub(crate) own: HashMap<Box<str>, Option<T>>,
    /// By what callers are told apart.
    pub(crate) per: Vec<Part>,
    pub(crate) except: Option<Condition>,
}

thread_local! {
    /// Where keys are put together.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<T> Whom<T> {
    /// What holds for whoever sends this; `None`: nothing.
    pub(crate) fn of(&self, x: &Exchange) -> Option<&T> {
        if self.except.as_ref().is_some_and(|except| except.matches(x)) {
            return None;
        }
        if self.own.is_empty() {
            return Some(&self.usual);
        }
        let consumer = x.principal.as_deref().and_then(|caller| caller.consumer.as_deref());
        match consumer.and_then(|consumer| self.own.get(consumer)) {
            Some(own) => own.as_ref(),
            None => Some(&self.usual),
        }
    }

    /// Does something with the key of whoever sends this.
    pub(crate) fn with_key<R>(&self, x: &Exchange, work: impl FnOnce(&[u8]) -> R) -> R {
        KEY.with_borrow_mut(|key| {
            key.clear();
            self.per.iter().for_each(|part| part.add_to(key, x));
            work(key)
        })
    }
}

/// `x`, `[x, …]` and `{ … }` → `{ limits: [x in full, …] }`.
pub(crate) fn desugar(node: Node, in_full: fn(&mut Node)) -> Node {
    let is_one = matches!(node.value, Value::Map(_)) && node.get("limits").is_none();
    let span = node.span.clone();
    let mut long = list_under(if is_one { Node::new(Value::List(vec![node]), span) } else { node }, "limits");
    in_key(&mut long, "limits", |limits| {
        if let Value::List(limits) = &mut limits.value {
            limits.iter_mut().for_each(in_full);
        }
    });
    long
}

/// The words of `user and header X-Tenant` up to one of `ends`, as the values of `per`; `None`: there is an empty one.
pub(crate) fn keys<'w>(
    words: &mut Peekable<impl Iterator<Item = &'w str>>,
    ends: &[&str],
    span: &Span,
) -> Option<Vec<Node>> {
    let mut keys: Vec<String> = vec![String::new()];
    while let Some(part) = words.next_if(|word| !ends.contains(word)) {
        match (part, keys.last_mut()) {
            ("and", _) | (_, None) => keys.push(String::new()),
            (part, Some(key)) if key.is_empty() => part.clone_into(key),
            (part, Some(key)) => *key = format!("{key} {part}"),
        }
    }
    let node = |key: String| {
        let span = span.narrow(&key);
        Node::new(Value::String(key), span)
    };
    if keys.iter().any(String::is_empty) { None } else { Some(keys.into_iter().map(node).collect()) }
}

/// Reads the values of `per`.
pub(crate) fn parts(per: Option<&Vec<Spanned<String>>>, cx: &BuildCx<'_>) -> Result<Vec<Part>, Diagnostic> {
    let read =
        |text: &Spanned<String>| Part::read(text.value.trim(), cx.sources).map_err(|mistake| mistake.at(&text.span));
    per.into_iter().flatten().map(read).collect()
}

/// The values of `per` as they are written: ` per user and ip`, or nothing.
pub(crate) fn per(keys: Option<&Vec<Spanned<String>>>) -> String {
    let keys: Vec<&str> = keys.into_iter().flatten().map(|key| key.value.trim()).collect();
    if keys.is_empty() { String::new() } else { format!(" per {}", keys.join(" and ")) }
}

/// Compiles a condition for whom a limit does not hold.
pub(crate) fn exception(
    text: Option<&Spanned<String>>,
    is_about_caller: &mut bool,
) -> Result<Option<Condition>, Diagnostic> {
    text.map(|text| either(text, is_about_caller, Condition::compile_in)).transpose()
}

/// Compiles what is about the request, or else about the caller, too: then it has to wait for them.
pub(crate) fn either<T>(
    text: &Spanned<String>,
    is_about_caller: &mut bool,
    compile: impl Fn(&str, Scope) -> Result<T, ExprError>,
) -> Result<T, Diagnostic> {
    if let Ok(compiled) = compile(&text.value, Scope::Request) {
        return Ok(compiled);
    }
    *is_about_caller = true;
    compile(&text.value, Scope::Caller).map_err(|error| {
        let mistake = Diagnostic { hint: error.hint, ..Diagnostic::error(error.message) };
        mistake.at(&text.span.within(&text.value, error.offset))
    })
}

/// Where a limit counts: what is of the same place and has the same keys goes on over reloads, also with other numbers.
pub(crate) fn scope(cx: &BuildCx<'_>) -> String {
    match cx.place {
        Place::File => "file".to_owned(),
        Place::Api => format!("api {}", cx.route.api),
        Place::Route => format!("route {} {}", cx.route.api, cx.route.name),
    }
}

/// The same for a person: nothing for a route's own.
pub(crate) fn over(cx: &BuildCx<'_>) -> String {
    match cx.place {
        Place::File => ", over all routes".to_owned(),
        Place::Api => format!(", over all routes of `{}`", cx.route.api),
        Place::Route => String::new(),
    }
}

/// The name of a limit: the one that is given, or else what is `written` for it.
pub(crate) fn name(given: Option<&Spanned<String>>, written: String, span: &Span) -> Result<String, Diagnostic> {
    let (name, span) = given.map_or((written, span), |name| (name.value.clone(), &name.span));
    if (1..=128).contains(&name.len()) {
        Ok(name)
    } else {
        Err(Diagnostic::error("a name has from 1 to 128 bytes").at(span))
    }
}
