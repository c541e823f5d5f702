//! The registry's part of the OpenAPI document.

use std::collections::BTreeMap;

use tollgate_core::problem::Fault;
use tollgate_core::serde_json::{Map, Value, json};

use super::Ask;
use super::faults::{
    COMPACTED, FORBIDDEN, FULL, INVALID, MALFORMED, NOT_FOUND, PRECONDITION, UNAUTHORIZED, UNAVAILABLE, UNHEARD,
    WATCHERS,
};

/// What there is to say of one question: its parameters, its body, its answers.
pub(crate) fn operation(ask: Ask, path: &str, summary: &str) -> Map<String, Value> {
    let mut operation = Map::new();
    let mut set = |name: &str, value: Value| drop(operation.insert(name.to_owned(), value));
    set("tags", json!(["registry"]));
    set("parameters", parameters(ask, path).into());
    if let Some(required) = ask.body() {
        let name = if required { "Registration" } else { "Renewal" };
        set(
            "requestBody",
            json!({ "required": required, "content": { "application/json": { "schema": schema(name) } } }),
        );
    }
    set("responses", responses(ask, summary).into());
    operation
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn parameters(ask: Ask, path: &str) -> Vec<Value> {
    let of_path = ["service", "id"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let of_path = of_path.map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "pattern": pattern(name) } })
    });
    let of_query = ask.parameters().iter().map(|name| {
        let (kind, says) = match *name {
            "watch" => ("boolean", "Wait for what changes, instead of listing all."),
            "after" => ("integer", "With `watch`: what changed after this revision."),
            "wait" => ("string", "With `watch`: for how long, at most `60s`."),
            "tag" => ("string", "Only instances with this tag; with several, with all of them."),
            "version" => ("string", "Only instances of this version."),
            _ => ("string", "Only instances in this zone."),
        };
        let may_be_empty = *name == "watch";
        json!({ "name": name, "in": "query", "description": says, "allowEmptyValue": may_be_empty, "schema": { "type": kind } })
    });
    let of_head =
        conditions(ask).iter().map(|name| json!({ "name": name, "in": "header", "schema": { "type": "string" } }));
    of_path.chain(of_query).chain(of_head).collect()
}

fn pattern(name: &str) -> &'static str {
    if name == "id" { r"^[A-Za-z0-9_.:\[\]-]{1,260}$" } else { "^[A-Za-z0-9_.-]{1,63}$" }
}

fn conditions(ask: Ask) -> &'static [&'static str] {
    match ask {
        Ask::Register => &["If-None-Match", "If-Match"],
        Ask::Drain | Ask::Undrain | Ask::Deregister => &["If-Match"],
        Ask::Instances => &["If-None-Match", "Last-Event-ID"],
        Ask::Services | Ask::Get | Ask::Renew => &[],
    }
}

/// What it refuses with, beside what all do.
fn faults(ask: Ask) -> Vec<&'static Fault> {
    match ask {
        Ask::Services => vec![&UNHEARD],
        Ask::Instances => vec![&COMPACTED, &WATCHERS, &UNHEARD],
        Ask::Get => vec![&NOT_FOUND, &UNHEARD],
        Ask::Register => vec![&INVALID, &NOT_FOUND, &PRECONDITION, &FULL, &UNAVAILABLE, &UNHEARD],
        Ask::Renew => vec![&INVALID, &NOT_FOUND, &UNAVAILABLE],
        Ask::Drain | Ask::Undrain => vec![&NOT_FOUND, &PRECONDITION, &UNAVAILABLE, &UNHEARD],
        Ask::Deregister => vec![&PRECONDITION, &UNAVAILABLE, &UNHEARD],
    }
}

fn responses(ask: Ask, summary: &str) -> Map<String, Value> {
    let json_of =
        |name: &str| json!({ "description": summary, "content": { "application/json": { "schema": schema(name) } } });
    let mut responses = Map::new();
    let mut set = |status: &str, value: Value| drop(responses.insert(status.to_owned(), value));
    match ask {
        Ask::Services => set("200", json_of("RegistryServices")),
        Ask::Instances => {
            let either = json!({ "oneOf": [schema("Instances"), schema("Changes")] });
            let content = json!({ "application/json": { "schema": either }, "text/event-stream": { "schema": { "type": "string" } } });
            set("200", json!({ "description": summary, "content": content }));
            set("204", json!({ "description": "Nothing changed; `Tollgate-Revision` says up to which revision." }));
            set("304", json!({ "description": "The list is as it was." }));
        }
        Ask::Register => {
            set("200", json_of("Instance"));
            set("201", json_of("Instance"));
        }
        Ask::Deregister => set("204", json!({ "description": "It is not there (any more)." })),
        Ask::Get | Ask::Renew | Ask::Drain | Ask::Undrain => set("200", json_of("Instance")),
    }
    let mut refusals: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for fault in [&UNAUTHORIZED, &FORBIDDEN, &MALFORMED].into_iter().chain(faults(ask)) {
        refusals.entry(fault.status).or_default().push(fault.title);
    }
    for (status, titles) in refusals {
        let content = json!({ "application/problem+json": { "schema": schema("Problem") } });
        set(&status.to_string(), json!({ "description": titles.join("; or: "), "content": content }));
    }
    responses
}

/// What requests and answers look like.
pub(crate) fn schemas() -> [(&'static str, Value); 6] {
    let text = || json!({ "type": ["string", "null"] });
    let said = said();
    let mut shown = said.clone();
    let more = json!({
        "service": { "type": "string" }, "id": { "type": "string" },
        "renew_every": { "type": "string", "description": "How often to renew: so many renewals may get lost as fit into the rest." },
        "zone": text(), "version": text(), "load": { "type": ["object", "null"] },
        "draining": { "type": "boolean", "description": "It gets no new requests." },
        "revision": { "type": "integer", "description": "When it was changed last." },
        "since": { "type": "string", "format": "date-time" },
        "expires": { "type": ["string", "null"], "format": "date-time", "description": "When it ends unless it is renewed, if that is known here." },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        shown[name] = value.clone();
    }
    let list = |of: &str| json!({ "type": "array", "items": schema(of) });
    let revision = || json!({ "type": "integer" });
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    [
        (
            "Registration",
            json!({ "type": "object", "required": ["port"], "additionalProperties": false, "properties": said }),
        ),
        ("Renewal", json!({ "type": "object", "additionalProperties": false, "properties": { "load": load() } })),
        ("Instance", object(shown)),
        ("Instances", object(json!({ "revision": revision(), "age_ms": revision(), "instances": list("Instance") }))),
        (
            "Changes",
            object(json!({ "revision": revision(), "changes": { "type": "array", "items": object(json!({
                "change": { "enum": ["put", "gone"] }, "revision": revision(), "instance": schema("Instance"),
                "service": { "type": "string" }, "id": { "type": "string" },
            })) } })),
        ),
        (
            "RegistryServices",
            object(
                json!({ "revision": revision(), "age_ms": revision(), "services": { "type": "array", "items": object(json!({
                "name": { "type": "string" }, "instances": { "type": "integer" }, "draining": { "type": "integer" },
            })) } }),
            ),
        ),
    ]
}

/// What an instance says of itself.
fn said() -> Value {
    json!({
        "address": { "type": "string", "description": "An IP address or a host name; without it, from where it is asked." },
        "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
        "ttl": { "type": "string", "examples": ["10s"], "description": "Whole seconds, `2s` to `24h`." },
        "zone": { "type": "string" },
        "version": { "type": "string" },
        "weight": { "type": "integer", "minimum": 0, "maximum": 1000, "default": 1 },
        "group": { "type": "integer", "minimum": 0, "maximum": 255, "default": 0, "description": "0 is asked first." },
        "tags": { "type": "array", "maxItems": 32, "items": { "type": "string" } },
        "load": load(),
    })
}

fn load() -> Value {
    let number = || json!({ "type": "number", "minimum": 0 });
    let named = || json!({ "type": "object", "additionalProperties": number() });
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "How busy it is, as an OrcaLoadReport says it.",
        "properties": {
            "cpu_utilization": number(), "cpu": number(), "mem_utilization": number(), "mem": number(),
            "application_utilization": number(), "rps_fractional": number(), "eps": number(), "in_flight": number(),
            "named_metrics": named(), "request_cost": named(), "utilization": named(),
        },
    })
}
