//! S3: what services receive of their callers' identity: a token of the gateway's own, which an independent library verifies; one that
//! was traded; claims in header fields; or nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use tollgate_identity::signing::SigningKey;
use tollgate_testkit::{Gateway, Provider, Recorder, Response, verify};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const ISSUER: &str = "https://api.example";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

struct Bench {
    provider: Provider,
    orders: Recorder,
    stock: Recorder,
    gateway: Gateway,
}

const SECTIONS: &str = "issuer: { url: \"https://api.example\", exchange: { orders: [stock] } }\n\
    services: { orders: \"{{orders}}\", stock: \"{{stock}}\", down: { to: \"127.0.0.1:1\", fallback: stock } }\n";

impl Bench {
    fn new(exchange: &str, routes: &str) -> Self {
        Self::with(exchange, routes, &[("SECRET", "shop-secret")])
    }

    fn with(exchange: &str, routes: &str, environment: &[(&str, &str)]) -> Self {
        let (provider, orders, stock) = (Provider::start(), Recorder::start(), Recorder::start());
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n\
             auth: {{ idp: {{ issuer: \"{}\", audience: shop{exchange} }} }}\n{SECTIONS}\
             routes:\n  /.well-known/jwks.json: {{ serve: jwks }}\n  /.well-known/oauth-authorization-server: {{ serve: metadata }}\n  \
             POST /token: {{ serve: token }}\n{routes}",
            provider.issuer()
        );
        let values = [("orders", orders.address().to_string()), ("stock", stock.address().to_string())];
        let gateway = Gateway::start_with(TOLLGATE, &config, &values, environment);
        Self { provider, orders, stock, gateway }
    }

    fn token(&self) -> String {
        self.provider.token("shop", "orders.read orders.write", "ES256")
    }

    fn ask(&self, target: &str, token: &str, more: &str) -> Response {
        let request = format!("GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
        self.gateway.client().call(&request)
    }

    fn jwks(&self) -> String {
        format!("http://{}/.well-known/jwks.json", self.gateway.address())
    }

    /// What a service makes of a token: its claims, or what is wrong.
    fn verified(&self, token: &str, audience: &str) -> Result<Value, String> {
        verify(token, &self.jwks(), ISSUER, audience).map(|said| said["claims"].clone())
    }

    fn trade(&self, form: &str) -> Value {
        let mut client = self.gateway.client();
        client.send(format!(
            "POST /token HTTP/1.1\r\nHost: g\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        let answer = client.response("POST").unwrap();
        assert_eq!(answer.one("cache-control").as_deref(), Some("no-store"));
        let told: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer.status == 200, told["error"].is_null(), "{told}");
        told
    }
}

/// The head of the last request that came to a service.
fn last(service: &Recorder) -> String {
    let all = service.recorded();
    let bytes = String::from_utf8(all.last().unwrap().bytes.clone()).unwrap();
    let start = bytes.rfind("GET ").unwrap();
    bytes[start..].to_owned()
}

/// A field of it.
fn field(head: &str, name: &str) -> Option<String> {
    let is_it = |line: &&str| line.split_once(':').is_some_and(|(have, _)| have.eq_ignore_ascii_case(name));
    head.lines().find(is_it).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
}

fn bearer(head: &str) -> String {
    field(head, "authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

fn slug(answer: &Response) -> String {
    let problem: Value = serde_json::from_str(&answer.text()).unwrap();
    problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
}

#[test]
fn a_service_gets_a_token_for_itself_that_anybody_can_verify() {
    let bench = Bench::new("", "  /orders/**: { to: orders, auth: idp, backend_token: mint }\n");
    let token = bench.token();
    assert_eq!(bench.ask("/orders/1", &token, "").status, 200);
    let minted = bearer(&last(&bench.orders));
    assert_ne!(minted, token);
    let claims = bench.verified(&minted, "orders").unwrap();
    assert_eq!((&claims["iss"], &claims["aud"], &claims["sub"]), (&ISSUER.into(), &"orders".into(), &"shop".into()));
    assert_eq!((&claims["client_id"], &claims["scope"]), (&"shop".into(), &"orders.read orders.write".into()));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert_eq!(
        bench.verified(&minted, "stock").unwrap_err(),
        "ERR_JWT_CLAIM_VALIDATION_FAILED",
        "it is for nobody else"
    );
    assert_eq!(
        bench.verified(&token, "orders").unwrap_err(),
        "ERR_JWKS_NO_MATCHING_KEY",
        "the provider's keys are not ours"
    );
    // The same for the same caller for a while.
    for _ in 0..5 {
        assert_eq!(bench.ask("/orders/1", &token, "").status, 200);
        assert_eq!(bearer(&last(&bench.orders)), minted);
    }
    assert_eq!(bench.ask("/orders/1", &bench.token(), "").status, 200);
    assert_ne!(bearer(&last(&bench.orders)), minted, "another credential is another caller");
    let metadata: Value =
        serde_json::from_str(&bench.gateway.client().get("/.well-known/oauth-authorization-server").text()).unwrap();
    assert_eq!(metadata["jwks_uri"], "https://api.example/.well-known/jwks.json");
}

#[test]
fn keys_are_made_once_for_their_owner_alone_and_outlive_the_process() {
    let mut bench = Bench::new("", "");
    let published = bench.gateway.client().get("/.well-known/jwks.json");
    assert_eq!(published.one("cache-control").as_deref(), Some("public, max-age=300"));
    let file = bench.gateway.folder().join("data/signing-keys.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let stored: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(
        !published.text().contains(stored["keys"][0]["pkcs8"].as_str().unwrap()) && !published.text().contains("\"d\"")
    );
    bench.gateway.restart(TOLLGATE);
    assert_eq!(bench.gateway.client().get("/.well-known/jwks.json").text(), published.text());
    let wrong =
        bench.gateway.client().call("POST /.well-known/jwks.json HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((wrong.status, wrong.one("allow").as_deref()), (405, Some("GET, HEAD")));
}

#[test]
fn who_stands_in_for_a_service_gets_a_token_of_its_own() {
    let bench = Bench::new("", "  /down: { to: down, auth: idp, backend_token: mint }\n");
    assert_eq!(bench.ask("/down", &bench.token(), "").status, 200);
    let claims = bench.verified(&bearer(&last(&bench.stock)), "stock").unwrap();
    assert_eq!(claims["aud"], "stock");
}

#[test]
fn header_fields_tell_of_the_caller_and_nobody_else_can_write_them() {
    let bench = Bench::new(
        "",
        "  /orders/**: { to: orders, auth: idp, backend_token: { send: nothing, headers: { X-Who: principal, X-Mail: claims.email } } }\n  \
         /open: { to: orders, auth: none }\n",
    );
    let spoofed = "X-Who: root\r\nx-mail: root@example\r\nX_Who: root\r\nX-Forwarded-User: root\r\nRemote-User: root\r\nX-Consumer-Username: root\r\n\
                   Client-Cert: :cm9vdA==:\r\n";
    assert_eq!(bench.ask("/orders/1", &bench.token(), spoofed).status, 200);
    let head = last(&bench.orders);
    assert_eq!(field(&head, "x-who").as_deref(), Some("shop"));
    assert!(!head.contains("root") && field(&head, "authorization").is_none(), "{head}");
    // On routes that know nothing of it, too.
    assert_eq!(bench.ask("/open", "x", spoofed).status, 200);
    let head = last(&bench.orders);
    assert!(!head.contains("root") && field(&head, "authorization").is_some(), "{head}");
}

#[test]
fn a_key_is_taken_away_wherever_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let key = |place: &str| format!("{{ api_key: {place}, file: {}, secret: \"${{env:PEPPER}}\" }}", file.display());
    let config = format!("listen: 8080\nauth: {{ keys: {} }}\n", key("header X-Api-Key"));
    fs::write(folder.path().join("keys.yaml"), config).unwrap();
    let pepper = ("PEPPER", "0123456789abcdef0123456789abcdef");
    let mut create = Command::new(TOLLGATE);
    create.args(["key", "create", "app", "-c"]).arg(folder.path().join("keys.yaml")).env(pepper.0, pepper.1);
    let made = create.output().unwrap();
    let secret = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let orders = Recorder::start();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n\
         auth:\n  header: {}\n  query: {}\n  cookie: {}\n\
         issuer: {{ url: \"https://api.example\", algorithm: EdDSA }}\nservices: {{ orders: \"{{{{orders}}}}\" }}\n\
         defaults: {{ backend_token: {{ send: mint, audience: [a, b] }} }}\n\
         routes: {{ /jwks: {{ serve: jwks, backend_token: none }}, /header: {{ to: orders, auth: header }}, /query: {{ to: orders, auth: query }}, \
         /cookie: {{ to: orders, auth: cookie }} }}\n",
        key("header X-Api-Key"),
        key("query api_key"),
        key("cookie api_key")
    );
    let values = [("orders", orders.address().to_string())];
    let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[pepper]);
    for (target, lines, left) in [
        ("/header".to_owned(), format!("X-Api-Key: {secret}\r\n"), "GET /header HTTP/1.1"),
        (format!("/query?a=1&api_key={secret}&b=2"), String::new(), "GET /query?a=1&b=2 HTTP/1.1"),
        // What others have brought beside the credential that let them in, in the ways of other sources.
        (
            format!("/header?api_key={secret}&a=1"),
            format!("X-Api-Key: {secret}\r\nCookie: api_key={secret}\r\n"),
            "GET /header?a=1 HTTP/1.1",
        ),
        ("/cookie".to_owned(), format!("Cookie: a=1; api_key={secret}; b=2\r\n"), "GET /cookie HTTP/1.1"),
    ] {
        let answer = gateway.client().call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\n{lines}\r\n"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let head = last(&orders);
        assert!(!head.contains(&secret) && head.starts_with(left), "{head}");
        let jwks = format!("http://{}/jwks", gateway.address());
        for audience in ["a", "b"] {
            let said = verify(&bearer(&head), &jwks, ISSUER, audience).unwrap();
            assert_eq!((&said["header"]["alg"], &said["claims"]["sub"]), (&"EdDSA".into(), &"app".into()));
        }
    }
    assert_eq!(field(&last(&orders), "cookie").as_deref(), Some("a=1; b=2"));
}

const TRADES: &str = ", exchange: { client: shop, secret: \"${env:SECRET}\" }";

#[test]
fn a_token_is_traded_at_its_provider_once() {
    let bench = Bench::new(
        TRADES,
        "  /orders/**: { to: orders, auth: idp, backend_token: exchange }\n  \
         /forbidden: { to: orders, auth: idp, backend_token: { send: exchange, audience: forbidden } }\n",
    );
    let token = bench.token();
    for _ in 0..5 {
        assert_eq!(bench.ask("/orders/1", &token, "").status, 200);
    }
    let traded = bearer(&last(&bench.orders));
    let said =
        verify(&traded, &format!("{}/jwks", bench.provider.issuer()), &bench.provider.issuer(), "orders").unwrap();
    assert_eq!((&said["claims"]["sub"], &said["claims"]["act"]["sub"]), (&"shop".into(), &"shop".into()));
    // The first one was for the token itself.
    assert_eq!(bench.provider.asked("/token"), 2);
    let refused = bench.ask("/forbidden", &token, "");
    assert_eq!((refused.status, slug(&refused).as_str()), (403, "exchange/refused"));
}

#[test]
fn while_the_provider_trades_nothing_that_is_our_fault() {
    let mut bench = Bench::new(TRADES, "  /orders/**: { to: orders, auth: idp, backend_token: exchange }\n");
    let (known, other) = (bench.token(), bench.token());
    assert_eq!(bench.ask("/orders/1", &known, "").status, 200);
    bench.provider.stop();
    assert_eq!(bench.ask("/orders/1", &known, "").status, 200, "what was traded is used on");
    let refused = bench.ask("/orders/1", &other, "");
    assert_eq!((refused.status, slug(&refused).as_str()), (503, "exchange/unavailable"));
    assert_eq!(refused.one("retry-after").as_deref(), Some("5"));
    assert!(!bench.gateway.log().contains(&other), "no token is logged");
}

#[test]
fn the_gateway_proves_who_it_is_by_a_key_of_its_own() {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .output()
        .unwrap();
    let pem = String::from_utf8(made.stdout).unwrap();
    let public = SigningKey::from_pem(&pem, "JWT").unwrap().remove(0).public().clone();
    let bench = Bench::with(
        ", exchange: { client: signer, key: \"${env:KEY}\" }",
        "  /orders/**: { to: orders, auth: idp, backend_token: exchange }\n",
        &[("KEY", &pem)],
    );
    bench.provider.knows_signer(&Value::Object(public));
    assert_eq!(bench.ask("/orders/1", &bench.token(), "").status, 200);
    let traded = bearer(&last(&bench.orders));
    let said =
        verify(&traded, &format!("{}/jwks", bench.provider.issuer()), &bench.provider.issuer(), "orders").unwrap();
    assert_eq!(said["claims"]["act"]["sub"], "signer");
}

/// A → B, both ways: the token is for both, or A trades the one that it got.
#[test]
fn a_service_that_calls_another_passes_the_token_on_or_trades_it() {
    let bench = Bench::new(
        "",
        "  /both: { to: orders, auth: idp, backend_token: { send: mint, audience: [orders, stock] } }\n  \
         /orders/**: { to: orders, auth: idp, backend_token: mint }\n",
    );
    let token = bench.token();
    assert_eq!(bench.ask("/both", &token, "").status, 200);
    let both = bearer(&last(&bench.orders));
    assert!(bench.verified(&both, "orders").is_ok() && bench.verified(&both, "stock").is_ok());
    assert_eq!(bench.ask("/orders/1", &token, "").status, 200);
    let own = bearer(&last(&bench.orders));
    assert!(bench.verified(&own, "stock").is_err());
    let form = |subject: &str, audience: &str| {
        format!("grant_type={GRANT}&subject_token={subject}&subject_token_type={ACCESS_TOKEN}&audience={audience}")
    };
    let traded = bench.trade(&(form(&own, "stock") + "&scope=orders.read"));
    assert_eq!((&traded["token_type"], &traded["issued_token_type"]), (&"Bearer".into(), &ACCESS_TOKEN.into()));
    assert_eq!(traded["scope"], "orders.read");
    let claims = bench.verified(traded["access_token"].as_str().unwrap(), "stock").unwrap();
    assert_eq!(
        (&claims["sub"], &claims["scope"], &claims["act"]["sub"]),
        (&"shop".into(), &"orders.read".into(), &"orders".into())
    );
    assert!(claims["exp"].as_u64() <= bench.verified(&own, "orders").unwrap()["exp"].as_u64(), "it ends no later");
    let stock = traded["access_token"].as_str().unwrap();
    for (form, error) in [
        (form(&own, "billing"), "invalid_target"),
        // Not back, nor on from there.
        (form(stock, "orders"), "invalid_target"),
        (form(&token, "stock"), "invalid_request"),
        (form("x.y.z", "stock"), "invalid_request"),
        (form(&own, "stock") + "&scope=admin", "invalid_scope"),
        ("grant_type=client_credentials".to_owned(), "unsupported_grant_type"),
        (String::new(), "invalid_request"),
    ] {
        assert_eq!(bench.trade(&form)["error"], error, "{form}");
    }
    assert!(!bench.gateway.log().contains(&own), "no token is logged");
}
