//! S8: tokens of providers with ways of their own, shaped as their documentation shows them: they cannot be reached from here. The keys are those
//! of the OpenID provider beside the tests, which signs whatever it is told.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use serde_json::{Value, json};
use tollgate_testkit::{Gateway, Provider, Recorder};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const ENTRA: &str = "https://login.microsoftonline.com/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0";
const COGNITO: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_example";
const KEYCLOAK: &str = "https://sso.example/realms/shop";

struct Bench {
    provider: Provider,
    _backend: Recorder,
    gateway: Gateway,
}

impl Bench {
    fn new() -> Self {
        let (provider, backend) = (Provider::start(), Recorder::start());
        let keys = format!("jwks: \"{}/jwks\"", provider.issuer());
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlimits: {{ failures: 1000000 }}\nauth:\n\
             \x20 entra: {{ provider: entra, issuer: \"{ENTRA}\", audience: \"api://orders\", {keys} }}\n\
             \x20 cognito: {{ provider: cognito, issuer: \"{COGNITO}\", audience: 1example, {keys} }}\n\
             \x20 keycloak: {{ provider: keycloak, url: \"https://sso.example\", realm: shop, audience: orders, {keys} }}\n\
             \x20 tenants: {{ provider: entra, tenants: 9122040d-6c67-4c5b-b112-36a304b66dad, audience: \"api://orders\", {keys} }}\n\
             \x20 google: {{ provider: google, audience: 1.apps.googleusercontent.com, hosted_domain: example.com, {keys} }}\n\
             routes:\n  /tenants: {{ to: \"{{{{backend}}}}\", auth: tenants }}\n  /google: {{ to: \"{{{{backend}}}}\", auth: google }}\n  \
             /roles: {{ to: \"{{{{backend}}}}\", auth: keycloak or cognito, allow: '\"admin\" in claims.roles' }}\n  /entra: {{ to: \"{{{{backend}}}}\", auth: entra, allow: [orders.read] }}\n  \
             /cognito: {{ to: \"{{{{backend}}}}\", auth: cognito, allow: '\"admins\" in claims[\"cognito:groups\"]' }}\n  \
             /keycloak: {{ to: \"{{{{backend}}}}\", auth: keycloak, allow: '\"admin\" in claims.realm_access.roles' }}\n"
        );
        let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
        Self { provider, _backend: backend, gateway }
    }

    /// What becomes of a token with these claims, and those that all have.
    #[expect(clippy::disallowed_methods, reason = "tokens hold by the machine's clock")]
    fn slug(&self, target: &str, claims: Value) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut all = json!({ "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "iat": now, "exp": now + 300 });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let token = self.provider.signed(&json!({ "alg": "RS256", "typ": "JWT" }), &all, "");
        let answer = self
            .gateway
            .client()
            .call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"));
        if answer.status == 200 {
            return "ok".to_owned();
        }
        let problem: Value = serde_json::from_str(&answer.text()).unwrap();
        problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
    }
}

#[test]
fn tokens_are_taken_in_the_ways_of_their_providers() {
    let bench = Bench::new();
    let sts = "https://sts.windows.net/9122040d-6c67-4c5b-b112-36a304b66dad/";
    let entra = |iss: &str| json!({ "iss": iss, "aud": "api://orders", "scp": "orders.read", "azp": "6731de76", "tid": "9122040d-6c67-4c5b-b112-36a304b66dad" });
    assert_eq!(bench.slug("/entra", entra(ENTRA)), "ok");
    assert_eq!(bench.slug("/entra", entra(sts)), "ok");
    assert_eq!(
        bench.slug("/entra", entra("https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/")),
        "jwt/issuer"
    );
    assert_eq!(
        bench.slug("/entra", json!({ "iss": ENTRA, "aud": "api://orders", "scp": "orders.list", "azp": "6731de76" })),
        "allow/scope"
    );

    let other = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let theirs = format!("https://login.microsoftonline.com/{other}/v2.0");
    assert_eq!(bench.slug("/tenants", entra(ENTRA)), "ok");
    assert_eq!(bench.slug("/tenants", entra(sts)), "ok");
    assert_eq!(bench.slug("/tenants", entra(&theirs)), "jwt/issuer", "it says another tenant than it is of");
    let mut of_theirs = entra(&theirs);
    of_theirs["tid"] = json!(other);
    assert_eq!(bench.slug("/tenants", of_theirs), "jwt/issuer", "a tenant that is not taken");

    let google = |domain: &str| json!({ "iss": "https://accounts.google.com", "aud": "1.apps.googleusercontent.com", "hd": domain });
    assert_eq!(bench.slug("/google", google("example.com")), "ok");
    assert_eq!(bench.slug("/google", google("evil.example")), "jwt/audience");

    let cognito = |client: &str, what: &str| json!({ "iss": COGNITO, "client_id": client, "token_use": what, "cognito:groups": ["admins"] });
    assert_eq!(bench.slug("/cognito", cognito("1example", "access")), "ok");
    assert_eq!(bench.slug("/cognito", cognito("2example", "access")), "jwt/audience");
    assert_eq!(bench.slug("/cognito", cognito("1example", "id")), "jwt/type");

    let keycloak = |kind: &str, role: &str| json!({ "iss": KEYCLOAK, "aud": ["orders", "account"], "typ": kind, "realm_access": { "roles": [role] } });
    assert_eq!(bench.slug("/keycloak", keycloak("Bearer", "admin")), "ok");
    assert_eq!(bench.slug("/roles", keycloak("Bearer", "admin")), "ok");
    assert_eq!(bench.slug("/roles", keycloak("Bearer", "clerk")), "allow/denied");
    assert_eq!(bench.slug("/roles", cognito("1example", "access")), "allow/denied", "its groups are others");
    assert_eq!(bench.slug("/keycloak", keycloak("Bearer", "user")), "allow/denied");
    assert_eq!(bench.slug("/keycloak", keycloak("ID", "admin")), "jwt/type");
}
