//! S5: people sign in by SAML: at an identity provider made of pysaml2, by a real browser; and what is sent by somebody who should not.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

mod python;

use std::cell::OnceCell;
use std::fs;
use std::process::Command;

use data_encoding::BASE64;
use python::Service;
use serde_json::{Value, json};
use tollgate_testkit::{Browser, Gateway, RawClient, Recorder, Response, Script, Seen, Tab, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const PAGE: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

struct Bench {
    folder: tempfile::TempDir,
    idp: Service,
    gateway: Gateway,
    backend: Recorder,
    browser: OnceCell<Browser>,
}

/// An answer of the provider on its way to the gateway, and the cookies of who asked for it.
#[derive(Clone)]
struct Answer {
    response: String,
    state: Option<String>,
    cookies: String,
}

impl Bench {
    fn new() -> Self {
        Self::with("")
    }

    /// `session`: its settings.
    fn with(session: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let idp = Service::start("saml_idp.py", &[&folder.path().display().to_string(), "127.0.0.2"]);
        let (key, certificate) = (folder.path().join("sp.key"), folder.path().join("sp.crt"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=gateway",
            "-days",
            "2",
            "-keyout",
        ]);
        assert!(openssl.arg(&key).arg("-out").arg(&certificate).output().unwrap().status.success());
        let pem = folder.path().join("sp.pem");
        fs::write(&pem, fs::read_to_string(key).unwrap() + &fs::read_to_string(certificate).unwrap()).unwrap();
        let backend = Recorder::answering(|taken| Script::ok(taken, &String::from_utf8_lossy(&taken.head)));
        let config = format!(
            r#"
listen: {{ "{{{{http}}}}": http, "{{{{health}}}}": health }}
auth:
  staff:
    saml: {folder}/idp.xml
    key: "${{file:{folder}/sp.pem}}"
    session: {{ cookie: session, {session} }}
routes:
  /saml/**: {{ serve: login }}
  /app/**: {{ to: "{{{{backend}}}}", auth: staff, backend_token: {{ send: nothing, headers: {{ X-User: principal, X-Given: claims.given }} }} }}
  /mine/**: {{ to: "{{{{backend}}}}", auth: staff, allow: '"staff" in claims.groups && claims.sub == "alice@example.com"' }}
  /granted/**: {{ to: "{{{{backend}}}}", auth: staff, allow: [admin] }}
  /: {{ reply: 200 home }}
"#,
            folder = folder.path().display()
        );
        let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
        let bench = Self { folder, idp, gateway, backend, browser: OnceCell::new() };
        // The provider gets to know the gateway as it would anywhere.
        let _ = bench.service();
        bench
    }

    fn base(&self) -> String {
        format!("http://{}", self.gateway.address())
    }

    fn at(&self, path: &str) -> String {
        self.base() + path
    }

    /// The provider, at a site of its own.
    fn idp(&self, path: &str) -> String {
        format!("http://{}{path}", self.idp.address.replace("127.0.0.1", "127.0.0.2"))
    }

    fn idp_is_told(&self, method: &str, path: &str, fields: &str, body: &str) -> Response {
        let host = self.idp.address.replace("127.0.0.1", "127.0.0.2");
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
        RawClient::connect(host.parse().unwrap()).call(&request)
    }

    /// What pysaml2 makes of the gateway's metadata.
    fn service(&self) -> Value {
        let read = self.idp_is_told("POST", &format!("/test/service?url={}", self.at("/saml/metadata")), "", "");
        assert_eq!(read.status, 200, "{}\n{}", read.text(), self.gateway.client().get("/saml/metadata").text());
        serde_json::from_str(&read.text()).unwrap()
    }

    fn sets(&self, how: &Value) {
        assert_eq!(self.idp_is_told("POST", "/test/set", "", &how.to_string()).status, 200);
    }

    /// What came of logouts, and of questions.
    fn told(&self) -> Vec<Value> {
        serde_json::from_str(&self.idp_is_told("GET", "/test/told", "", "").text()).unwrap()
    }

    fn tab(&self, name: &str) -> Tab<'_> {
        self.browser.get_or_init(Browser::start).tab(name)
    }

    /// Goes to a page and says at the provider who they are; the form that leads back is there.
    fn comes_to_form(&self, tab: &Tab<'_>, who: &str, url: &str) {
        let seen = tab.goto(url);
        assert!(seen.url.starts_with(&self.idp("/")), "it is at {}: {}", seen.url, seen.text);
        tab.fill("[name=name]", who);
        tab.fill("[name=password]", "any");
        tab.click("button");
        tab.appears("form:has([name=SAMLResponse])");
    }

    fn signs_in(&self, tab: &Tab<'_>, who: &str, path: &str) -> Seen {
        self.comes_to_form(tab, who, &self.at(path));
        tab.click("button");
        tab.arrives(&self.at(path))
    }

    fn cookies(&self, tab: &Tab<'_>) -> String {
        let ours = tab.cookies().into_iter().filter(|cookie| cookie.domain == "127.0.0.1");
        ours.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect::<Vec<_>>().join("; ")
    }

    fn session(&self, who: &str) -> String {
        let tab = self.tab(&format!("{who}/session"));
        let _ = self.signs_in(&tab, who, "/app/");
        self.cookies(&tab)
    }

    fn sends(&self, method: &str, target: &str, fields: &str, body: &str) -> Response {
        let length = if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let host = self.gateway.address();
        self.gateway.client().call(&format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n{body}"))
    }

    /// What a script is told that has these cookies.
    fn calls(&self, target: &str, cookies: &str) -> Response {
        self.sends("GET", target, &format!("Accept: application/json\r\nCookie: {cookies}\r\n"), "")
    }

    /// Signs in as far as the provider's answer, without a browser.
    fn answer(&self, who: &str) -> Answer {
        let sent = self.sends("GET", "/app/", PAGE, "");
        assert_eq!(sent.status, 302, "{}", sent.text());
        let cookies: Vec<String> =
            set_cookies(&sent).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let to = sent.one("location").unwrap();
        let page = self.idp_is_told("GET", to.strip_prefix(&self.idp("")).unwrap(), "", "");
        let mut fields = hidden(&page.text());
        fields.extend([("name".to_owned(), who.to_owned()), ("password".to_owned(), "any".to_owned())]);
        let page = hidden(&self.idp_is_told("POST", "/login", FORM, &form(&fields)).text());
        let value = |name: &str| page.iter().find(|(have, _)| have == name).map(|(_, value)| value.clone());
        Answer { response: value("SAMLResponse").unwrap(), state: value("RelayState"), cookies: cookies.join("; ") }
    }

    /// Brings an answer to the gateway.
    fn brings(&self, answer: &Answer) -> Response {
        let mut fields = vec![("SAMLResponse".to_owned(), answer.response.clone())];
        fields.extend(answer.state.iter().map(|state| ("RelayState".to_owned(), state.clone())));
        let more = format!(
            "{FORM}{PAGE}Origin: {}\r\nSec-Fetch-Site: cross-site\r\nCookie: {}\r\n",
            self.idp(""),
            answer.cookies
        );
        self.sends("POST", "/saml/acs", &more, &form(&fields))
    }
}

impl Answer {
    /// With its XML changed.
    fn changed(&self, change: impl FnOnce(String) -> String) -> Self {
        let xml = String::from_utf8(BASE64.decode(self.response.as_bytes()).unwrap()).unwrap();
        let after = change(xml.clone());
        assert_ne!(after, xml, "something has to be changed");
        Self { response: BASE64.encode(after.as_bytes()), ..self.clone() }
    }
}

/// The hidden fields of a page with a form.
fn hidden(page: &str) -> Vec<(String, String)> {
    let plain = |text: &str| {
        text.replace("&quot;", "\"")
            .replace("&#x27;", "'")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    };
    let fields = page.split("type=\"hidden\" name=\"").skip(1);
    fields
        .map(|field| {
            let (name, rest) = field.split_once("\" value=\"").unwrap();
            (plain(name), plain(rest.split_once('"').unwrap().0))
        })
        .collect()
}

fn form(fields: &[(String, String)]) -> String {
    let escaped = |text: &str| {
        text.bytes()
            .map(
                |byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") },
            )
            .collect::<String>()
    };
    fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect::<Vec<_>>().join("&")
}

fn set_cookies(answer: &Response) -> Vec<(String, String)> {
    let all = answer.all("set-cookie").into_iter();
    all.map(|line| {
        line.split(';')
            .next()
            .unwrap()
            .split_once('=')
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .unwrap()
    })
    .collect()
}

fn slug(answer: &Response) -> String {
    let problem: Value =
        serde_json::from_str(&answer.text()).unwrap_or_else(|_| panic!("{} {}", answer.status, answer.text()));
    problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
}

fn has_session(answer: &Response) -> bool {
    set_cookies(answer).iter().any(|(name, value)| name == "session" && !value.is_empty())
}

/// No session comes of it, for this reason.
fn is_refused(answer: &Response, expected: &[&str], what: &str) {
    assert!(!has_session(answer), "{what}: {:?}", set_cookies(answer));
    assert!(answer.status >= 400 && answer.status != 500, "{what}: {} {}", answer.status, answer.text());
    assert!(expected.contains(&slug(answer).as_str()), "{what}: {}", slug(answer));
}

#[test]
fn the_gateways_metadata_are_what_a_provider_needs() {
    let bench = Bench::new();
    let read = bench.service();
    assert_eq!(read["entity"], bench.at("/saml/metadata"));
    assert_eq!(read["consumers"], json!([bench.at("/saml/acs")]));
    assert_eq!(read["logouts"], json!([bench.at("/saml/slo")]));
    assert!(read["type"].as_str().unwrap().starts_with("application/samlmetadata+xml"), "{read}");
    let text = read["text"].as_str().unwrap();
    assert!(text.contains("X509Certificate") && !text.contains("PRIVATE KEY"), "{text}");
}

#[test]
fn whoever_goes_to_a_page_signs_in_by_saml_and_comes_back_to_it() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    let path = "/app/page?a=1&b=x%2Fy";
    let seen = bench.signs_in(&tab, "alice", path);
    assert_eq!(seen.url, bench.at(path));
    let text = seen.text.to_lowercase();
    assert!(text.contains("x-user: alice@example.com\n") && text.contains("x-given: alice\n"), "{text}");
    assert!(!text.contains("cookie:"), "{text}");
    let told = bench.told();
    assert!(told.len() == 1 && told[0]["signed"] == true, "the gateway signs what it asks: {told:?}");
    let kept: Vec<_> = tab.cookies().into_iter().filter(|cookie| cookie.domain == "127.0.0.1").collect();
    assert_eq!(kept.len(), 1, "that of the sign-in under way is gone: {kept:?}");
    assert!(kept[0].name == "session" && kept[0].http_only && kept[0].same_site == "Lax", "{kept:?}");
    assert_eq!(tab.goto(&bench.at("/mine/")).status, 200, "attributes are claims");
    assert_eq!(tab.goto(&bench.at("/granted/")).status, 403, "but no attribute grants anything");
    let posted = tab.fetch("/app/form", &json!({ "method": "POST", "body": "a=b" }));
    assert!(posted.status == 200 && posted.text.starts_with("POST /app/form"), "{}", posted.text);
    let bob = bench.tab("bob/1");
    let _ = bench.signs_in(&bob, "bob", "/app/");
    assert_eq!(bob.goto(&bench.at("/mine/")).status, 403);
}

#[test]
fn a_script_without_a_session_is_told_so() {
    let bench = Bench::new();
    let told = bench.calls("/app/", "none=x");
    assert_eq!((told.status, slug(&told).as_str()), (401, "auth/missing"));
    let how = told.one("www-authenticate").unwrap();
    assert_eq!(how, "Cookie realm=\"staff\", form-action=\"/saml/login\", cookie-name=\"session\"");
    assert!(bench.backend.recorded().is_empty());
}

#[test]
fn an_assertion_can_be_encrypted_and_either_part_signed() {
    let bench = Bench::new();
    for (sign, encrypt) in
        [("assertion", true), ("response", true), ("both", true), ("response", false), ("both", false)]
    {
        bench.sets(&json!({ "sign": sign, "encrypt": encrypt }));
        let tab = bench.tab(&format!("{sign}-{encrypt}/1"));
        let seen = bench.signs_in(&tab, "alice", "/app/");
        assert!(seen.text.to_lowercase().contains("x-user: alice@example.com"), "{sign} {encrypt}: {}", seen.text);
    }
    for encrypt in [true, false] {
        bench.sets(&json!({ "sign": "nothing", "encrypt": encrypt }));
        is_refused(&bench.brings(&bench.answer("alice")), &["saml/signature"], "nothing is signed");
    }
}

#[test]
fn a_session_by_saml_outlives_the_process_and_is_spread_over_cookies() {
    let mut bench = Bench::new();
    let session = bench.session("large");
    assert!(session.split("; ").count() > 1, "{}", session.len());
    assert_eq!(bench.calls("/app/", &session).status, 200);
    bench.gateway.restart(TOLLGATE);
    assert_eq!(bench.calls("/app/", &session).status, 200);
}

#[test]
fn an_answer_is_good_once() {
    let bench = Bench::new();
    let answer = bench.answer("alice");
    let done = bench.brings(&answer);
    assert!([302, 303].contains(&done.status) && has_session(&done), "{} {}", done.status, done.text());
    assert_eq!(done.one("location").unwrap().trim_start_matches(&bench.base()), "/app/");
    is_refused(&bench.brings(&answer), &["saml/replayed", "login/state"], "a second time");
    let another = bench.answer("alice");
    let moved = Answer { response: answer.response, ..another };
    is_refused(&bench.brings(&moved), &["saml/replayed", "saml/recipient"], "for another question");
}

#[test]
fn an_answer_to_nobodys_question_is_refused() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    bench.comes_to_form(&tab, "alice", &bench.idp("/start"));
    tab.click("button");
    let _ = tab.arrives(&bench.at("/saml/"));
    let told = bench
        .gateway
        .access_line("the answer", |line| line["method"] == "POST" && line["status"].as_u64() >= Some(400));
    assert_ne!(told["status"], 500);
    let kept: Vec<_> = tab.cookies().into_iter().filter(|cookie| cookie.name == "session").collect();
    assert_eq!(kept, []);
    bench.comes_to_form(&tab, "alice", &bench.idp("/start?RelayState=/app/"));
    tab.click("button");
    let _ = tab.arrives(&bench.at("/saml/"));
    assert!(tab.cookies().iter().all(|cookie| cookie.name != "session"));
}

#[test]
fn an_answer_is_good_only_for_who_asked() {
    let bench = Bench::new();
    let (alice, mallory) = (bench.answer("alice"), bench.answer("mallory"));
    let stranger = bench.brings(&Answer { cookies: "none=x".to_owned(), ..mallory.clone() });
    assert!(!has_session(&stranger) && ![302, 303].contains(&stranger.status), "{}", stranger.status);
    let state = ["login/state", "saml/recipient"];
    is_refused(
        &bench.brings(&Answer { cookies: alice.cookies.clone(), ..mallory.clone() }),
        &state,
        "an attacker's, whole",
    );
    is_refused(
        &bench.brings(&Answer { response: mallory.response.clone(), ..alice.clone() }),
        &state,
        "an attacker's answer",
    );
    for forged in [
        Some(String::new()),
        Some("/app/".to_owned()),
        Some("https://evil.example/".to_owned()),
        mallory.state.clone(),
        None,
    ] {
        let wrong = Answer { state: forged.clone(), ..bench.answer("alice") };
        is_refused(&bench.brings(&wrong), &state, &format!("{forged:?}"));
    }
    let tab = bench.tab("alice/1");
    bench.comes_to_form(&tab, "alice", &bench.at("/app/"));
    let _ = tab.evaluate("document.querySelector('[name=RelayState]').value = 'another'");
    tab.click("button");
    let _ = tab.arrives(&bench.at("/saml/"));
    assert!(tab.cookies().iter().all(|cookie| cookie.name != "session"));
}

#[test]
fn an_answer_that_was_changed_is_refused() {
    let bench = Bench::new();
    bench.sets(&json!({ "sign": "both" }));
    let refused = ["saml/signature", "saml/malformed"];
    let change = |change: fn(String) -> String, what: &str| {
        is_refused(&bench.brings(&bench.answer("alice").changed(change)), &refused, what)
    };
    change(|xml| xml.replace("alice@", "root@"), "another name");
    change(|xml| xml.replace("alice@example.com", "alice@example.com<!---->.evil.example"), "a comment in the name");
    change(|xml| xml.replace("staff", "admin"), "another attribute");
    change(
        |xml| xml.replacen("<ns", "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><ns", 1),
        "a document type",
    );
    change(|xml| xml[..xml.len() / 2].to_owned(), "half of it");
    change(|xml| xml.replace("Signature", "Signatur"), "no signature");
    change(|xml| xml.replace(":Assertion ", ":Assertion Extra=\"1\" "), "one attribute of XML more");
    for garbage in ["", "x", "%%%", "PHg+", "PHg+PC94Pg==", "AAAA", "////"] {
        let answer = Answer { response: garbage.to_owned(), ..bench.answer("alice") };
        is_refused(&bench.brings(&answer), &refused, garbage);
    }
    let huge = Answer { response: "QUFB".repeat(2 << 20), ..bench.answer("alice") };
    let told = bench.brings(&huge);
    assert!(!has_session(&told) && told.status >= 400 && told.status != 500, "{}", told.status);
    let without =
        bench.sends("POST", "/saml/acs", &format!("{FORM}{PAGE}Cookie: {}\r\n", bench.answer("alice").cookies), "a=b");
    assert!((400..500).contains(&without.status), "{}", without.status);
    assert!(has_session(&bench.brings(&bench.answer("alice"))), "and one that was not is taken");
}

#[test]
fn a_sign_in_by_saml_leads_nowhere_but_to_this_host() {
    let bench = Bench::new();
    for to in [
        "//evil.example",
        "https://evil.example",
        "/%5Cevil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "evil.example",
    ] {
        let tab = bench.tab(&format!("{}/1", to.replace('/', "-")));
        let seen = tab.goto(&bench.at(&format!("/saml/login?to={to}")));
        if seen.url.starts_with(&bench.idp("/")) {
            tab.fill("[name=name]", "alice");
            tab.click("button");
            tab.appears("form:has([name=SAMLResponse])");
            tab.click("button");
            let _ = tab.arrives(&bench.at("/"));
        }
        assert!(tab.url().starts_with(&bench.at("/")), "{to}: {}", tab.url());
    }
}

#[test]
fn a_logout_here_ends_the_session_at_the_provider_too() {
    let bench = Bench::new();
    let tab = bench.tab("alice/1");
    let _ = bench.signs_in(&tab, "alice", "/app/");
    let copy = bench.cookies(&tab);
    let seen = tab.goto(&bench.at("/saml/logout"));
    assert_eq!((seen.url, seen.text.as_str()), (bench.at("/"), "home"));
    assert_eq!(bench.cookies(&tab), "");
    let ended = bench.told().into_iter().find(|one| !one["ended"].is_null()).unwrap();
    assert_eq!((&ended["ended"], &ended["signed"]), (&"alice@example.com".into(), &true.into()));
    assert_eq!(ended["indexes"].as_array().unwrap().len(), 1, "that session, not all: {ended}");
    assert_eq!(bench.calls("/app/", &copy).status, 401, "a copy of the cookie that was taken before");
}

#[test]
fn a_logout_at_the_provider_ends_the_session_here() {
    let bench = Bench::new();
    let (bob, alice) = (bench.session("bob"), bench.session("alice"));
    let tab = bench.tab("alice/session");
    let seen = tab.goto(&bench.idp("/end"));
    assert_eq!(seen.text, "Signed out", "it is at {}", seen.url);
    let answered = bench.told().into_iter().find(|one| !one["answered"].is_null()).unwrap();
    assert_eq!((&answered["answered"], &answered["signed"]), (&"Success".into(), &true.into()));
    assert_eq!(answered["state"], "of the provider");
    assert_eq!(bench.calls("/app/", &alice).status, 401);
    assert_eq!(bench.calls("/app/", &bob).status, 200, "and nobody else's");
}

#[test]
fn a_logout_that_the_provider_did_not_sign_ends_nothing() {
    let bench = Bench::new();
    let session = bench.session("alice");
    let sent = bench.idp_is_told("GET", "/end", "", "").one("location").unwrap();
    let target = sent.strip_prefix(&bench.base()).unwrap();
    let (signed, signature) = target.split_once("&Signature=").unwrap();
    let unsigned = signed.split_once("&SigAlg=").unwrap().0;
    let tab_fields = format!("{PAGE}Cookie: {session}\r\n");
    let changed = format!("{}&Signature={signature}", signed.replace("RelayState=", "RelayState=x"));
    for (target, what) in [
        (signed, "no signature"),
        (unsigned, "nothing of it"),
        (&changed, "changed"),
        ("/saml/slo", "nothing"),
        ("/saml/slo?SAMLRequest=x", "garbage"),
    ] {
        let told = bench.sends("GET", target, &tab_fields, "");
        assert!((400..500).contains(&told.status), "{what}: {} {}", told.status, told.text());
        assert_eq!(bench.calls("/app/", &session).status, 200, "{what}");
    }
    let told = bench.sends("GET", target, &tab_fields, "");
    assert!([302, 303].contains(&told.status), "{} {}", told.status, told.text());
    assert_eq!(bench.calls("/app/", &session).status, 401, "as it was sent, it ends it");
}

#[test]
fn a_new_key_of_the_provider_is_taken_from_its_metadata() {
    let bench = Bench::new();
    let session = bench.session("alice");
    bench.sets(&json!({ "key": "two" }));
    is_refused(&bench.brings(&bench.answer("alice")), &["saml/signature"], "a key that its metadata do not have");
    bench.sets(&json!({ "published": ["one", "two"] }));
    wait_until("the new key is taken", || has_session(&bench.brings(&bench.answer("alice"))));
    bench.sets(&json!({ "key": "one" }));
    assert!(has_session(&bench.brings(&bench.answer("alice"))), "the old one holds beside it");
    bench.sets(&json!({ "published": ["two"] }));
    wait_until("the old key is taken no more", || !has_session(&bench.brings(&bench.answer("alice"))));
    bench.sets(&json!({ "key": "two" }));
    fs::write(bench.folder.path().join("idp.xml"), "<half").unwrap();
    wait_until("a file that is none is told of", || bench.gateway.log().contains("idp.xml"));
    assert!(has_session(&bench.brings(&bench.answer("alice"))), "what was known holds");
    assert_eq!(bench.calls("/app/", &session).status, 200, "sessions stay");
}

#[test]
fn no_secret_of_a_sign_in_by_saml_is_told_anywhere() {
    let bench = Bench::new();
    let answer = bench.answer("alice");
    let refused = bench.brings(&Answer { state: Some("x".to_owned()), ..answer.clone() });
    let done = bench.brings(&answer);
    let session = set_cookies(&done).into_iter().find(|(name, _)| name == "session").unwrap().1;
    let again = bench.brings(&answer);
    let forged = bench.calls("/app/", &format!("session=x{}", &session[1..]));
    let _ = bench.gateway.access_line("the last", |line| line["status"] == 401);
    let told = [
        bench.gateway.log(),
        bench.gateway.health("/metrics").text(),
        bench.gateway.status().to_string(),
        refused.text(),
        again.text(),
        forged.text(),
    ]
    .concat();
    let under_way = answer.cookies.split_once('=').unwrap().1;
    for (secret, what) in [
        (&answer.response[..60], "the answer"),
        (&answer.response[2000..2040], "a part of the answer"),
        (&session[..40], "the session"),
        (&under_way[..under_way.len().min(40)], "the mark of who asked"),
        ("PRIVATE KEY", "the key"),
    ] {
        assert!(!told.contains(secret), "{what} is told");
    }
}
