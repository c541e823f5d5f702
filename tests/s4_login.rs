//! S4: people sign in to a web application by OpenID Connect: at a certified provider, by a real browser.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "s4_login/bench.rs"]
mod bench;

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_testkit::deadline::timed;
use tollgate_testkit::{Authority, Browser, Gateway, Provider, wait_until};

use bench::{
    Bench, PAGE, SECRET, Settings, TOLLGATE, consents, cookies, echo, gives_name, is_challenged, is_refused, of_host,
    parameter, passes, register, set_cookies, slug,
};

#[test]
fn whoever_goes_to_a_page_signs_in_and_comes_back_to_it() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    tab.keep(&bench.base(), "theme", "dark");
    let path = "/app/page?a=1&b=x%2Fy&c=%C3%BC";
    let seen = bench.signs_in(&tab, "alice", path);
    assert_eq!(seen.url, bench.at(path), "with its query, and nothing else");
    let text = seen.text.to_lowercase();
    assert!(text.starts_with("get /app/page?a=1&b=x%2fy&c=%c3%bc http/1.1"), "{text}");
    assert!(text.contains("x-user: alice\n") && text.contains("x-name: the alice\n"), "{text}");
    assert!(
        text.contains("cookie: theme=dark\n"),
        "the cookies that are none of the gateway's, and only those: {text}"
    );
    assert!(!text.contains("authorization:"), "{text}");
    assert_eq!(bench.provider.asked("grant authorization_code"), 1);
    assert!(tab.goto(&bench.at("/app/other")).text.contains("/app/other"), "from now on at once");
    assert_eq!(tab.goto(&bench.at("/mine/")).status, 200);
    let bob = bench.tab("bob/1");
    let _ = bench.signs_in(&bob, "bob", "/app/");
    let refused = bob.goto(&bench.at("/mine/"));
    assert_eq!(refused.status, 403, "a session says who calls, not what they may do: {}", refused.text);
}

#[test]
fn a_page_without_a_session_is_answered_with_the_way_to_the_provider() {
    let bench = Bench::new();
    let sent = bench.ask("/app/", PAGE);
    assert_eq!(sent.status, 302);
    assert!(sent.one("cache-control").unwrap().contains("no-store"), "{:?}", sent.one("cache-control"));
    let to = sent.one("location").unwrap();
    assert!(to.starts_with(&format!("{}/auth?", bench.provider.issuer())), "{to}");
    let says = |name: &str| parameter(&to, name).unwrap_or_else(|| panic!("no {name}: {to}"));
    assert_eq!((says("response_type"), says("client_id")), ("code".to_owned(), "web".to_owned()));
    assert_eq!(says("code_challenge_method"), "S256");
    assert_eq!(says("code_challenge").len(), 43);
    assert!(says("state").len() >= 22 && says("nonce").len() >= 22, "128 bits at least: {to}");
    let back = says("redirect_uri").replace("%3A", ":").replace("%2F", "/");
    assert_eq!(back, bench.at("/auth/callback"), "by the name that it was asked under");
    assert_eq!(says("scope").replace("%20", "+"), "openid+profile");
    let set = set_cookies(&sent);
    assert_eq!(set.len(), 1, "one cookie for a sign-in that is under way: {set:?}");
    assert!(
        set[0].0.starts_with("session.f.") && set[0].2.contains("HttpOnly") && set[0].2.contains("SameSite=Lax"),
        "{set:?}"
    );
    for old in [
        "Accept: text/html,*/*;q=0.8\r\n",
        "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(bench.ask("/app/", old).status, 302, "{old}");
    }
}

#[test]
fn a_script_without_a_session_is_told_so_and_sent_nowhere() {
    let bench = Bench::new();
    for fields in [
        "Accept: application/json\r\n",
        "Accept: */*\r\n",
        "",
        "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n",
        "Accept: text/html\r\nSec-Fetch-Mode: same-origin\r\n",
        "Accept: application/json\r\nX-Requested-With: XMLHttpRequest\r\n",
    ] {
        let answer = bench.ask("/api/orders", fields);
        is_challenged(&answer);
        assert_eq!(slug(&answer), "auth/missing");
        assert!(set_cookies(&answer).is_empty(), "{fields}");
    }
    let posted = bench.sends("POST", "/app/", PAGE, "a=b");
    assert_eq!(posted.status, 401, "a form that is sent would be lost on the way");
    let tab = bench.tab("alice/1");
    let _ = tab.goto(&bench.at("/bye"));
    let fetched = tab.fetch("/api/orders", &json!({}));
    assert_eq!((fetched.status, fetched.kind.as_str()), (401, "basic"));
    assert!(fetched.headers["www-authenticate"].starts_with("Cookie "), "{fetched:?}");
    assert!(bench.backend.recorded().is_empty(), "the service hears nothing of it");
}

#[test]
fn scripts_of_a_page_call_with_its_session() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    let _ = bench.signs_in(&tab, "alice", "/app/");
    let got = tab.fetch("/api/orders", &json!({}));
    assert!(got.status == 200 && got.text.to_lowercase().contains("authorization: bearer "), "{}", got.text);
    let posted = tab.fetch("/app/form", &json!({ "method": "POST", "body": "a=b" }));
    assert!(posted.status == 200 && posted.text.starts_with("POST /app/form"), "{}", posted.text);
    assert!(!posted.text.to_lowercase().contains("cookie:"), "{}", posted.text);
    assert_eq!(tab.fetch("/both/", &json!({})).status, 200);
    let token = bench.provider.token("orders", "orders.read", "ES256");
    assert_eq!(bench.ask("/both/", &format!("Authorization: Bearer {token}\r\n")).status, 200, "beside tokens");
}

#[test]
fn no_service_gets_the_cookie_of_a_session() {
    let bench = Bench::with(Settings {
        routes: "  /either/**: { to: \"{{backend}}\", auth: idp or web }\n  /open/**: { to: \"{{backend}}\", auth: none }",
        ..Settings::default()
    });
    let (_, under_way) = bench.starts("/app/");
    let cookies = format!("{}; theme=dark; {under_way}", bench.session("large"));
    let token = bench.provider.token("orders", "orders.read", "ES256");
    let fields = format!("Authorization: Bearer {token}\r\nCookie: {cookies}\r\n");
    for target in ["/app/", "/api/", "/both/", "/either/", "/open/"] {
        let seen = bench.ask(target, &fields).text();
        assert!(seen.contains("theme=dark") && !seen.contains("session"), "{target}: {seen}");
    }
}

#[test]
fn nothing_need_be_remembered_of_a_session() {
    let bench = Bench::with(Settings { session: "remember: 0", ..Settings::default() });
    let session = bench.session("alice");
    let seen = bench.calls("/api/", &session);
    assert!(seen.status == 200 && seen.text().contains("earer "), "{}", seen.text());
}

#[test]
fn the_cookie_of_a_session_is_for_this_host_and_no_script() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    let _ = bench.signs_in(&tab, "alice", "/app/");
    let kept = of_host(&tab, "127.0.0.1");
    assert_eq!(kept.len(), 1, "that of the sign-in under way is gone: {kept:?}");
    let cookie = &kept[0];
    assert_eq!((cookie.name.as_str(), cookie.path.as_str(), cookie.same_site.as_str()), ("session", "/", "Lax"));
    assert!(cookie.http_only && !cookie.secure, "{cookie:?}");
    assert_eq!(tab.evaluate("document.cookie"), "");
    assert!(!cookie.value.contains("alice") && !cookie.value.contains("eyJ"), "nothing to be read in it: {cookie:?}");
}

#[test]
fn under_https_the_cookie_is_bound_to_it() {
    let (provider, backend) = (Provider::start_at([127, 0, 0, 2]), echo());
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::new("Test CA").server(&["127.0.0.1"]).write(folder.path(), "gw");
    let listener = format!("{{ tls: {{ cert: {}, key: {} }} }}", cert.display(), key.display());
    let config = bench::config(&provider.issuer(), Settings::default(), &listener);
    let values = [("backend", backend.address().to_string())];
    let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[("WEB_SECRET", SECRET)]);
    let base = format!("https://{}", gateway.address());
    register(&provider, &base, json!({}));
    let browser = Browser::start();
    let tab = browser.tab("alice/1");
    let _ = tab.goto(&format!("{base}/app/"));
    let under_way = of_host(&tab, "127.0.0.1");
    assert!(
        under_way.len() == 1 && under_way[0].name.starts_with("__Host-session.f.") && under_way[0].secure,
        "{under_way:?}"
    );
    gives_name(&tab, "alice");
    consents(&tab);
    assert!(tab.arrives(&format!("{base}/app/")).text.to_lowercase().contains("x-user: alice"));
    let kept = of_host(&tab, "127.0.0.1");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((kept[0].name.as_str(), kept[0].same_site.as_str()), ("__Host-session", "Lax"));
    assert!(kept[0].http_only && kept[0].secure, "{kept:?}");
}

#[test]
fn a_session_outlives_the_process_and_the_config() {
    let mut bench = Bench::new();
    let session = bench.session("alice");
    assert_eq!(bench.calls("/app/", &session).status, 200);
    bench.gateway.restart(TOLLGATE);
    let answer = bench.calls("/app/", &session);
    assert_eq!(answer.status, 200, "the key of sessions is in `data`: {}", answer.text());
    let changed = bench::config(
        &bench.provider.issuer(),
        Settings { routes: "  /new: { reply: 200 new }", ..Settings::default() },
        "http",
    );
    bench.gateway.reload(&changed, &[("backend", bench.backend.address().to_string())]);
    assert_eq!(bench.gateway.client().get("/new").status, 200);
    assert_eq!(bench.calls("/app/", &session).status, 200);
}

#[test]
fn sessions_can_be_kept_here_and_the_browser_has_their_name_alone() {
    let bench = Bench::with(Settings { session: "in: store, cookie: sid", ..Settings::default() });
    let tab = bench.tab("large/1");
    let _ = bench.signs_in(&tab, "large", "/app/");
    let kept = of_host(&tab, "127.0.0.1");
    assert!(kept.len() == 1 && kept[0].name == "sid" && kept[0].value.len() < 200, "{kept:?}");
    let session = cookies(&tab, "127.0.0.1");
    assert_eq!(bench.calls("/app/", &session).status, 200);
    assert_eq!(bench.calls("/app/", &session.to_uppercase().replace("SID=", "sid=")).status, 401);
    logs_out(&bench, &tab);
    assert_eq!(bench.calls("/app/", &session).status, 401);
}

#[test]
fn a_session_with_much_to_tell_is_spread_over_cookies_and_ends_with_all_of_them() {
    let bench = Bench::new();
    let tab = bench.tab("large/1");
    let seen = bench.signs_in(&tab, "large", "/app/");
    assert!(seen.text.to_lowercase().contains("x-user: large"), "{}", seen.text);
    let kept = of_host(&tab, "127.0.0.1");
    assert!(kept.len() > 1, "{kept:?}");
    assert!(kept.iter().all(|cookie| cookie.name.len() + cookie.value.len() <= 4096 && cookie.http_only), "{kept:?}");
    let session = cookies(&tab, "127.0.0.1");
    assert_eq!(bench.calls("/app/", &session).status, 200);
    for missing in session.split("; ") {
        let rest: Vec<&str> = session.split("; ").filter(|cookie| *cookie != missing).collect();
        assert_eq!(bench.calls("/app/", &rest.join("; ")).status, 401);
    }
    logs_out(&bench, &tab);
    assert_eq!(of_host(&tab, "127.0.0.1"), []);
    // Somebody with less to tell, in the same browser.
    let _ = bench.signs_in(&tab, "alice", "/app/");
    assert_eq!(of_host(&tab, "127.0.0.1").len(), 1);
}

#[test]
fn when_the_access_token_ends_many_requests_make_one_refresh() {
    let bench = Bench::with(Settings { scopes: "openid, profile, offline_access", ..Settings::default() });
    // The gateway sees to it ten seconds before.
    bench.register(json!({ "seconds": 20 }));
    let tab = bench.tab("alice/1");
    let _ = bench.signs_in(&tab, "alice", "/app/");
    let before = cookies(&tab, "127.0.0.1");
    bench.register(json!({ "seconds": 3600 }));
    assert_eq!(bench.provider.asked("grant refresh_token"), 0);
    passes(10);
    let many = "Promise.all(Array.from({ length: 25 }, (_, n) => fetch(`/api/${n}`).then(async (answer) => [answer.status, await answer.text()])))";
    let answers = tab.evaluate(many);
    let tokens: Vec<&str> = answers.as_array().unwrap().iter().map(token_of).collect();
    assert_eq!(tokens.len(), 25);
    assert!(tokens.iter().all(|token| *token == tokens[0]), "all have the new one");
    assert_eq!(bench.provider.asked("grant refresh_token"), 1);
    let late = bench.calls("/api/late", &before);
    assert_eq!(late.status, 200, "a request that was on its way with the old cookie: {}", late.text());
    assert_ne!(cookies(&tab, "127.0.0.1"), before);
    assert_eq!(tab.fetch("/api/more", &json!({})).status, 200);
    assert_eq!((bench.provider.asked("grant refresh_token"), bench.provider.asked("refused refresh_token")), (1, 0));
}

#[test]
fn a_cookie_from_before_a_refresh_shows_no_refresh_token_a_second_time() {
    let bench = Bench::with(Settings { routes: "workers: 4", ..Settings::default() });
    bench.register(json!({ "seconds": 20 }));
    let before = bench.session("alice");
    // All threads know the session as it was.
    (0..40).for_each(|_| assert_eq!(bench.calls("/api/", &before).status, 200));
    bench.register(json!({}));
    passes(11);
    // One by one, so that one thread has it renewed, and the others come to know of it later.
    for _ in 0..40 {
        let late = bench.calls("/api/", &before);
        assert_eq!(late.status, 200, "{}", late.text());
    }
    assert_eq!((bench.provider.asked("grant refresh_token"), bench.provider.asked("refused refresh_token")), (1, 0));
}

/// The access token that a service was sent, by what it answered.
fn token_of(answer: &Value) -> &str {
    assert_eq!(answer[0], 200, "{answer}");
    let head = answer[1].as_str().unwrap();
    head.lines().find_map(|line| line.split_once("earer ").map(|(_, token)| token)).unwrap_or_else(|| panic!("{head}"))
}

#[test]
fn a_refresh_that_the_provider_refuses_ends_the_session() {
    let mut bench = Bench::new();
    bench.register(json!({ "seconds": 13 }));
    let session = bench.session("alice");
    bench.provider.stop();
    bench.provider.again();
    // It has forgotten all that it gave out.
    bench.register(json!({}));
    passes(3);
    is_refused(&bench.calls("/api/", &session));
    assert_eq!(bench.visits("/app/", &session).status, 302, "and pages are sent to sign in again");
}

#[test]
fn without_the_provider_sessions_go_on_until_they_need_it() {
    let mut bench = Bench::new();
    bench.register(json!({ "seconds": 15 }));
    let session = bench.session("alice");
    bench.provider.stop();
    let (answer, took) = timed(|| {
        let mut last = bench.calls("/api/", &session);
        wait_until("the session needs the provider", || {
            last = bench.calls("/api/", &session);
            last.status != 200
        });
        last
    });
    assert_eq!((answer.status, slug(&answer).as_str()), (503, "login/provider"), "our trouble is nobody's fault");
    assert!(answer.one("retry-after").is_some());
    assert!(
        took > Duration::from_secs(8),
        "as long as its token holds, not only until a new one is asked for: {took:?}"
    );
}

#[test]
fn a_provider_that_is_down_lets_nobody_in_until_it_is_back() {
    let mut provider = Provider::start_at([127, 0, 0, 2]);
    provider.stop();
    let mut bench = Bench::before(provider, Settings::default());
    let told = bench.ask("/app/", PAGE);
    assert_eq!(told.status, 503);
    assert!(told.one("retry-after").is_some());
    let script = bench.ask("/api/", "Accept: application/json\r\n");
    assert_eq!(script.status, 401, "which is true of it, whoever is down");
    bench.provider.again();
    bench.register(json!({}));
    wait_until("the provider is asked again", || bench.ask("/app/", PAGE).status == 302);
    let tab = bench.tab("alice/1");
    let back = bench.at("/auth/callback");
    let _ = tab.goto(&bench.at("/app/"));
    gives_name(&tab, "alice");
    tab.hold(&back);
    consents(&tab);
    let held = tab.arrives(&back).url;
    tab.release();
    bench.provider.stop();
    assert_eq!(bench.tab("alice/1").goto(&held).status, 503, "nor is there anybody to trade the code");
}

fn logs_out(bench: &Bench, tab: &tollgate_testkit::Tab<'_>) {
    let asked = tab.goto(&bench.at("/auth/logout"));
    assert!(asked.url.starts_with(&bench.provider.issuer()), "it is at {}: {}", asked.url, asked.text);
    tab.click("[name=logout][value=yes]");
    assert_eq!(tab.arrives(&bench.at("/bye")).text, "bye");
}

#[test]
fn a_logout_ends_the_session_here_and_at_the_provider() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    let _ = bench.signs_in(&tab, "alice", "/app/");
    let copy = cookies(&tab, "127.0.0.1");
    assert_eq!(bench.calls("/app/", &copy).status, 200);
    logs_out(&bench, &tab);
    assert_eq!(of_host(&tab, "127.0.0.1"), []);
    is_refused(&bench.calls("/app/", &copy));
    assert_eq!(bench.visits("/app/", &copy).status, 302);
    let _ = tab.goto(&bench.at("/app/"));
    tab.appears("[name=login]");
}

#[test]
fn a_logout_elsewhere_ends_the_session_within_seconds() {
    let bench = Bench::new();
    let (alice, bob) = (bench.session("alice"), bench.session("bob"));
    let elsewhere = bench.tab("alice/elsewhere");
    let _ = elsewhere.goto(&format!("{}/session/end", bench.provider.issuer()));
    elsewhere.click("[name=logout][value=yes]");
    let ((), took) = timed(|| wait_until("the session has ended", || bench.calls("/app/", &alice).status == 401));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!((bench.provider.asked("told"), bench.provider.asked("untold")), (1, 0));
    is_refused(&bench.calls("/app/", &alice));
    assert_eq!(bench.calls("/app/", &bob).status, 200, "and nobody else's");
    // One way after the other: what the click began may still be on its way.
    elsewhere.arrives(&format!("{}/session/end/success", bench.provider.issuer()));
    let _ = elsewhere.goto(&bench.at("/app/"));
    gives_name(&elsewhere, "alice");
    consents(&elsewhere);
    assert!(elsewhere.arrives(&bench.at("/app/")).text.contains("/app/"), "she can sign in again");
}

#[test]
fn two_tabs_sign_in_at_the_same_time() {
    let bench = Bench::new();
    let (first, second) = (bench.tab("alice/1"), bench.tab("alice/2"));
    let (one, two) = (bench.at("/app/one?n=1"), bench.at("/app/two?n=2"));
    let _ = (first.goto(&one), second.goto(&two));
    gives_name(&second, "alice");
    consents(&second);
    assert_eq!(second.arrives(&bench.base()).url, two);
    gives_name(&first, "alice");
    consents(&first);
    let seen = first.arrives(&bench.base());
    assert_eq!(seen.url, one, "{}", seen.text);
    assert_eq!(of_host(&first, "127.0.0.1").len(), 1, "one session, nothing left over");
}

#[test]
fn a_session_lasts_as_long_as_the_file_says() {
    let short = Bench::with(Settings { session: "lasts: 10s, idle: 10s", ..Settings::default() });
    let idle = Bench::with(Settings { session: "idle: 10s", ..Settings::default() });
    let (of_short, of_idle) = (short.session("alice"), idle.session("alice"));
    assert_eq!(short.calls("/app/", &of_short).status, 200);
    passes(11);
    for (bench, session) in [(&short, &of_short), (&idle, &of_idle)] {
        is_refused(&bench.calls("/app/", session));
        assert_eq!(bench.visits("/app/", session).status, 302);
    }
}

#[test]
fn without_https_nobody_signs_in_but_on_this_machine() {
    let bench = Bench::new();
    let told = bench::send(&bench.gateway, "shop.example", "GET", "/app/", PAGE, "");
    assert!(told.status >= 400 && set_cookies(&told).is_empty(), "{}", told.status);
    assert_eq!(slug(&told), "login/insecure");
}
