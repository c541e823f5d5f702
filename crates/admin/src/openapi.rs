//! The API as an OpenAPI document, made from the list of what it does.

use tollgate_core::problem::Fault;
use tollgate_core::serde_json::{Map, Value, json};

use crate::api::{Does, ENDPOINTS, Endpoint};
use crate::faults::{ALL, CONFIG_REFUSED};
use crate::registry::described;

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = operation(endpoint);
    }
    let mut schemas = json!({ "Reloaded": reloaded(), "Drained": drained(), "Problem": problem() });
    for (name, schema) in described::schemas() {
        schemas[name] = schema;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate admin API",
            "version": "1",
            "description": "For those who run the gateway. Errors are problem details (RFC 9457).",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What is in `admin.token` in the folder `data:`; for the registry, also a token of its own in the config.",
                },
            },
            "schemas": schemas,
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    if let Does::Registry(ask) = endpoint.does {
        let mut operation = described::operation(ask, endpoint.path, endpoint.summary);
        operation.insert("operationId".to_owned(), endpoint.name.into());
        operation.insert("summary".to_owned(), endpoint.summary.into());
        return operation.into();
    }
    let schema = match endpoint.does {
        Does::Reload => json!({ "$ref": "#/components/schemas/Reloaded" }),
        Does::Welcome(_) => json!({ "$ref": "#/components/schemas/Drained" }),
        Does::Show(_) | Does::Describe | Does::Registry(_) => json!({}),
    };
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": endpoint.summary, "content": { "application/json": { "schema": schema } } }),
    );
    let refuses = |fault: &&&Fault| **fault != &CONFIG_REFUSED || matches!(endpoint.does, Does::Reload);
    for fault in ALL.iter().filter(refuses) {
        let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        responses.insert(fault.status.to_string(), json!({ "description": fault.title, "content": content }));
    }
    json!({ "operationId": endpoint.name, "summary": endpoint.summary, "responses": responses })
}

fn reloaded() -> Value {
    json!({
        "type": "object",
        "required": ["changed", "revision", "warnings"],
        "properties": {
            "changed": { "type": "boolean", "description": "Whether the config says anything else than before." },
            "revision": { "type": "integer", "description": "The number of the config in force." },
            "warnings": { "type": "string", "description": "What works, but probably not as meant; for people." },
        },
    })
}

fn drained() -> Value {
    json!({
        "type": "object",
        "required": ["drained"],
        "properties": { "drained": { "type": "boolean", "description": "Whether balancers are told to send nothing new." } },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": { "type": "string", "format": "uri" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "errors": {
                "type": "array",
                "description": "Every mistake of what was to be registered.",
                "items": {
                    "type": "object",
                    "properties": { "pointer": { "type": "string" }, "detail": { "type": "string" } },
                },
            },
            "report": { "type": "string", "description": "Every mistake of a refused config." },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_served_is_described() {
        let document = document();
        for (method, path) in crate::api::served() {
            let operation = &document["paths"][path][method.to_ascii_lowercase()];
            assert!(
                operation["operationId"].is_string() && operation["responses"]["401"].is_object(),
                "{method} {path}"
            );
        }
        let described = document["paths"].as_object().unwrap().values();
        let described: usize = described.map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(described, crate::api::served().count());
        assert!(document["paths"]["/v1/reload"]["post"]["responses"]["422"].is_object());
        assert!(document["paths"]["/v1/status"]["get"]["responses"]["422"].is_null());
    }
}
