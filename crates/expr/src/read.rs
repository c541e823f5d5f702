//! The words of this version: variables and functions that are ours, read from the syntax tree.

use std::net::IpAddr;

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue};
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use tollgate_core::facts::ClientAddress;

use crate::plain::{Subject, Test};

/// Bytes a compiled regex may take.
const REGEX_SIZE: usize = 1 << 20;

/// Fields of `request`.
pub(crate) const REQUEST_FIELDS: [&str; 4] = ["method", "path", "host", "scheme"];
/// Our functions, and those of CEL that make sense here.
pub(crate) const FUNCTIONS: [&str; 12] = [
    "header",
    "query",
    "cookie",
    "has_header",
    "has_query",
    "has_cookie",
    "ip_in",
    "size",
    "int",
    "uint",
    "double",
    "string",
];
/// What may be called on a value.
pub(crate) const METHODS: [&str; 8] =
    ["startsWith", "endsWith", "contains", "matches", "size", "lowerAscii", "upperAscii", "trim"];
/// Names that a later version will know.
pub(crate) const LATER: [&str; 1] = ["client"];

/// A mistake in one of our words: what, and what to do about it.
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The text of a literal.
pub(crate) fn literal(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// Reads a variable or a call that stands for a text of the request. `None`: it is something else.
pub(crate) fn subject(expr: &IdedExpr) -> Option<Result<Subject, Mistake>> {
    match &expr.expr {
        Expr::Ident(name) if name == "ip" => Some(Ok(Subject::Ip)),
        Expr::Select(select) if !select.test && is_request(&select.operand) => Some(Ok(match select.field.as_str() {
            "method" => Subject::Method,
            "path" => Subject::Path,
            "host" => Subject::Host,
            "scheme" => Subject::Scheme,
            _ => return None,
        })),
        Expr::Call(call) if call.target.is_none() => {
            let make = match call.func_name.as_str() {
                "header" => |name: &str| Subject::Header(name.to_ascii_lowercase()),
                "query" => |name: &str| Subject::Query(name.to_owned()),
                "cookie" => |name: &str| Subject::Cookie(name.to_owned()),
                _ => return None,
            };
            Some(one_name(&call.func_name, &call.args).map(make))
        }
        _ => None,
    }
}

pub(crate) fn is_request(expr: &IdedExpr) -> bool {
    matches!(&expr.expr, Expr::Ident(name) if name == "request")
}

/// Reads a call that the interpreter knows nothing of, or that it does badly: `has_…`, `ip_in`, and `matches`,
/// for which it would compile the regex anew each time. `None`: it is something else.
pub(crate) fn special_test(expr: &IdedExpr) -> Option<Result<Test, Mistake>> {
    let Expr::Call(call) = &expr.expr else { return None };
    match (call.func_name.as_str(), call.target.as_deref()) {
        ("has_header", None) => Some(
            one_name("has_header", &call.args).map(|name| Test::IsPresent(Subject::Header(name.to_ascii_lowercase()))),
        ),
        ("has_query", None) => {
            Some(one_name("has_query", &call.args).map(|name| Test::IsPresent(Subject::Query(name.to_owned()))))
        }
        ("has_cookie", None) => {
            Some(one_name("has_cookie", &call.args).map(|name| Test::IsPresent(Subject::Cookie(name.to_owned()))))
        }
        ("ip_in", None) => Some(nets(&call.args).map(Test::IpIn)),
        ("matches", Some(target)) => Some(regex_test(target, &call.args)),
        _ => None,
    }
}

fn one_name<'e>(function: &str, arguments: &'e [IdedExpr]) -> Result<&'e str, Mistake> {
    match arguments {
        [argument] if literal(argument).is_some_and(|name| !name.is_empty()) => {
            Ok(literal(argument).unwrap_or_default())
        }
        _ => Err(Mistake::new(format!("`{function}` takes one name in quotes"))
            .hint(format!("write `{function}(\"name\")`"))),
    }
}

fn nets(arguments: &[IdedExpr]) -> Result<Vec<IpNet>, Mistake> {
    let usage = "write `ip_in(\"10.0.0.0/8\")`, with as many networks as you like";
    if arguments.is_empty() {
        return Err(Mistake::new("`ip_in` takes one or more networks in quotes").hint(usage));
    }
    let read = |argument: &IdedExpr| {
        let text = literal(argument)
            .ok_or_else(|| Mistake::new("`ip_in` takes one or more networks in quotes").hint(usage))?;
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map_err(|_| Mistake::new(format!("`{text}` is no network")).hint(usage))
    };
    arguments.iter().map(read).collect()
}

fn regex_test(target: &IdedExpr, arguments: &[IdedExpr]) -> Result<Test, Mistake> {
    let usage = "write it as `request.path.matches(\"^/v[0-9]+/\")`";
    let Some(subject) = subject(target) else {
        return Err(Mistake::new("`matches` can be asked of variables only").hint(usage));
    };
    let [argument] = arguments else { return Err(Mistake::new("`matches` takes one regular expression").hint(usage)) };
    let Some(source) = literal(argument) else {
        return Err(Mistake::new("`matches` takes a regular expression in quotes").hint(usage));
    };
    Ok(Test::Matches(subject?, compile(source)?))
}

fn compile(source: &str) -> Result<Regex, Mistake> {
    RegexBuilder::new(source).size_limit(REGEX_SIZE).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Mistake::new("the regular expression is too big"),
        // The parser draws a picture over several lines; its last line says what is wrong.
        error => {
            let picture = error.to_string();
            let reason = picture.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Mistake::new(format!("not a regular expression: {reason}"))
        }
    })
}

/// Whether a text that is compared with a subject could ever be its value.
pub(crate) fn comparable(subject: &Subject, text: &str) -> Result<(), Mistake> {
    let never = |what: &str| Mistake::new(format!("`{text}` is never {what}"));
    match subject {
        Subject::Host if text.bytes().any(|b| b.is_ascii_uppercase()) => {
            Err(never("the host").hint(format!("hosts are in lower case here: `{}`", text.to_ascii_lowercase())))
        }
        Subject::Host if text.contains(':') && !text.starts_with('[') => {
            Err(never("the host").hint("the host comes without its port"))
        }
        Subject::Method if text.bytes().any(|b| b.is_ascii_lowercase()) => {
            Err(never("a method").hint(format!("methods are in upper case: `{}`", text.to_ascii_uppercase())))
        }
        Subject::Scheme if text != "http" && text != "https" => Err(never("the scheme").hint("`http` or `https`")),
        Subject::Path if !text.starts_with('/') => Err(never("the path").hint("paths begin with `/`")),
        Subject::Ip => match text.parse::<ClientAddress>() {
            Ok(address) if address.to_string() == text => Ok(()),
            Ok(address) => Err(never("the address").hint(format!("it is written `{address}`"))),
            Err(_) => {
                Err(Mistake::new(format!("`{text}` is no address")).hint("for a network, use `ip_in(\"10.0.0.0/8\")`"))
            }
        },
        _ => Ok(()),
    }
}
