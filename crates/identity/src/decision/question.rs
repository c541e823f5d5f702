//! What is told of a request.

use serde_json::{Map, Value, json};
use tollgate_core::exchange::Exchange;
use tollgate_core::host;
use tollgate_core::path::percent_decode;
use tollgate_core::principal::Principal;
use tollgate_core::secrets::without_secrets;

/// What of a request is told, beside what always is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Names of header fields, in lower case.
    pub headers: Vec<String>,
    /// The query, without what looks like a secret.
    pub query: bool,
    /// The claims, each by the names that lead to it; `None`: all.
    pub claims: Option<Vec<Vec<String>>>,
}

/// The question, as JSON: the same text for the same question.
pub(super) fn text(x: &Exchange, told: &Told) -> String {
    let head = &x.head;
    let mut request = json!({
        "method": head.method_text(),
        "scheme": x.scheme,
        "host": host::name(head.host()).to_ascii_lowercase(),
        "path": head.path(),
        "segments": segments(head.path()),
    });
    let lines =
        |name: &String| head.fields.all(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    let headers = told.headers.iter().map(|name| (name.clone(), lines(name))).filter(|(_, lines)| *lines != json!([]));
    let headers: Map<String, Value> = headers.collect();
    if !headers.is_empty() {
        request["headers"] = headers.into();
    }
    if told.query {
        request["query"] = query(head.query().unwrap_or_default());
    }
    let route = json!({ "name": &*x.route.name, "api": &*x.route.api });
    let mut input = json!({ "request": request, "route": route, "client": { "address": x.client.to_string() } });
    if let Some(principal) = &x.principal {
        input["caller"] = caller(principal, told.claims.as_deref());
    }
    json!({ "input": input }).to_string()
}

/// Each decoded once: an encoded slash is a part of its segment. The last one is empty behind a slash at the end.
fn segments(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').map(|part| String::from_utf8_lossy(&percent_decode(part.as_bytes())).into_owned()).collect()
}

fn query(text: &str) -> Value {
    let open = without_secrets(text.as_bytes());
    let mut all = Map::new();
    for (name, value) in form_urlencoded::parse(open.as_deref().unwrap_or(text.as_bytes())) {
        let values = all.entry(name).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(value.into());
        }
    }
    all.into()
}

fn caller(principal: &Principal, claims: Option<&[Vec<String>]>) -> Value {
    let claims = match claims {
        None => principal.claims.clone(),
        Some(wanted) => {
            let mut told = Map::new();
            wanted.iter().for_each(|path| copy(principal, path, &mut told));
            told
        }
    };
    json!({
        "source": &*principal.source,
        // Nobody is called nothing: a policy must not take it for the empty end of a path.
        "subject": Some(&*principal.subject).filter(|subject| !subject.is_empty()),
        "consumer": principal.consumer.as_deref(),
        "scopes": principal.scopes,
        "claims": claims,
    })
}

/// Copies a claim to where it stands.
fn copy(principal: &Principal, path: &[String], to: &mut Map<String, Value>) {
    let (Some(value), Some((last, above))) = (principal.claim(path), path.split_last()) else { return };
    let mut place = to;
    for name in above {
        let below = place.entry(name.clone()).or_insert_with(|| json!({}));
        let Value::Object(below) = below else { return };
        place = below;
    }
    place.insert(last.clone(), value.clone());
}
