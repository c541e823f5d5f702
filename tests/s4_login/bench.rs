//! What the tests of signing in by OpenID Connect share: a provider, at a site of its own; the gateway; a service that tells what it
//! was asked; and a browser.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::cell::OnceCell;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_testkit::{
    Browser, Cookie, Deadline, Gateway, Provider, Recorder, Response, Script, Seen, Tab, wait_until,
};

pub(crate) const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// As a browser asks that goes to a page.
pub(crate) const PAGE: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
pub(crate) const SECRET: &str = "web-secret";

/// What differs from test to test.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings {
    /// Of `session`, in braces.
    pub(crate) session: &'static str,
    /// Instead of `openid, profile`.
    pub(crate) scopes: &'static str,
    /// Further routes, a line each.
    pub(crate) routes: &'static str,
    /// Instead of the provider's issuer.
    pub(crate) issuer: &'static str,
}

pub(crate) struct Bench {
    pub(crate) provider: Provider,
    pub(crate) gateway: Gateway,
    pub(crate) backend: Recorder,
    browser: OnceCell<Browser>,
}

/// A service that answers with the head of what it was asked.
pub(crate) fn echo() -> Recorder {
    Recorder::answering(|taken| Script::ok(taken, &String::from_utf8_lossy(&taken.head)))
}

pub(crate) fn config(issuer: &str, settings: Settings, listener: &str) -> String {
    let Settings { session, scopes, routes, issuer: instead } = settings;
    let scopes = if scopes.is_empty() { "openid, profile" } else { scopes };
    let issuer = if instead.is_empty() { issuer } else { instead };
    // Short, and the same as in the names that tests look for.
    let session = if session.contains("cookie:") { session.to_owned() } else { format!("cookie: session, {session}") };
    format!(
        r#"
listen: {{ "{{{{http}}}}": {listener}, "{{{{health}}}}": health }}
auth:
  web:
    login: "{issuer}"
    client: web
    secret: "${{env:WEB_SECRET}}"
    scopes: [{scopes}]
    after_logout: /bye
    session: {{ {session} }}
  idp: {{ issuer: "{issuer}", audience: orders }}
routes:
  /auth/**: {{ serve: login }}
  /app/**: {{ to: "{{{{backend}}}}", auth: web, backend_token: {{ send: nothing, headers: {{ X-User: principal, X-Name: claims.name }} }} }}
  /api/**: {{ to: "{{{{backend}}}}", auth: web, backend_token: pass }}
  /both/**: {{ to: "{{{{backend}}}}", auth: web or idp }}
  /mine/**: {{ to: "{{{{backend}}}}", auth: web, allow: 'claims.sub == "alice"' }}
  /bye: {{ reply: 200 bye }}
{routes}
"#
    )
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let bench = Self::before(Provider::start_at([127, 0, 0, 2]), settings);
        bench.register(json!({}));
        bench
    }

    /// A provider that may not serve yet, and does not know the gateway.
    pub(crate) fn before(provider: Provider, settings: Settings) -> Self {
        let backend = echo();
        let config = config(&provider.issuer(), settings, "http");
        let values = [("backend", backend.address().to_string())];
        let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[("WEB_SECRET", SECRET)]);
        Self { provider, gateway, backend, browser: OnceCell::new() }
    }

    /// Tells the provider who `web` is, and more of it.
    pub(crate) fn register(&self, more: Value) {
        register(&self.provider, &self.base(), more);
    }

    /// Where the gateway is, for browsers.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.gateway.address())
    }

    pub(crate) fn at(&self, path: &str) -> String {
        self.base() + path
    }

    pub(crate) fn tab(&self, name: &str) -> Tab<'_> {
        self.browser.get_or_init(Browser::start).tab(name)
    }

    /// Goes to a page, is sent to the provider, signs in there as this person, and is back at the page.
    pub(crate) fn signs_in(&self, tab: &Tab<'_>, who: &str, path: &str) -> Seen {
        let seen = tab.goto(&self.at(path));
        assert!(seen.url.starts_with(&self.provider.issuer()), "it is at {}: {}", seen.url, seen.text);
        gives_name(tab, who);
        consents(tab);
        tab.arrives(&self.at(path))
    }

    /// The same for somebody whom the provider knows already, from any address.
    pub(crate) fn goes_through(&self, tab: &Tab<'_>, url: &str) -> Seen {
        let seen = tab.goto(url);
        if !seen.url.starts_with(&self.provider.issuer()) {
            return seen;
        }
        consents(tab);
        tab.arrives(&self.base())
    }

    /// Signs in, with nothing held but a session.
    pub(crate) fn session(&self, who: &str) -> String {
        let tab = self.tab(&format!("{who}/session"));
        let _ = self.signs_in(&tab, who, "/app/");
        cookies(&tab, "127.0.0.1")
    }

    /// A request with these further fields.
    pub(crate) fn ask(&self, target: &str, fields: &str) -> Response {
        self.sends("GET", target, fields, "")
    }

    /// A request with this body, unless it is GET.
    pub(crate) fn sends(&self, method: &str, target: &str, fields: &str, body: &str) -> Response {
        send(&self.gateway, &self.gateway.address().to_string(), method, target, fields, body)
    }

    /// What a script is told that has these cookies.
    pub(crate) fn calls(&self, target: &str, cookies: &str) -> Response {
        self.ask(target, &format!("Accept: application/json\r\nCookie: {cookies}\r\n"))
    }

    /// What a person is told who goes to a page with these cookies.
    pub(crate) fn visits(&self, target: &str, cookies: &str) -> Response {
        self.ask(target, &format!("{PAGE}Cookie: {cookies}\r\n"))
    }

    /// Where somebody is sent who has no session, and the cookies that tell who started.
    pub(crate) fn starts(&self, target: &str) -> (String, String) {
        let sent = self.ask(target, PAGE);
        assert_eq!(sent.status, 302, "{}", sent.text());
        let cookies: Vec<String> =
            set_cookies(&sent).into_iter().map(|(name, value, _)| format!("{name}={value}")).collect();
        (sent.one("location").unwrap(), cookies.join("; "))
    }
}

pub(crate) fn register(provider: &Provider, base: &str, more: Value) {
    let mut registration = json!({
        "redirect_uris": [format!("{base}/auth/callback")],
        "post_logout_redirect_uris": [format!("{base}/bye"), format!("{base}/")],
        "backchannel_logout_uri": format!("{base}/auth/backchannel-logout"),
    });
    registration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    provider.knows_web(&registration);
}

/// Says at the provider's page who they are.
pub(crate) fn gives_name(tab: &Tab<'_>, who: &str) {
    tab.fill("[name=login]", who);
    tab.fill("[name=password]", "any");
    let before = tab.url();
    tab.click("[type=submit]");
    tab.leaves(&before);
}

/// Says at the provider's page that the gateway may know, if it asks: those who said so before may not be asked again.
pub(crate) fn consents(tab: &Tab<'_>) {
    if tab.url().contains("/interaction/") {
        tab.click("form:has([name=prompt][value=consent]) [type=submit]");
    }
}

/// A request to the gateway by this name, with this body, unless it is GET.
pub(crate) fn send(gateway: &Gateway, host: &str, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let length = if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    gateway.client().call(&format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n{body}"))
}

/// The reason in a problem.
pub(crate) fn slug(answer: &Response) -> String {
    let problem: Value =
        serde_json::from_str(&answer.text()).unwrap_or_else(|_| panic!("{} {}", answer.status, answer.text()));
    problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
}

/// What a script is told whose session is none, or over.
pub(crate) fn is_refused(answer: &Response) {
    assert_eq!((answer.status, slug(answer).as_str()), (401, "login/session"));
    is_challenged(answer);
}

/// How a script is told that somebody has to sign in.
pub(crate) fn is_challenged(answer: &Response) {
    assert_eq!(answer.status, 401, "{}", answer.text());
    let how = answer.one("www-authenticate").unwrap();
    assert!(how.starts_with("Cookie realm=\"web\", form-action=\"/auth/login\", cookie-name=\"session\""), "{how}");
}

/// The name, the value and the attributes of each cookie that an answer sets.
pub(crate) fn set_cookies(answer: &Response) -> Vec<(String, String, String)> {
    let all = answer.all("set-cookie").into_iter();
    let parts = |line: String| {
        let (cookie, attributes) = line.split_once(';').unwrap_or((&line, ""));
        let (name, value) = cookie.split_once('=').unwrap();
        (name.to_owned(), value.to_owned(), attributes.to_owned())
    };
    all.map(parts).collect()
}

/// The cookies of a host, as a browser sends them.
pub(crate) fn cookies(tab: &Tab<'_>, host: &str) -> String {
    let kept = of_host(tab, host).into_iter().map(|cookie| format!("{}={}", cookie.name, cookie.value));
    kept.collect::<Vec<_>>().join("; ")
}

pub(crate) fn of_host(tab: &Tab<'_>, host: &str) -> Vec<Cookie> {
    tab.cookies().into_iter().filter(|cookie| cookie.domain == host).collect()
}

/// A parameter of a query.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// So long is what something lasts; when this comes back, it has ended.
pub(crate) fn passes(seconds: u64) {
    let end = Deadline::after(Duration::from_secs(seconds));
    wait_until("time passes", || end.left().is_none());
}
