//! Whose tokens they are: what is peculiar to the tokens of one make of identity provider, as far as a config can be wrong about it.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;

use crate::model::auth::tokens::Tokens;
use crate::model::text::words;

words! {
    /// A make of identity provider, whose tokens differ from what the standards say.
    pub enum Provider {
        /// Microsoft Entra ID, one tenant.
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

/// Whether the issuer can be one of this provider, and the audience holds anybody off.
pub(super) fn suits(source: &Tokens, cx: &mut DecodeCx) -> bool {
    let Some(Spanned { value: provider, .. }) = &source.provider else { return true };
    let issuer = &source.issuer;
    let path = issuer.value.0.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let parts: Vec<_> = path.split('/').collect();
    let mistake = match (provider, parts.as_slice()) {
        (Provider::Entra, [PERSONAL, _]) => {
            Some(("this tenant is that of all personal accounts", "the id of your own tenant"))
        }
        (Provider::Entra, [tenant, "v2.0"]) if is_guid(tenant) => None,
        (Provider::Entra, _) => Some((
            "tokens of Entra are taken of one tenant, which they name by its id",
            "`https://login.microsoftonline.com/<id of the tenant, in lower case>/v2.0`; not `common`, `organizations` or a domain",
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
