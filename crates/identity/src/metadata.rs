//! What a provider says of itself: OpenID Connect Discovery 1.0, RFC 8414.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tollgate_core::caller::{Call, Caller};

use crate::json;
use crate::profile::is_of_all;

/// Largest answer of a provider.
const MOST: usize = 512 * 1024;

/// Where a provider takes questions of a kind: the URL under this name in its metadata.
pub(crate) async fn endpoint(
    issuer: &str,
    name: &str,
    timeout: Duration,
    caller: &Arc<dyn Caller>,
) -> Result<String, String> {
    said(issuer, timeout, caller, |metadata| url(metadata, issuer, name)).await
}

/// What a provider says of itself, as it is read by this.
pub(crate) async fn said<T>(
    issuer: &str,
    timeout: Duration,
    caller: &Arc<dyn Caller>,
    read: impl Fn(&Map<String, Value>) -> Result<T, String>,
) -> Result<T, String> {
    let mut troubles = Vec::new();
    for url in places(issuer) {
        let read = get(&url, timeout, caller).await.and_then(|text| read(&believed(&text, issuer)?));
        match read {
            Ok(found) => return Ok(found),
            Err(why) => troubles.push(if why.starts_with(&url) { why } else { format!("{url}: {why}") }),
        }
    }
    Err(troubles.join("; "))
}

/// Where an issuer's metadata may be: OpenID Connect Discovery 1.0 §4.1 puts the well-known part behind the path, RFC 8414 §3.1
/// before it.
fn places(issuer: &str) -> [String; 2] {
    let bare = issuer.trim_end_matches('/');
    let after_scheme = bare.find("://").map_or(0, |at| at + 3);
    let path = bare[after_scheme..].find('/').map_or(bare.len(), |at| after_scheme + at);
    let (origin, path) = bare.split_at(path);
    [
        format!("{bare}/.well-known/openid-configuration"),
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
    ]
}

/// RFC 8414 §3.3: metadata that names another issuer is somebody else's.
fn believed(text: &[u8], issuer: &str) -> Result<Map<String, Value>, String> {
    let metadata: Map<String, Value> = json::object(text)?;
    match metadata.get("issuer").and_then(Value::as_str) {
        Some(own) if own == issuer || is_of_all(own, issuer) => Ok(metadata),
        Some(other) => Err(format!("its `issuer` is `{other}`: write it exactly so if it is the right one")),
        None => Err("it names no `issuer`".to_owned()),
    }
}

/// The URL under this name in the metadata of an issuer.
pub(crate) fn url(metadata: &Map<String, Value>, issuer: &str, name: &str) -> Result<String, String> {
    let url = metadata.get(name).and_then(Value::as_str).ok_or_else(|| format!("it has no `{name}`"))?;
    // What was found under TLS does not lead out of it.
    if url.starts_with("https://") || (url.starts_with("http://") && issuer.starts_with("http://")) {
        return Ok(url.to_owned());
    }
    Err(format!("its `{name}` is not under https"))
}

pub(crate) async fn get(url: &str, timeout: Duration, caller: &Arc<dyn Caller>) -> Result<Vec<u8>, String> {
    let answer = caller.call(Call::get(url, MOST, timeout)).await.map_err(|error| format!("{url}: {error}"))?;
    if answer.status != 200 { Err(format!("{url} answered {}", answer.status)) } else { Ok(answer.body) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://idp.example/tenant";

    #[test]
    fn metadata_is_where_the_standards_say() {
        assert_eq!(
            places("https://a.example"),
            [
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ]
        );
        assert_eq!(
            places("https://a.example/t/1/"),
            [
                "https://a.example/t/1/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server/t/1",
            ]
        );
    }

    #[test]
    fn metadata_of_somebody_else_is_not_believed() {
        let keys = |text: Value| url(&believed(text.to_string().as_bytes(), ISSUER)?, ISSUER, "jwks_uri");
        assert_eq!(keys(json!({ "issuer": ISSUER, "jwks_uri": "https://k" })), Ok("https://k".to_owned()));
        for (text, why) in [
            (json!({ "issuer": "https://idp.example/tenant/", "jwks_uri": "https://k" }), "exactly so"),
            (json!({ "issuer": "https://evil.example", "jwks_uri": "https://k" }), "https://evil.example"),
            (json!({ "jwks_uri": "https://k" }), "names no `issuer`"),
            (json!({ "issuer": ISSUER }), "no `jwks_uri`"),
            (json!({ "issuer": ISSUER, "jwks_uri": "http://k" }), "not under https"),
            (json!({ "issuer": ISSUER, "jwks_uri": "file:///etc/passwd" }), "not under https"),
        ] {
            let told = keys(text.clone()).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
