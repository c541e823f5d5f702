//! What is peculiar to the tokens of known identity providers: a table that the one verifier ([`Expected`](crate::jwt::Expected))
//! reads. Nothing is verified here.

/// How tokens of a provider differ from what RFC 9068 says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Which claim says whom a token is for.
    pub audience: &'static str,
    /// What claims must say: a claim, and what is allowed in it.
    pub says: &'static [(&'static str, &'static [&'static str])],
    /// What `typ` in the header must be unless the config says so.
    pub kind: Option<&'static str>,
    /// Whether ID tokens are what clients bring.
    pub id_tokens: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self { audience: "aud", says: &[], kind: None, id_tokens: false }
    }
}

/// A known provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Microsoft Entra ID, one tenant.
    Entra,
    /// Amazon Cognito user pools.
    Cognito,
    /// Keycloak.
    Keycloak,
    /// Auth0.
    Auth0,
    /// Duende IdentityServer.
    IdentityServer,
    /// Okta's custom authorization servers.
    Okta,
    /// Google.
    Google,
}

impl Provider {
    /// How its tokens differ.
    #[must_use]
    pub fn profile(self) -> Profile {
        let usual = Profile::default();
        match self {
            // Access tokens have no `aud`: they say which client they were given to.
            Self::Cognito => Profile { audience: "client_id", says: &[("token_use", &["access"])], ..usual },
            // `DPoP` is what tokens say that are bound to a key.
            Self::Keycloak => Profile { says: &[("typ", &["Bearer", "DPoP"])], ..usual },
            Self::IdentityServer => Profile { kind: Some("at+jwt"), ..usual },
            // Access tokens are opaque.
            Self::Google => Profile { id_tokens: true, ..usual },
            Self::Entra | Self::Auth0 | Self::Okta => usual,
        }
    }

    /// What its tokens may have in `iss`, given what the config says.
    #[must_use]
    pub fn issuers(self, issuer: &str) -> Vec<String> {
        let mut all = vec![issuer.to_owned()];
        match self {
            // Tokens in the form v1.0 of the same tenant; which of the two it is, the API's registration says.
            Self::Entra => {
                let tenant = issuer.strip_prefix("https://login.microsoftonline.com/");
                let tenant = tenant.and_then(|rest| rest.strip_suffix("/v2.0"));
                all.extend(tenant.map(|tenant| format!("https://sts.windows.net/{tenant}/")));
            }
            Self::Google if issuer == "https://accounts.google.com" => all.push("accounts.google.com".to_owned()),
            _ => {}
        }
        all
    }
}
