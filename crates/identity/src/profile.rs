//! What is peculiar to the tokens of known identity providers: a table that the one verifier ([`Expected`](crate::jwt::Expected))
//! reads. Nothing is verified here.

mod tenants;

use serde_json::{Map, Value, json};

pub use tenants::Tenants;
pub(crate) use tenants::is_of_all;

/// How tokens of a provider differ from what RFC 9068 says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Which claim says whom a token is for.
    pub audience: &'static str,
    /// What claims must say: a claim, and what is allowed in it.
    pub says: &'static [(&'static str, &'static [&'static str])],
    /// Claims of which it has to have one, so that it is no ID token: those have none of them.
    pub has_one: &'static [&'static str],
    /// What `typ` in the header must be unless the config says so.
    pub kind: Option<&'static str>,
    /// Whether ID tokens are what clients bring.
    pub id_tokens: bool,
    /// Where roles are that have no claim `roles`: the names that lead there; `*` stands for each of the audiences.
    pub roles: &'static [&'static [&'static str]],
}

impl Profile {
    /// The claims with roles where those of all providers are: in the list `roles`, unless the token has one of that name.
    pub(crate) fn with_roles(&self, claims: &Map<String, Value>, audiences: &[String]) -> Option<Map<String, Value>> {
        if self.roles.is_empty() || claims.contains_key("roles") {
            return None;
        }
        let mut roles: Vec<&Value> = Vec::new();
        for path in self.roles {
            let mut places = vec![claims.get(*path.first()?)];
            for name in path.get(1..)? {
                places = match *name {
                    "*" => places
                        .iter()
                        .flat_map(|place| audiences.iter().map(move |own| place.and_then(|place| place.get(own))))
                        .collect(),
                    name => places.iter().map(|place| place.and_then(|place| place.get(name))).collect(),
                };
            }
            for place in places.into_iter().flatten() {
                match place {
                    Value::Array(all) => roles.extend(all),
                    one => roles.push(one),
                }
            }
        }
        if roles.is_empty() {
            return None;
        }
        let mut own = claims.clone();
        own.insert("roles".to_owned(), json!(roles));
        Some(own)
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self { audience: "aud", says: &[], has_one: &[], kind: None, id_tokens: false, roles: &[] }
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
            Self::Cognito => Profile {
                audience: "client_id",
                says: &[("token_use", &["access"])],
                roles: &[&["cognito:groups"]],
                ..usual
            },
            // `DPoP` is what tokens say that are bound to a key.
            Self::Keycloak => Profile {
                says: &[("typ", &["Bearer", "DPoP"])],
                roles: &[&["realm_access", "roles"], &["resource_access", "*", "roles"]],
                ..usual
            },
            Self::IdentityServer => Profile { kind: Some("at+jwt"), roles: &[&["role"]], ..usual },
            // Access tokens are opaque.
            Self::Google => Profile { id_tokens: true, ..usual },
            // ID tokens have the same `aud` where client and API share a registration; but they do not say which application asked.
            Self::Entra => Profile { has_one: &["azp", "appid"], ..usual },
            // What the API's own settings call permissions (role-based access control).
            Self::Auth0 => Profile { roles: &[&["permissions"]], ..usual },
            Self::Okta => Profile { roles: &[&["groups"]], ..usual },
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

/// Tokens shaped as the providers' own documentation shows them: they cannot be reached from a test.
#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::{Value, json};

    use super::*;
    use crate::jwk::Algorithm;
    use crate::jwt::{Expected, Token};
    use crate::signing::SigningKey;
    use crate::source::principal;

    const TENANT: &str = "https://login.microsoftonline.com/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0";

    /// What is said of a token of this provider; empty: it is good.
    fn judged(provider: Provider, issuer: &str, audience: &str, kind: &str, claims: Value) -> &'static str {
        let profile = provider.profile();
        let expected = Expected {
            issuers: provider.issuers(issuer),
            audiences: vec![audience.to_owned()],
            kind: profile.kind.map(str::to_owned),
            skew: Duration::from_secs(30),
            profile,
            tenants: None,
            domains: Vec::new(),
        };
        let (key, _) = SigningKey::generate(Algorithm::Es256, kind).unwrap();
        let mut all = json!({ "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "iat": 1_000, "exp": 4_600 });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let text = key.sign(all.as_object().unwrap()).unwrap();
        let token = match Token::read(&text) {
            Ok(token) => token,
            Err(problem) => return problem.fault.slug,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_100);
        expected.judge(&token, now).map_or_else(|problem| problem.fault.slug, |_| "")
    }

    #[test]
    fn entra_speaks_in_two_forms_for_one_tenant() {
        let judged = |claims| judged(Provider::Entra, TENANT, "api://orders", "JWT", claims);
        let second =
            json!({ "iss": TENANT, "aud": "api://orders", "azp": "6731de76", "scp": "orders.read", "ver": "2.0" });
        assert_eq!(judged(second.clone()), "");
        let mut id_token = second;
        id_token.as_object_mut().unwrap().remove("azp");
        assert_eq!(judged(id_token), "jwt/type", "an ID token of a client that shares the API's registration");
        let sts = "https://sts.windows.net/9122040d-6c67-4c5b-b112-36a304b66dad/";
        let first = json!({ "iss": sts, "aud": "api://orders", "appid": "6731de76", "scp": "orders.read", "roles": ["admin"], "ver": "1.0" });
        assert_eq!(judged(first.clone()), "");
        let caller = principal(&"idp".into(), first.as_object().unwrap(), None);
        assert_eq!((caller.consumer.as_deref(), caller.has_scope("orders.read")), (Some("6731de76"), true));
        for issuer in [
            "https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/",
            "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
            "https://login.microsoftonline.com/common/v2.0",
        ] {
            assert_eq!(
                judged(json!({ "iss": issuer, "aud": "api://orders", "azp": "6731de76" })),
                "jwt/issuer",
                "another tenant: {issuer}"
            );
        }
        assert_eq!(
            judged(json!({ "iss": TENANT, "aud": "00000003-0000-0000-c000-000000000000", "azp": "6731de76" })),
            "jwt/audience",
            "for Graph"
        );
    }

    #[test]
    fn cognito_says_the_client_in_place_of_an_audience() {
        let issuer = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_example";
        let judged = |claims| judged(Provider::Cognito, issuer, "1example23456789", "JWT", claims);
        let access = json!({ "iss": issuer, "client_id": "1example23456789", "token_use": "access", "scope": "orders/read", "cognito:groups": ["admins"] });
        assert_eq!(judged(access.clone()), "");
        let change = |name: &str, value: Value| {
            let mut claims = access.clone();
            claims[name] = value;
            claims
        };
        assert_eq!(judged(change("client_id", json!("another"))), "jwt/audience");
        assert_eq!(judged(change("token_use", json!("id"))), "jwt/type", "an ID token");
        assert_eq!(judged(json!({ "iss": issuer, "aud": "1example23456789", "token_use": "id" })), "jwt/type");
        assert_eq!(
            judged(json!({ "iss": issuer, "client_id": "1example23456789" })),
            "jwt/type",
            "it does not say what it is"
        );
        assert_eq!(judged(json!({ "iss": issuer, "aud": "1example23456789", "token_use": "access" })), "jwt/audience");
    }

    #[test]
    fn keycloak_says_what_a_token_is_among_the_claims() {
        let issuer = "https://sso.example/realms/shop";
        let judged = |claims| judged(Provider::Keycloak, issuer, "orders", "JWT", claims);
        let access = |kind: &str| json!({ "iss": issuer, "aud": ["orders", "account"], "typ": kind, "azp": "web", "realm_access": { "roles": ["admin"] } });
        assert_eq!(judged(access("Bearer")), "");
        for kind in ["ID", "Refresh", "Offline", "Logout", "Serialized-ID"] {
            assert_eq!(judged(access(kind)), "jwt/type", "{kind}");
        }
        let account = json!({ "iss": issuer, "aud": "account", "typ": "Bearer" });
        assert_eq!(judged(account), "jwt/audience", "what every client gets unless an audience is mapped");
        assert_eq!(
            judged(json!({ "iss": "https://sso.example/realms/other", "aud": "orders", "typ": "Bearer" })),
            "jwt/issuer"
        );
    }

    #[test]
    fn auth0_ends_its_issuer_with_a_slash() {
        let judged = |issuer: &str, claims: Value| {
            let mut all =
                json!({ "iss": issuer, "azp": "web", "scope": "openid read:orders", "permissions": ["read:orders"] });
            all["aud"] = claims;
            judged(Provider::Auth0, "https://shop.eu.auth0.com/", "https://orders.example", "at+jwt", all)
        };
        let both = json!(["https://orders.example", "https://shop.eu.auth0.com/userinfo"]);
        assert_eq!(judged("https://shop.eu.auth0.com/", both.clone()), "");
        assert_eq!(judged("https://shop.eu.auth0.com", both), "jwt/issuer");
        assert_eq!(judged("https://shop.eu.auth0.com/", json!("https://shop.eu.auth0.com/userinfo")), "jwt/audience");
    }

    #[test]
    fn identityserver_says_the_type_in_the_header() {
        let issuer = "https://login.example";
        let claims = json!({ "iss": issuer, "aud": "orders", "client_id": "web", "scope": ["openid", "orders.read"] });
        assert_eq!(judged(Provider::IdentityServer, issuer, "orders", "at+jwt", claims.clone()), "");
        assert_eq!(
            judged(Provider::IdentityServer, issuer, "orders", "JWT", claims.clone()),
            "jwt/type",
            "an ID token"
        );
        assert!(
            principal(&"idp".into(), claims.as_object().unwrap(), None).has_scope("orders.read"),
            "a list of scopes"
        );
    }

    #[test]
    fn okta_calls_the_application_cid() {
        let issuer = "https://dev-1.okta.com/oauth2/default";
        let claims = json!({ "iss": issuer, "aud": "api://default", "cid": "0oa1", "uid": "00u1", "scp": ["openid", "orders.read"], "ver": 1 });
        assert_eq!(judged(Provider::Okta, issuer, "api://default", "JWT", claims.clone()), "");
        let caller = principal(&"idp".into(), claims.as_object().unwrap(), None);
        assert_eq!((caller.consumer.as_deref(), caller.has_scope("orders.read")), (Some("0oa1"), true));
        assert_eq!(
            judged(
                Provider::Okta,
                issuer,
                "api://default",
                "JWT",
                json!({ "iss": "https://dev-1.okta.com", "aud": "api://default" })
            ),
            "jwt/issuer"
        );
    }

    #[test]
    fn google_gives_id_tokens_and_names_itself_in_two_ways() {
        let judged = |claims| {
            judged(Provider::Google, "https://accounts.google.com", "1.apps.googleusercontent.com", "JWT", claims)
        };
        let token = |issuer: &str, audience: &str| json!({ "iss": issuer, "aud": audience, "azp": audience, "hd": "example.com", "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q" });
        assert_eq!(judged(token("https://accounts.google.com", "1.apps.googleusercontent.com")), "");
        assert_eq!(judged(token("accounts.google.com", "1.apps.googleusercontent.com")), "");
        assert_eq!(judged(token("accounts.google.com", "2.apps.googleusercontent.com")), "jwt/audience");
        assert_eq!(judged(token("http://accounts.google.com", "1.apps.googleusercontent.com")), "jwt/issuer");
        let mut logout = token("https://accounts.google.com", "1.apps.googleusercontent.com");
        logout["events"] = json!({});
        assert_eq!(judged(logout), "jwt/type");
    }

    /// What is judged of a token of Entra where several tenants are taken.
    fn of_several(tenants: Tenants, claims: &Value) -> &'static str {
        let profile = Provider::Entra.profile();
        let expected = Expected {
            issuers: Vec::new(),
            audiences: vec!["api://orders".to_owned()],
            kind: None,
            skew: Duration::from_secs(30),
            profile,
            tenants: Some(tenants),
            domains: Vec::new(),
        };
        let (key, _) = SigningKey::generate(Algorithm::Es256, "JWT").unwrap();
        let text = key.sign(claims.as_object().unwrap()).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_100);
        let judged = Token::read(&text).and_then(|token| expected.judge(&token, now));
        judged.map_or_else(|problem| problem.fault.slug, |_| "")
    }

    #[test]
    fn entra_has_tenants_whose_tokens_name_them_twice() {
        const OTHER: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let token = |tid: &str, iss: &str| json!({ "iss": iss, "tid": tid, "aud": "api://orders", "azp": "6731de76", "iat": 1_000, "exp": 4_600 });
        let own = "9122040d-6c67-4c5b-b112-36a304b66dad";
        let these = || Tenants::These(vec![own.to_owned()]);
        let of = |tid: &str| format!("https://login.microsoftonline.com/{tid}/v2.0");
        assert_eq!(of_several(these(), &token(own, TENANT)), "");
        assert_eq!(of_several(these(), &token(OTHER, &of(OTHER))), "jwt/issuer");
        assert_eq!(of_several(Tenants::Any, &token(OTHER, &of(OTHER))), "");
        assert_eq!(of_several(Tenants::Any, &token(own, &of(OTHER))), "jwt/issuer", "of another than it says");
        let personal = "9188040d-6c67-4c5b-b112-36a304b66dad";
        assert_eq!(of_several(Tenants::Any, &token(personal, &of(personal))), "jwt/issuer", "anybody");
    }

    #[test]
    fn google_says_of_which_domain_a_user_is() {
        let judge = |domain: Option<&str>| {
            let expected = Expected {
                issuers: Provider::Google.issuers("https://accounts.google.com"),
                audiences: vec!["1.apps.googleusercontent.com".to_owned()],
                kind: None,
                skew: Duration::from_secs(30),
                profile: Provider::Google.profile(),
                tenants: None,
                domains: vec!["example.com".to_owned()],
            };
            let mut claims = json!({ "iss": "https://accounts.google.com", "aud": "1.apps.googleusercontent.com", "iat": 1_000, "exp": 4_600 });
            domain.into_iter().for_each(|domain| claims["hd"] = json!(domain));
            let (key, _) = SigningKey::generate(Algorithm::Es256, "JWT").unwrap();
            let text = key.sign(claims.as_object().unwrap()).unwrap();
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_100);
            Token::read(&text)
                .and_then(|token| expected.judge(&token, now))
                .map_or_else(|problem| problem.fault.slug, |_| "")
        };
        assert_eq!((judge(Some("example.com")), judge(Some("Example.COM"))), ("", ""));
        assert_eq!((judge(Some("evil.example")), judge(None)), ("jwt/audience", "jwt/audience"));
    }

    #[test]
    fn roles_are_in_one_place_whoever_gave_them() {
        let roles = |provider: Provider, claims: Value| {
            let own = provider.profile().with_roles(claims.as_object().unwrap(), &["orders".to_owned()]);
            own.map_or(Value::Null, |claims| claims["roles"].clone())
        };
        let keycloak = json!({
            "realm_access": { "roles": ["admin"] },
            "resource_access": { "orders": { "roles": ["clerk"] }, "other": { "roles": ["root"] } },
        });
        assert_eq!(roles(Provider::Keycloak, keycloak), json!(["admin", "clerk"]), "not those of other clients");
        assert_eq!(roles(Provider::Cognito, json!({ "cognito:groups": ["admins"] })), json!(["admins"]));
        assert_eq!(roles(Provider::Auth0, json!({ "permissions": ["read:orders"] })), json!(["read:orders"]));
        assert_eq!(roles(Provider::Okta, json!({ "groups": ["Everyone"] })), json!(["Everyone"]));
        assert_eq!(roles(Provider::IdentityServer, json!({ "role": "admin" })), json!(["admin"]), "a single one");
        assert_eq!(roles(Provider::Okta, json!({ "groups": ["a"], "roles": ["own"] })), Value::Null, "it has its own");
        assert_eq!(roles(Provider::Entra, json!({ "roles": ["own"], "groups": ["a"] })), Value::Null);
        assert_eq!(roles(Provider::Okta, json!({})), Value::Null);
    }
}
