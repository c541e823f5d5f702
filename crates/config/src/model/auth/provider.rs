//! Whose tokens they are: what is peculiar to the tokens of one make of identity provider, as far as a config can be wrong about it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned, Value};

use crate::model::auth::tokens::Tokens;
use tollgate_core::text::words;

words! {
    /// A make of identity provider, whose tokens differ from what the standards say.
    pub enum Provider {
        /// Microsoft Entra ID.
        Entra = "entra",
        /// Amazon Cognito user pools.
        Cognito = "cognito",
        /// Keycloak.
        Keycloak = "keycloak",
        /// Auth0.
        Auth0 = "auth0",
        /// Duende IdentityServer.
        IdentityServer = "identityserver",
        /// Okta's custom authorization servers.
        Okta = "okta",
        /// Google, whose ID tokens are taken.
        Google = "google",
    }
}

/// Tenants of Entra, by their ids; `None`: whichever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants(pub Option<Vec<String>>);

impl Decode for Tenants {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        const WHAT: &str = "`any`, or the ids of tenants, in lower case";
        let Value::List(items) = &node.value else { return cx.expected(node, WHAT) };
        if let [one] = items.as_slice()
            && one.text() == Some("any")
        {
            return Some(Self(None));
        }
        let mut ids = Vec::with_capacity(items.len());
        for item in items {
            match item.text() {
                Some(PERSONAL) => {
                    let mistake = Diagnostic::error("this tenant is that of all personal accounts").at(&item.span);
                    cx.report(mistake.hint("the ids of your own tenants"));
                }
                Some(id) if is_guid(id) => ids.push(id.to_owned()),
                _ => return cx.expected(item, WHAT),
            }
        }
        if items.is_empty() {
            cx.report(Diagnostic::error("nobody is named").at(&node.span).hint("`tenants: [id]`; or `any`"));
        }
        (!ids.is_empty() && ids.len() == items.len()).then_some(Self(Some(ids)))
    }
}

impl JsonSchema for Tenants {
    fn schema_name() -> Cow<'static, str> {
        "Tenants".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Ids of tenants of Entra, or `any`.",
            "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 },
        })
    }
}

/// Words that only some providers know.
fn has_its_own_words(source: &Tokens, cx: &mut DecodeCx) -> bool {
    let named = source.provider.as_ref().map(|provider| provider.value);
    let tenants = source.tenants.as_ref().filter(|_| named != Some(Provider::Entra));
    let domains = source.hosted_domain.as_ref().filter(|_| named != Some(Provider::Google));
    let stray = tenants.map(|tenants| ("tenants", "entra", &tenants.span));
    let stray = stray.or(domains.map(|domains| ("hosted_domain", "google", &domains.span)));
    if let Some((word, provider, span)) = stray {
        cx.report(Diagnostic::error(format!("`{word}` is a word of `provider: {provider}`")).at(span));
        return false;
    }
    let empty = source
        .hosted_domain
        .as_ref()
        .filter(|domains| domains.value.iter().any(String::is_empty) || domains.value.is_empty());
    if let Some(domains) = empty {
        cx.report(Diagnostic::error("nobody is named").at(&domains.span).hint("`hosted_domain: example.com`"));
    }
    empty.is_none()
}

/// Whether the issuer can be one of this provider, and the audience holds anybody off.
pub(super) fn suits(source: &Tokens, cx: &mut DecodeCx) -> bool {
    if !has_its_own_words(source, cx) {
        return false;
    }
    let Some(Spanned { value: provider, .. }) = &source.provider else { return true };
    let issuer = &source.issuer;
    let path = issuer.value.0.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let parts: Vec<_> = path.split('/').collect();
    let mistake = match (provider, parts.as_slice()) {
        (Provider::Entra, parts) if source.tenants.is_some() => match parts {
            ["organizations" | "common", "v2.0"] => None,
            _ => Some(("tokens of several tenants have several issuers", "leave `issuer` out, or `tenants`")),
        },
        (Provider::Entra, [PERSONAL, _]) => {
            Some(("this tenant is that of all personal accounts", "the id of your own tenant"))
        }
        (Provider::Entra, [tenant, "v2.0"]) if is_guid(tenant) => None,
        (Provider::Entra, _) => Some((
            "tokens of Entra are taken of one tenant, which they name by its id",
            "`tenant: <id of the tenant, in lower case>`, not its domain; for several, `tenants: [<id>, …]`, or `any`",
        )),
        (Provider::Keycloak, [.., "realms", realm]) if !realm.is_empty() => None,
        (Provider::Keycloak, _) => Some(("this is no realm of Keycloak", "`https://<host>/realms/<realm>`")),
        (Provider::Auth0, [""]) if issuer.value.0.ends_with('/') => None,
        (Provider::Auth0, _) => {
            Some(("the issuer of Auth0's tokens is a domain with a slash at its end", "`https://<domain>/`"))
        }
        // `/oauth2/v1` are the endpoints of the organization's own server.
        (Provider::Okta, ["oauth2", server]) if !server.is_empty() && *server != "v1" => None,
        (Provider::Okta, ["oauth2", .., ""]) => {
            Some(("Okta's tokens have no slash at the end of their issuer", "`https://<domain>/oauth2/default`"))
        }
        (Provider::Okta, _) => Some((
            "tokens of Okta's org authorization server are for Okta alone: nobody else can check them",
            "name a custom authorization server: `https://<domain>/oauth2/default`",
        )),
        (Provider::Google, _) if issuer.value.0 != GOOGLE => {
            Some(("Google's tokens have one issuer", "`https://accounts.google.com`"))
        }
        (Provider::Cognito, [pool]) if is_pool(&issuer.value.0, pool) => None,
        (Provider::Cognito, _) => {
            Some(("this is no user pool of Cognito", "`https://cognito-idp.<region>.amazonaws.com/<id of the pool>`"))
        }
        (Provider::IdentityServer | Provider::Google, _) => None,
    };
    // Tokens of every client of the provider would do.
    let open = match provider {
        Provider::Google => Some(("anybody who has an account at Google could come", "`….apps.googleusercontent.com`")),
        Provider::Cognito => Some(("any client of the user pool could come", "`1example23456789`")),
        _ => None,
    };
    if let Some((what, hint)) = open.filter(|_| source.audience.value.0.is_empty()) {
        cx.report(
            Diagnostic::error(what)
                .at(&source.audience.span)
                .hint(format!("`audience`: the id of your client, {hint}")),
        );
        return false;
    }
    let Some((what, hint)) = mistake else { return true };
    cx.report(Diagnostic::error(what).at(&issuer.span).hint(hint));
    false
}

/// Google's issuer.
const GOOGLE: &str = "https://accounts.google.com";
/// The tenant of personal Microsoft accounts, of anybody.
const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// `https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf`.
fn is_pool(issuer: &str, pool: &str) -> bool {
    let region = issuer.strip_prefix("https://cognito-idp.").and_then(|rest| rest.split_once(".amazonaws.com"));
    region.is_some_and(|(region, _)| pool.split_once('_').is_some_and(|(of, id)| of == region && !id.is_empty()))
}

/// As Entra writes them: in lower case, and tokens are compared letter by letter.
fn is_guid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}
