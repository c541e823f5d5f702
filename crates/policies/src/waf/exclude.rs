//! What is left out: `942100`, `{ rule: 920350, path: /search/** }`, `{ tag: attack-sqli, argument: q }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Spanned, Value};
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text};
use tollgate_waf::{Exclusion, Target};

/// One thing that is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Exclude(WafExclusion);

section! {
    /// Rules that are left out, wholly or in part.
    pub struct WafExclusion {
        /// The number of a rule, or from one to another: `942100-942199`.
        rule: Option<RuleNumbers>,
        /// Rules with this tag, in place of a number: `attack-sqli`.
        tag: Option<String>,
        /// On this path alone, in its normal form, or on it and below: `/search/**`.
        path: Option<Spanned<String>>,
        /// For these arguments alone, of query and body: `q`, `json.items.*`.
        argument: Option<Vec<Spanned<String>>>,
        /// For these header fields alone.
        header: Option<Vec<Spanned<String>>>,
        /// For these cookies alone.
        cookie: Option<Vec<Spanned<String>>>,
    }
}

/// A number, or a range of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleNumbers(String);

impl FromText for RuleNumbers {
    const WHAT: &'static str = "the number of a rule, or a range of them";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(text.to_owned())),
            _ => {
                Err(Diagnostic::error(format!("`{text}` is no number of a rule")).hint("`942100`, or `942100-942199`"))
            }
        }
    }
}

decode_from_text!(RuleNumbers);

impl JsonSchema for RuleNumbers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RuleNumbers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "number, or range of numbers", "type": ["integer", "string"], "pattern": "^[0-9]+(-[0-9]+)?$" })
    }
}

impl Decode for Exclude {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            return WafExclusion::decode(node, cx).map(Self);
        }
        let long = Node::new(Value::Map(vec![Entry::at("rule", node.clone())]), node.span.clone());
        WafExclusion::decode(&long, cx).map(Self)
    }
}

impl JsonSchema for Exclude {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Exclude".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (number, long) = (generator.subschema_for::<RuleNumbers>(), generator.subschema_for::<WafExclusion>());
        json_schema!({ "anyOf": [number, long] })
    }
}

impl Exclude {
    /// As the engine takes it.
    pub(super) fn read(written: &Spanned<Self>) -> Result<Exclusion, Diagnostic> {
        let own = &written.value.0;
        if own.rule.is_some() == own.tag.is_some() {
            let mistake = Diagnostic::error("what is left out is named by a rule, or by a tag").at(&written.span);
            return Err(
                mistake.hint("`942100`, `{ rule: 942100, path: /search/** }`, or `{ tag: attack-sqli, argument: q }`")
            );
        }
        let path = own.path.as_ref().map(path).transpose()?;
        let mut targets = Vec::new();
        for (collection, names) in
            [("ARGS", &own.argument), ("REQUEST_HEADERS", &own.header), ("REQUEST_COOKIES", &own.cookie)]
        {
            for name in names.iter().flatten() {
                if name.value.trim_matches('/').is_empty() {
                    return Err(Diagnostic::error("a name is missing here")
                        .at(&name.span)
                        .hint("`q`, or `json.items.*`"));
                }
                targets.push(Target { collection, name: name.value.clone() });
            }
        }
        Ok(Exclusion { rule: own.rule.as_ref().map(|rule| rule.0.clone()), tag: own.tag.clone(), path, targets })
    }
}

fn path(written: &Spanned<String>) -> Result<String, Diagnostic> {
    let path = &written.value;
    let plain = path.strip_suffix("/**").unwrap_or(path);
    if path.starts_with('/') && !plain.contains(['*', '?']) {
        return Ok(path.clone());
    }
    Err(Diagnostic::error(format!("`{path}` is no path here"))
        .at(&written.span)
        .hint("`/search`, or `/search/**` with all below"))
}
