//! S4: what is sent to a sign-in, or to a session, by somebody who should not get in.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "s4_login/bench.rs"]
mod bench;

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::{Value, json};
use tollgate_core::clock::Clock;
use tollgate_testkit::{Gateway, Provider, Recorder, Response, Script, wait_until};

use bench::{
    Bench, PAGE, SECRET, Settings, TOLLGATE, consents, cookies, echo, gives_name, is_refused, parameter, set_cookies,
    slug,
};

/// Seconds since 1970.
fn now() -> u64 {
    Clock::real().unix().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// No session comes of it.
fn is_nothing(answer: &Response, what: &str) {
    let sets = set_cookies(answer);
    assert!(!sets.iter().any(|(name, value, _)| name == "session" && !value.is_empty()), "{what}: {sets:?}");
    assert!(answer.status >= 400 && answer.status != 500, "{what}: {} {}", answer.status, answer.text());
}

#[test]
fn cookies_that_are_not_as_they_were_given_out_are_no_session() {
    let bench = Bench::new();
    let session = bench.session("alice");
    let value = session.strip_prefix("session=").unwrap();
    let mut forged: Vec<String> =
        ["", "x", "null", "eyJhbGciOiJub25lIn0.e30.", "\"\"", "=", "a=b=c", "%00", "\u{fc}", "1.2.3", "session"]
            .map(str::to_owned)
            .into();
    for at in (0..value.len()).step_by(7).chain([value.len() - 1]) {
        let mut bytes = value.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
        forged.push(value[..at].to_owned());
    }
    forged.extend([
        format!("{value}A"),
        format!("A{value}"),
        value.to_ascii_uppercase(),
        value.repeat(2),
        "A".repeat(4000),
        value.chars().rev().collect(),
    ]);
    forged.retain(|forged| forged != value);
    for forged in &forged {
        let cookie = format!("session={forged}");
        let told = bench.calls("/app/", &cookie);
        assert_eq!(told.status, 401, "{cookie}: {}", told.text());
        assert_eq!(bench.visits("/app/", &cookie).status, 302, "{cookie}");
    }
    is_refused(&bench.calls("/app/", &format!("session={}", value.replace(['b', 'c', 'd'], "e"))));
    assert_eq!(bench.calls("/app/", &session).status, 200, "and nothing of it harms the real one");
}

#[test]
fn more_cookies_than_a_session_can_have_are_no_session() {
    let bench = Bench::new();
    let session = bench.session("alice");
    for more in [
        "session.1=x",
        "session.1=",
        "session.2=x",
        "session.1=x; session.2=y",
        "session.x=1",
        "session.18446744073709551616=x",
    ] {
        let told = bench.calls("/app/", &format!("{session}; {more}"));
        assert!([200, 401].contains(&told.status), "{more}: {}", told.status);
        let alone = bench.calls("/app/", more);
        assert_eq!(alone.status, 401, "{more}");
    }
    let many: Vec<String> = (0..200).map(|n| format!("session.{n}={}", "A".repeat(40))).collect();
    assert_eq!(bench.calls("/app/", &many.join("; ")).status, 401);
    let twice = bench.calls("/app/", &format!("session=x; {session}"));
    assert!([200, 401].contains(&twice.status), "{}", twice.status);
}

#[test]
fn a_session_of_one_source_is_none_of_another() {
    let provider = Provider::start_at([127, 0, 0, 2]);
    let backend = echo();
    let source = |at: &str, cookie: &str| {
        format!(
            "{{ login: \"{}\", client: web, secret: \"${{env:WEB_SECRET}}\", at: {at}, session: {{ cookie: {cookie}, key: \"${{env:KEY}}\" }} }}",
            provider.issuer()
        )
    };
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         auth:\n  web: {}\n  other: {}\n\
         routes:\n  /auth/**: {{ serve: login }}\n  /second/**: {{ serve: login }}\n  \
         /app/**: {{ to: \"{{{{backend}}}}\", auth: web }}\n  /other/**: {{ to: \"{{{{backend}}}}\", auth: other }}\n",
        source("/auth", "session"),
        source("/second", "second"),
    );
    let key = "0123456789abcdef0123456789abcdef";
    let values = [("backend", backend.address().to_string())];
    let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[("WEB_SECRET", SECRET), ("KEY", key)]);
    let base = format!("http://{}", gateway.address());
    bench::register(&provider, &base, json!({}));
    let browser = tollgate_testkit::Browser::start();
    let tab = browser.tab("alice/1");
    let _ = tab.goto(&format!("{base}/app/"));
    gives_name(&tab, "alice");
    consents(&tab);
    let _ = tab.arrives(&format!("{base}/app/"));
    let session = cookies(&tab, "127.0.0.1");
    let ask = |target: &str, cookies: &str| {
        let fields = format!("Accept: application/json\r\nCookie: {cookies}\r\n");
        bench::send(&gateway, "127.0.0.1", "GET", target, &fields, "").status
    };
    assert_eq!(ask("/app/", &session), 200);
    assert_eq!(ask("/other/", &session), 401);
    assert_eq!(ask("/other/", &session.replace("session=", "second=")), 401, "by the same key, under the other's name");
}

#[test]
fn a_callback_that_answers_nothing_of_this_browser_is_refused() {
    let bench = Bench::new();
    let (location, under_way) = bench.starts("/app/");
    let state = parameter(&location, "state").unwrap();
    let issuer = bench.provider.issuer();
    let visit = |query: &str, cookies: &str| bench.visits(&format!("/auth/callback{query}"), cookies);
    for (query, cookies, what) in [
        (String::new(), under_way.as_str(), "nothing"),
        ("?code=abc".to_owned(), &under_way, "no state"),
        ("?code=abc&state=".to_owned(), &under_way, "an empty state"),
        ("?code=abc&state=0123456789abcdef0123456789".to_owned(), &under_way, "a state of nobody"),
        (format!("?code=abc&state={state}"), "", "a browser that started nothing"),
        (format!("?code=abc&state={}", &state[1..]), &under_way, "a state that is cut"),
        (format!("?code=abc&state={state}&state={state}"), &under_way, "two states"),
        (format!("?code=abc&state={state}"), "session.f.AAAAAAAA=AAAA", "a cookie that is forged"),
    ] {
        let told = visit(&query, cookies);
        is_nothing(&told, what);
        assert_eq!((told.status, slug(&told).as_str()), (400, "login/state"), "{what}");
    }
    for other in ["http%3A%2F%2Fevil.example", "", "http%3A%2F%2F127.0.0.2%3A1&iss=http%3A%2F%2Fevil.example"] {
        let (location, under_way) = bench.starts("/app/");
        let state = parameter(&location, "state").unwrap();
        let foreign = visit(&format!("?code=abc&state={state}&iss={other}"), &under_way);
        is_nothing(&foreign, "another issuer");
        assert!(slug(&foreign).starts_with("login/"), "{}", foreign.text());
    }
    for twice in ["&code=abd", "&state=x", "&iss=http%3A%2F%2Fevil.example"] {
        let (location, under_way) = bench.starts("/app/");
        let state = parameter(&location, "state").unwrap();
        is_nothing(
            &visit(&format!("?code=abc&state={state}&iss={issuer}{twice}"), &under_way),
            "RFC 6749 §3.1: nothing stands twice",
        );
    }
    assert_eq!(bench.provider.asked("/token"), 0, "no code was shown to anybody");
    let (location, under_way) = bench.starts("/app/");
    let state = parameter(&location, "state").unwrap();
    let denied =
        visit(&format!("?error=access_denied&error_description=%3Cb%3Eno&state={state}&iss={issuer}"), &under_way);
    is_nothing(&denied, "the provider says no");
    assert_eq!((denied.status, slug(&denied).as_str()), (403, "login/refused"));
    assert!(!denied.text().contains("<b>"), "{}", denied.text());
    for (query, what) in [("?error=access_denied", "no state"), ("?error=access_denied&state=x", "a state of nobody")] {
        assert_eq!(slug(&visit(query, &under_way)), "login/state", "{what}");
    }
}

/// Goes as far as the callback, which is held; its path and query, and the cookies that belong to it.
fn held(bench: &Bench, who: &str) -> (String, String) {
    let tab = bench.tab(&format!("{who}/held"));
    let back = bench.at("/auth/callback");
    let _ = tab.goto(&bench.at("/app/"));
    gives_name(&tab, who);
    tab.hold(&back);
    consents(&tab);
    let url = tab.arrives(&back).url;
    (url.strip_prefix(&bench.base()).unwrap().to_owned(), cookies(&tab, "127.0.0.1"))
}

#[test]
fn a_callback_is_good_once_and_only_for_who_started_it() {
    let bench = Bench::new();
    let (mallory, _) = held(&bench, "mallory");
    let (alice, of_alice) = held(&bench, "alice");
    let stranger = bench.visits(&mallory, "");
    is_nothing(&stranger, "a victim who follows the link of an attacker is not signed in as the attacker");
    assert_eq!(slug(&stranger), "login/state");
    assert_eq!(slug(&bench.visits(&mallory, &of_alice)), "login/state");
    let (code, state) = (parameter(&mallory, "code").unwrap(), parameter(&alice, "state").unwrap());
    let mixed =
        bench.visits(&format!("/auth/callback?code={code}&state={state}&iss={}", bench.provider.issuer()), &of_alice);
    is_nothing(&mixed, "the code of another sign-in");
    assert!(slug(&mixed).starts_with("login/"), "{}", mixed.text());
    assert_eq!(bench.provider.asked("grant authorization_code"), 0, "the code is bound to who started");
    let (bob, of_bob) = held(&bench, "bob");
    let done = bench.visits(&bob, &of_bob);
    assert!([302, 303].contains(&done.status), "{} {}", done.status, done.text());
    assert_eq!(done.one("location").unwrap().trim_start_matches(&bench.base()), "/app/");
    let sets = set_cookies(&done);
    assert!(
        sets.iter().any(|(name, value, _)| name.starts_with("session.f.") && value.is_empty()),
        "the mark goes: {sets:?}"
    );
    let again = bench.visits(&bob, &of_bob);
    is_nothing(&again, "a second time");
}

/// A provider that gives out what it is told to, signed by the keys of a real one.
struct Liar {
    real: Provider,
    _liar: Recorder,
    gateway: Gateway,
    token: Arc<Mutex<String>>,
    issuer: String,
}

impl Liar {
    fn new() -> Self {
        let real = Provider::start_at([127, 0, 0, 2]);
        let token: Arc<Mutex<String>> = Arc::default();
        let (given, keys) = (Arc::clone(&token), real.issuer());
        let liar = Recorder::answering(move |taken| {
            let us = format!("http://{}", taken.local);
            let body = match taken.target.as_str() {
                "/.well-known/openid-configuration" => json!({
                    "issuer": us, "authorization_endpoint": format!("{us}/auth"), "token_endpoint": format!("{us}/token"),
                    "jwks_uri": format!("{keys}/jwks"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256", "RS256"], "code_challenge_methods_supported": ["S256"],
                })
                .to_string(),
                _ => given.lock().unwrap().clone(),
            };
            Script::reply(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
        });
        let issuer = format!("http://{}", liar.address());
        let backend = echo();
        let config = bench::config(&issuer, Settings::default(), "http");
        let values = [("backend", backend.address().to_string())];
        let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[("WEB_SECRET", SECRET)]);
        Self { real, _liar: liar, gateway, token, issuer }
    }

    fn visits(&self, target: &str, cookies: &str) -> Response {
        let fields = format!("{PAGE}Cookie: {cookies}\r\n");
        bench::send(&self.gateway, &self.gateway.address().to_string(), "GET", target, &fields, "")
    }

    /// What becomes of a sign-in that ends with an ID token with these claims beside the right ones (`null`: without), and this header.
    fn told(&self, header: &Value, claims: &Value, by: &str) -> Response {
        self.answered(|nonce| {
            let now = now();
            let mut all = json!({ "iss": self.issuer, "aud": "web", "sub": "alice", "exp": now + 60, "iat": now, "nonce": nonce });
            for (name, value) in claims.as_object().unwrap() {
                if value.is_null() {
                    all.as_object_mut().unwrap().remove(name);
                } else {
                    all[name] = value.as_i64().filter(|_| name == "exp").map_or_else(|| value.clone(), |more| (now.cast_signed() + more).into());
                }
            }
            let mut head = json!({ "alg": "ES256" });
            head.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
            let token = self.real.signed(&head, &all, by);
            json!({ "access_token": "opaque", "token_type": "Bearer", "expires_in": 60, "id_token": token }).to_string()
        })
    }

    fn answered(&self, answer: impl FnOnce(&str) -> String) -> Response {
        let sent = self.visits("/app/", "none=x");
        let location = sent.one("location").unwrap();
        let under_way: Vec<String> =
            set_cookies(&sent).into_iter().map(|(name, value, _)| format!("{name}={value}")).collect();
        *self.token.lock().unwrap() = answer(&parameter(&location, "nonce").unwrap());
        let state = parameter(&location, "state").unwrap();
        self.visits(&format!("/auth/callback?code=abc&state={state}"), &under_way.join("; "))
    }
}

#[test]
fn what_a_provider_says_of_a_person_is_believed_only_if_it_is_meant_here() {
    let liar = Liar::new();
    wait_until("its keys are there", || liar.told(&json!({}), &json!({}), "").status == 302);
    for (header, claims, by, what) in [
        (json!({}), json!({ "nonce": "another" }), "", "another nonce"),
        (json!({}), json!({ "nonce": null }), "", "no nonce"),
        (json!({}), json!({ "aud": "other" }), "", "another client"),
        (json!({}), json!({ "aud": ["web", "other"], "azp": "other" }), "", "given out to another"),
        (json!({}), json!({ "aud": null }), "", "nobody's"),
        (json!({}), json!({ "iss": "http://evil.example" }), "", "another issuer"),
        (json!({}), json!({ "iss": null }), "", "no issuer"),
        (json!({}), json!({ "exp": -600 }), "", "over"),
        (json!({}), json!({ "exp": null }), "", "without end"),
        (json!({}), json!({ "sub": null }), "", "of nobody"),
        (json!({}), json!({ "sub": "" }), "", "of nobody at all"),
        (json!({}), json!({}), "stranger", "a stranger's key"),
        (json!({ "alg": "none" }), json!({}), "none", "not signed"),
        (json!({ "alg": "HS256" }), json!({}), "public", "signed by what everybody knows"),
    ] {
        let told = liar.told(&header, &claims, by);
        is_nothing(&told, what);
        assert_eq!((told.status, slug(&told).as_str()), (502, "login/token"), "{what}");
    }
    assert_eq!(liar.told(&json!({}), &json!({}), "").status, 302, "and after all of them the right one is");
}

#[test]
fn what_is_no_answer_of_a_token_endpoint_is_nothing() {
    let liar = Liar::new();
    wait_until("its keys are there", || liar.told(&json!({}), &json!({}), "").status == 302);
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for answer in [
        "",
        "null",
        "[]",
        "{}",
        "{\"access_token\":\"x\",\"token_type\":\"Bearer\"}",
        "{\"id_token\":7}",
        "<html>",
        "{\"id_token\":\"a.b.c\"}",
        &deep,
    ] {
        let told = liar.answered(|_| answer.to_owned());
        is_nothing(&told, answer);
        assert!([502, 503].contains(&told.status), "{answer}: {}", told.status);
    }
    let huge = liar.answered(|_| format!("{{\"id_token\":\"{}\"}}", "A".repeat(30 << 20)));
    is_nothing(&huge, "a huge answer");
}

#[test]
fn a_sign_in_leads_nowhere_but_to_this_host() {
    let bench = Bench::with(Settings { routes: "  /**: { to: \"{{backend}}\", auth: web }", ..Settings::default() });
    let tab = bench.tab("alice/1");
    let _ = bench.signs_in(&tab, "alice", "/app/");
    for to in [
        "//evil.example",
        "https://evil.example",
        "/%5Cevil.example",
        "%5C/evil.example",
        "%5C%5Cevil.example",
        "/%09/evil.example",
        "/%0A/evil.example",
        "///evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        "%20//evil.example",
        "evil.example",
        "",
        "/app/%0d%0aSet-Cookie:%20a=b",
        "/%2F/evil.example",
        "http://127.0.0.1@evil.example/",
        "/..//evil.example",
        "/.//evil.example",
        "%00//evil.example",
        "/%E3%80%82evil.example",
        "@evil.example",
        ":80",
        "?//evil.example",
        "#//evil.example",
    ] {
        tab.forget("127.0.0.1");
        let seen = bench.goes_through(&tab, &bench.at(&format!("/auth/login?to={to}")));
        assert!(seen.url.starts_with(&bench.at("/")), "{to}: {}", seen.url);
        assert!(!tab.cookies().iter().any(|cookie| cookie.name == "a"), "{to}");
    }
    for path in ["//evil.example/", "//evil.example/%2e%2e", "/%5Cevil.example/", "///evil.example"] {
        tab.forget("127.0.0.1");
        let seen = bench.goes_through(&tab, &bench.at(path));
        assert!(seen.url.starts_with(&bench.at("/")), "{path}: {}", seen.url);
    }
    tab.forget("127.0.0.1");
    let seen = bench.goes_through(&tab, &bench.at("/auth/login?to=/app/x%3Fa=1"));
    assert_eq!(seen.url, bench.at("/app/x?a=1"), "while this is fine");
}

#[test]
fn other_sites_cannot_do_anything_with_the_session() {
    let bench = Bench::new();
    let session = bench.session("alice");
    let host = bench.gateway.address();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let heard = bench.backend.recorded().len();
    for (method, fields, what) in [
        ("POST", "Origin: http://evil.example\r\n".to_owned(), "another origin"),
        ("POST", "Origin: null\r\n".to_owned(), "an origin that hides"),
        ("POST", format!("Origin: https://{host}\r\n"), "another scheme"),
        ("POST", "Origin: http://127.0.0.1:9\r\n".to_owned(), "another port"),
        ("POST", format!("Origin: http://{host}.evil.example\r\n"), "a name that begins like ours"),
        ("POST", "Sec-Fetch-Site: cross-site\r\n".to_owned(), "a site that does not say which"),
        ("DELETE", "Origin: http://evil.example\r\n".to_owned(), "another method"),
        ("PUT", "Sec-Fetch-Site: same-site\r\nOrigin: http://127.0.0.1:9\r\n".to_owned(), "a neighbour"),
        ("GET", format!("{upgrade}Origin: http://evil.example\r\n"), "a WebSocket"),
        ("GET", format!("{upgrade}Origin: null\r\n"), "a WebSocket of an origin that hides"),
    ] {
        let told = bench.sends(method, "/app/form", &format!("{fields}Cookie: {session}\r\n"), "a=b");
        assert_eq!((told.status, slug(&told).as_str()), (403, "login/cross-site"), "{what}");
    }
    assert_eq!(bench.backend.recorded().len(), heard, "the service hears nothing of it");
    for (method, fields) in [
        ("POST", format!("Origin: http://{host}\r\n")),
        ("POST", format!("Origin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n")),
        ("GET", "Origin: http://evil.example\r\n".to_owned()),
        ("GET", format!("{PAGE}Sec-Fetch-Site: cross-site\r\n")),
    ] {
        assert_eq!(
            bench.sends(method, "/app/form", &format!("{fields}Cookie: {session}\r\n"), "a=b").status,
            200,
            "{method} {fields}"
        );
    }
}

/// A page of somebody else's that sends a form to the gateway.
fn evil(to: &str) -> Recorder {
    let page =
        format!("<!DOCTYPE html><form method=post action=\"{to}\"><input name=a value=b><button>Win</button></form>");
    Recorder::everywhere(move |_| {
        Script::reply(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        ))
    })
}

#[test]
fn a_form_of_another_site_does_nothing_in_a_real_browser() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    let _ = bench.signs_in(&tab, "alice", "/app/");
    let target = bench.at("/app/form");
    let evil = evil(&target);
    let port = evil.address().port();
    let heard = || {
        bench
            .backend
            .recorded()
            .iter()
            .map(|one| String::from_utf8_lossy(&one.bytes).matches("POST ").count())
            .sum::<usize>()
    };
    // A neighbour at the same site, of whom `SameSite` does not protect, and a stranger.
    for (site, expected) in [("127.0.0.1", 403), ("127.0.0.3", 401)] {
        let _ = tab.goto(&format!("http://{site}:{port}/"));
        let wrote = format!(
            "fetch('{target}', {{ method: 'POST', credentials: 'include', mode: 'no-cors' }}).then(() => 'sent')"
        );
        assert_eq!(tab.evaluate(&wrote), "sent");
        tab.click("button");
        let _ = tab.arrives(&target);
        let told = bench.gateway.access_line("the form", |line| line["method"] == "POST" && line["status"] == expected);
        assert_eq!(told["status"], expected, "{site}");
    }
    assert_eq!(heard(), 0);
    assert!(tab.goto(&bench.at("/app/")).text.contains("/app/"), "links from elsewhere go on working");
}

#[test]
fn a_logout_that_the_provider_did_not_send_ends_nothing() {
    let bench = Bench::new();
    let session = bench.session("alice");
    let now = now();
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let token = |header: Value, more: Value, by: &str| {
        let mut claims = json!({
            "iss": bench.provider.issuer(), "aud": "web", "sub": "alice", "iat": now, "exp": now + 60, "jti": "j-1", "events": event
        });
        for (name, value) in more.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let mut head = json!({ "alg": "ES256", "typ": "logout+jwt" });
        head.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        bench.provider.signed(&head, &claims, by)
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let tell = |token: &str| bench.sends("POST", "/auth/backchannel-logout", form, &format!("logout_token={token}"));
    for (token, what) in [
        (token(json!({}), json!({}), "stranger"), "a stranger"),
        (token(json!({ "alg": "none" }), json!({}), "none"), "not signed"),
        (token(json!({ "alg": "HS256" }), json!({}), "public"), "by what everybody knows"),
        (token(json!({}), json!({ "aud": "other" }), ""), "for another client"),
        (token(json!({}), json!({ "iss": "http://evil.example" }), ""), "of another issuer"),
        (token(json!({}), json!({ "events": null }), ""), "no logout"),
        (token(json!({}), json!({ "events": {} }), ""), "another event"),
        (token(json!({}), json!({ "nonce": "n" }), ""), "an ID token"),
        (token(json!({}), json!({ "sub": null }), ""), "of nobody"),
        (token(json!({}), json!({ "iat": now - 86400, "exp": now - 86000 }), ""), "long ago"),
        ("a.b.c".to_owned(), "nothing"),
        (String::new(), "empty"),
    ] {
        let told = tell(&token);
        assert_eq!(told.status, 400, "{what}: {}", told.text());
        assert_eq!(bench.calls("/app/", &session).status, 200, "{what}");
    }
    let told = bench.sends("POST", "/auth/backchannel-logout", form, "x=y");
    assert_eq!(told.status, 400);
    let real = token(json!({}), json!({}), "");
    assert_eq!(tell(&real).status, 200);
    wait_until("the real one does", || bench.calls("/app/", &session).status == 401);
    assert_eq!(tell(&real).status, 400, "a second time: it ends nothing that began after it");
}

#[test]
fn no_secret_of_a_sign_in_is_told_anywhere() {
    let bench = Bench::with(Settings { scopes: "openid, profile, offline_access", ..Settings::default() });
    let (callback, under_way) = held(&bench, "alice");
    let refused = bench.visits(&callback.replace("state=", "state=x"), &under_way);
    let done = bench.visits(&callback, &under_way);
    assert_eq!(done.status, 302, "{}", done.text());
    let again = bench.visits(&callback, &under_way);
    let session = set_cookies(&done).into_iter().find(|(name, ..)| name == "session").unwrap().1;
    let api = bench.calls("/api/", &format!("session={session}"));
    let token = api
        .text()
        .lines()
        .find_map(|line| line.split_once("earer ").map(|(_, token)| token.trim().to_owned()))
        .unwrap();
    let forged = bench.calls("/api/", &format!("session={}x", &session[1..]));
    let crossed =
        bench.sends("POST", "/app/", &format!("Origin: http://evil.example\r\nCookie: session={session}\r\n"), "");
    assert_eq!((refused.status, forged.status, crossed.status), (400, 401, 403));
    let out = bench.visits("/auth/logout", &format!("session={session}"));
    assert!([302, 303].contains(&out.status), "{}", out.status);
    let _ = bench.gateway.access_line("the logout", |line| line.to_string().contains("/auth/logout"));
    let told = [
        ("the log", bench.gateway.log()),
        ("a metric", bench.gateway.health("/metrics").text()),
        ("the status", bench.gateway.status().to_string()),
        ("a problem", [refused, again, forged, crossed].map(|answer| answer.text()).concat()),
    ];
    let under_way = under_way.split_once('=').unwrap().1;
    let secrets = [
        (SECRET, "the client's secret"),
        (&parameter(&callback, "code").unwrap(), "the code"),
        (&token, "the access token"),
        (&session[..40], "the session"),
        (&session[session.len() - 40..], "the end of the session"),
        (&under_way[..under_way.len().min(40)], "the mark of who started"),
        ("eyJ", "a token"),
    ];
    for ((secret, what), (place, text)) in secrets.iter().flat_map(|secret| told.iter().map(move |told| (secret, told)))
    {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} is told in {place}: {}", line.unwrap_or_default());
    }
}
