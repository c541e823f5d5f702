//! S2: tokens that only their provider can read. A certified OpenID provider is asked about them (RFC 7662).

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use serde_json::Value;
use tollgate_testkit::recorder::Taken;
use tollgate_testkit::{Gateway, Provider, RawClient, Recorder, Response, Script, Step, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const PATH: &str = "/token/introspection";

struct Bench {
    provider: Provider,
    backend: Recorder,
    gateway: Gateway,
}

impl Bench {
    /// `asked`: how the provider is asked, beside who the gateway is.
    fn new(asked: &str) -> Self {
        let (provider, backend) = (Provider::start(), Recorder::start());
        let values = [("backend", backend.address().to_string())];
        let config = Self::config(&provider, asked);
        let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[("SECRET", "shop-secret")]);
        Self { provider, backend, gateway }
    }

    fn config(provider: &Provider, asked: &str) -> String {
        format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
             auth:\n  idp: {{ issuer: \"{issuer}\", audience: orders }}\n  \
             opaque: {{ issuer: \"{issuer}\", audience: orders, timeout: 1s, introspection: {{ client: shop, secret: \"${{env:SECRET}}\"{asked} }} }}\n\
             routes:\n  /orders/**: {{ to: \"{{{{backend}}}}\", auth: opaque }}\n  \
             /both: {{ to: \"{{{{backend}}}}\", auth: idp or opaque }}\n  \
             /write: {{ to: \"{{{{backend}}}}\", auth: opaque, allow: [orders.write] }}\n",
            issuer = provider.issuer()
        )
    }

    fn ask(&self, target: &str, token: &str) -> Response {
        let request = format!("GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
        self.gateway.client().call(&request)
    }

    fn slug(&self, target: &str, token: &str) -> String {
        let answer = self.ask(target, token);
        if answer.status == 200 {
            return "ok".to_owned();
        }
        let problem: Value = serde_json::from_str(&answer.text()).unwrap();
        problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
    }
}

#[test]
fn the_provider_is_asked_once_about_a_token_and_its_word_holds() {
    let bench = Bench::new("");
    let token = bench.provider.token("orders", "orders.read", "opaque");
    for _ in 0..5 {
        assert_eq!(bench.slug("/orders/1", &token), "ok");
    }
    assert_eq!(bench.provider.asked(PATH), 1);
    assert_eq!(bench.slug("/write", &token), "allow/scope");
    assert_eq!(bench.slug("/write", &bench.provider.token("orders", "orders.write", "opaque")), "ok");
    assert_eq!(bench.slug("/orders/1", &bench.provider.token("stock", "orders.read", "opaque")), "token/audience");
    let refused = bench.ask("/orders/1", "never-given-out");
    assert_eq!((refused.status, bench.slug("/orders/1", "never-given-out").as_str()), (401, "token/inactive"));
    assert!(refused.one("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    assert_eq!(bench.slug("/orders/1", "never-given-out"), "token/inactive");
    assert_eq!(bench.provider.asked(PATH), 4, "a refusal holds, too");
}

#[test]
fn a_token_that_was_revoked_passes_no_longer_than_the_file_says() {
    let bench = Bench::new(", cache: 300ms, auth: post");
    let token = bench.provider.token("orders", "orders.read", "opaque");
    assert_eq!(bench.slug("/orders/1", &token), "ok");
    bench.provider.revoke(&token);
    wait_until("revocation is seen", || bench.slug("/orders/1", &token) == "token/inactive");
}

#[test]
fn a_reload_that_changes_how_the_provider_is_asked_forgets_no_answer() {
    let bench = Bench::new("");
    let token = bench.provider.token("orders", "orders.read", "opaque");
    assert_eq!(bench.slug("/orders/1", &token), "ok");
    let values = [("backend", bench.backend.address().to_string())];
    bench.gateway.reload(&Bench::config(&bench.provider, ", cache: 20s, auth: post"), &values);
    assert_eq!((bench.slug("/orders/1", &token).as_str(), bench.provider.asked(PATH)), ("ok", 1));
    bench.gateway.reload(&Bench::config(&bench.provider, ", cache: 1ms"), &values);
    assert_eq!((bench.slug("/orders/1", &token).as_str(), bench.provider.asked(PATH)), ("ok", 2), "too old by now");
}

#[test]
fn beside_tokens_that_are_read_here_only_the_others_are_asked_about() {
    let bench = Bench::new("");
    let (jwt, opaque) = (
        bench.provider.token("orders", "orders.read", "ES256"),
        bench.provider.token("orders", "orders.read", "opaque"),
    );
    assert_eq!((bench.slug("/both", &jwt), bench.slug("/both", &opaque)), ("ok".to_owned(), "ok".to_owned()));
    assert_eq!(bench.provider.asked(PATH), 1);
    let unknown = bench.gateway.client().get("/both");
    assert_eq!(unknown.one("www-authenticate").unwrap(), "Bearer realm=\"idp\", Bearer realm=\"opaque\"");
}

#[test]
fn while_the_provider_is_down_what_is_known_holds_and_the_rest_is_our_fault() {
    let mut bench = Bench::new(", cache: 1h");
    let (known, unknown) = (
        bench.provider.token("orders", "orders.read", "opaque"),
        bench.provider.token("orders", "orders.read", "opaque"),
    );
    assert_eq!(bench.slug("/orders/1", &known), "ok");
    bench.provider.stands_still(true);
    let refused = bench.ask("/orders/1", &unknown);
    assert_eq!((refused.status, refused.one("retry-after").as_deref()), (503, Some("5")));
    bench.provider.stands_still(false);
    bench.provider.stop();
    assert_eq!(bench.slug("/orders/1", &unknown), "token/unavailable");
    assert_eq!(bench.slug("/orders/1", &known), "ok");
    let identity = bench.gateway.status()["identity"].clone();
    assert_eq!((&identity[1]["name"], &identity[1]["state"]), (&"opaque".into(), &"stale".into()));
    bench.provider.again();
    // It has forgotten what it gave out.
    wait_until("it is asked again", || bench.slug("/orders/1", &unknown) == "token/inactive");
}

#[test]
fn a_wrong_secret_is_our_fault_and_is_shown_nowhere() {
    let (provider, backend) = (Provider::start(), Recorder::start());
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         auth: {{ opaque: {{ issuer: \"{}\", audience: orders, introspection: {{ client: shop, secret: \"${{env:SECRET}}\" }} }} }}\n\
         routes: {{ /**: {{ to: \"{{{{backend}}}}\", auth: opaque }} }}\n",
        provider.issuer()
    );
    let secret = [("SECRET", "canary-7f3a9c")];
    let gateway = Gateway::start_with(TOLLGATE, &config, &[("backend", backend.address().to_string())], &secret);
    let token = provider.token("orders", "orders.read", "opaque");
    let mut client: RawClient = gateway.client();
    let answer = client.call(&format!("GET / HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"));
    assert_eq!(answer.status, 503);
    wait_until("the log tells", || gateway.log().contains("is the gateway a client that may ask there?"));
    wait_until("it is logged", || !gateway.access_log().is_empty());
    let told = [gateway.log(), gateway.health("/metrics").text(), gateway.status().to_string(), answer.text()].concat();
    assert!(!told.contains("canary") && !told.contains(&token), "a secret is told");
}

/// A provider that answers what it is told to, and says on how many connections it was asked.
fn asked_by(script: impl Fn(&Taken) -> Script + Send + Sync + 'static) -> (Recorder, Recorder, Gateway) {
    let (provider, backend) = (Recorder::answering(script), Recorder::start());
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
         auth: { opaque: { issuer: \"http://{{provider}}\", audience: orders, introspection: { url: \"http://{{provider}}/ask\", \
         client: shop, secret: \"${env:SECRET}\" } } }\n\
         routes: { /**: { to: \"{{backend}}\", auth: opaque } }\n";
    let values = [("backend", backend.address().to_string()), ("provider", provider.address().to_string())];
    let gateway = Gateway::start_with(TOLLGATE, config, &values, &[("SECRET", "shop-secret")]);
    (provider, backend, gateway)
}

fn passes(gateway: &Gateway, token: &str) {
    let request = format!("GET / HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(gateway.client().call(&request).status, 200, "{token}");
}

const ACTIVE: &str = "{\"active\":true,\"aud\":\"orders\",\"sub\":\"alice\"}";

#[test]
fn a_provider_is_asked_again_and_again_on_one_connection() {
    let (provider, _backend, gateway) = asked_by(|taken| Script::ok(taken, ACTIVE));
    (0..20).for_each(|n| passes(&gateway, &format!("token-{n}")));
    assert_eq!(provider.recorded().len(), 1);
}

#[test]
fn a_kept_connection_that_died_costs_nobody_their_answer() {
    let (provider, _backend, gateway) = asked_by(|taken| {
        let mut script = Script::ok(taken, ACTIVE);
        // Of every second request nothing is answered, as of one that meets a closing connection.
        if taken.number % 2 == 1 {
            script.0.truncate(1);
        }
        script.0.extend((taken.number % 2 == 1).then_some(Step::Reset));
        script
    });
    (0..6).for_each(|n| passes(&gateway, &format!("token-{n}")));
    assert!(provider.recorded().len() > 1);
}
