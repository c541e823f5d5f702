//! How a provider itself names whose tokens they are, in place of an issuer.

use tollgate_core::node::{Entry, Node, Value};

/// `provider: entra, tenant: x` → `issuer: https://login.microsoftonline.com/x/v2.0`, and so on. Where an issuer is written, too, both
/// stay for the decoder to refuse.
pub(super) fn provider(node: &mut Node) {
    let text = |key: &str| node.get(key).and_then(|entry| entry.value.text());
    let (Some(named), None) = (text("provider"), node.get("issuer")) else { return };
    let (parts, issuer): (&[&str], Option<String>) = match named {
        // Tokens of several tenants have as many issuers; keys and metadata are where those of all are.
        "entra" if node.get("tenants").is_some() => {
            (&[], Some("https://login.microsoftonline.com/organizations/v2.0".to_owned()))
        }
        "entra" => (&["tenant"], text("tenant").map(|id| format!("https://login.microsoftonline.com/{id}/v2.0"))),
        "cognito" => (&["pool"], text("pool").map(pool)),
        "auth0" => (&["domain"], text("domain").map(|domain| format!("https://{domain}/"))),
        "okta" => {
            let server = text("server").unwrap_or("default");
            (&["domain", "server"], text("domain").map(|domain| format!("https://{domain}/oauth2/{server}")))
        }
        "keycloak" => {
            let both = text("url").zip(text("realm"));
            (&["realm", "url"], both.map(|(url, realm)| format!("{}/realms/{realm}", url.trim_end_matches('/'))))
        }
        "google" => (&[], Some("https://accounts.google.com".to_owned())),
        _ => return,
    };
    let Some(issuer) = issuer else { return };
    let Value::Map(entries) = &mut node.value else { return };
    // Where the mistake is if it is no issuer.
    let place = parts.first().and_then(|key| entries.iter().find(|entry| entry.key == *key));
    let span =
        place.or_else(|| entries.iter().find(|entry| entry.key == "provider")).map(|entry| entry.value.span.clone());
    entries.retain(|entry| !parts.contains(&entry.key.as_str()));
    let issuer = Node {
        value: issuer.as_str().into(),
        ..span.map_or_else(|| Node::synthetic(Value::Null), |span| Node::new(Value::Null, span))
    };
    let behind = entries.iter().position(|entry| entry.key == "provider").map_or(0, |at| at + 1);
    entries.insert(behind, Entry::at("issuer", issuer));
}

/// `eu-west-1_AbCdEf`: its region is in its name.
fn pool(id: &str) -> String {
    let region = id.split_once('_').map_or("region", |(region, _)| region);
    format!("https://cognito-idp.{region}.amazonaws.com/{id}")
}
