//! What is sent, as pysaml2 reads it (`testdata/saml/check.py`), and what pysaml2 sends when a session ends.

use proptest::prelude::*;
use std::sync::Arc;

use super::*;

const SLO: &str = "https://gateway.example/saml/slo";

fn service(key_names: &[&str]) -> Service {
    Service {
        entity_id: "https://gateway.example/saml".to_owned(),
        assertion_consumer: ACS.to_owned(),
        logout: Some(SLO.to_owned()),
        keys: Arc::new(key_names.iter().map(|name| key(name)).collect()),
        name_id_format: Some("urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress".to_owned()),
        signed: MustBeSigned::Assertion,
    }
}

fn name_id() -> NameId {
    let service_qualifier = Some("https://gateway.example/saml".to_owned());
    NameId { value: "alice & <co>".to_owned(), format: None, qualifier: None, service_qualifier }
}

/// The same as it was when pysaml2 read it. `TOLLGATE_BLESS=1` writes it anew: then `check.py` has to be run again.
#[track_caller]
fn golden(name: &str, text: &str) {
    let path = format!("{}/testdata/saml/sent/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, data(&format!("sent/{name}")), "{name}");
}

fn text(sent: Sent) -> String {
    match sent {
        Sent::Redirect(address) => address,
        Sent::Page(page) => page.html,
    }
}

/// What a browser does with a page: the fields of its form.
fn submitted(page: &str) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for input in page.split("<input ").skip(1) {
        let field = |name: &str| input.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap();
        let plain =
            field("value").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        form.append_pair(field("name"), &plain);
    }
    form.finish()
}

fn brought(sent: Sent) -> Brought {
    match sent {
        Sent::Redirect(address) => Brought::in_query(address.split_once('?').unwrap().1).unwrap(),
        Sent::Page(page) => Brought::in_form(&submitted(&page.html)).unwrap(),
    }
}

const WAYS: [(Binding, &str); 2] = [(Binding::Redirect, "redirect.txt"), (Binding::Post, "form.html")];

#[test]
fn what_is_sent_is_as_pysaml2_has_read_it() {
    let (service, provider) = (service(&["sp"]), provider());
    golden("metadata.xml", &service.metadata());
    let contexts = ["urn:oasis:names:tc:SAML:2.0:ac:classes:Password".to_owned()];
    let request = LogoutRequest { id: "id-logout".to_owned(), name_id: name_id(), sessions: Vec::new() };
    for (binding, kind) in WAYS {
        let state = Some("a&b=\"<c>\"");
        let how = SignIn { binding: Some(binding), state, user: User::SignsInAnew, contexts: &contexts };
        let asked = service.ask_as(&provider, &how, "_ask".to_owned(), at(NOW)).unwrap();
        assert_eq!(asked.id, "_ask");
        golden(&format!("sign-in-{kind}"), &text(asked.sent));
        let by = (state, Some(binding));
        let asked = service.end_session_as(&provider, &name_id(), Some("s1"), by, "_end".to_owned(), at(NOW)).unwrap();
        golden(&format!("logout-request-{kind}"), &text(asked.unwrap().sent));
        let sent =
            service.answer_logout_as(&provider, &request, Ended::Yes, by, "_answer".to_owned(), at(NOW)).unwrap();
        golden(&format!("logout-answer-{kind}"), &text(sent.unwrap()));
    }
}

#[test]
fn a_page_runs_its_own_script_alone_and_nothing_breaks_out_of_it() {
    let (service, mut provider) = (service(&[]), provider());
    provider.requests = Requests::Any;
    provider.sign_in[1].location = "https://idp.example/\"><script>alert(1)</script>".to_owned();
    let how = SignIn { binding: Some(Binding::Post), state: Some("'\"><script>x</script>"), ..SignIn::default() };
    let Sent::Page(page) = service.ask(&provider, &how, at(NOW)).unwrap().sent else { panic!() };
    assert_eq!(page.html.matches("<script>").count(), 1, "{}", page.html);
    let script = page.html.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, script.as_bytes());
    let allowed = format!("script-src 'sha256-{}'", BASE64.encode(digest.as_ref()));
    assert!(page.policy.starts_with("default-src 'none'; ") && page.policy.contains(&allowed), "{}", page.policy);
}

#[test]
fn what_cannot_be_sent_is_not() {
    let provider = provider();
    let why = service(&[]).ask(&provider, &SignIn::default(), at(NOW)).unwrap_err();
    assert!(why.contains("wants requests to be signed"), "{why}");
    assert!(service(&[]).end_session(&provider, &name_id(), None, None, at(NOW)).is_err());
    let long = "x".repeat(81);
    let how = SignIn { state: Some(&long), ..SignIn::default() };
    assert!(service(&["sp"]).ask(&provider, &how, at(NOW)).unwrap_err().contains("80 bytes"));
    let first = service(&["sp"]).ask(&provider, &SignIn::default(), at(NOW)).unwrap();
    assert_ne!(first.id, service(&["sp"]).ask(&provider, &SignIn::default(), at(NOW)).unwrap().id);
    let silent = Provider { logout: Vec::new(), ..provider };
    assert_eq!(service(&["sp"]).end_session(&silent, &name_id(), None, None, at(NOW)), Ok(None));
}

fn logout() -> Judge {
    Judge { recipient: SLO, ..Judge::new() }
}

#[test]
fn a_logout_of_pysaml2_is_understood() {
    for way in ["redirect", "form"] {
        let read = |kind: &str| {
            let text = data(&format!("logout-{kind}-{way}.txt"));
            if way == "redirect" { Brought::in_query(&text).unwrap() } else { Brought::in_form(&text).unwrap() }
        };
        let (judge, request) = (logout(), read("request"));
        assert_eq!((request.kind(), request.state()), (Kind::Request, Some("state & more")), "{way}");
        let told = judge.expected().judge_logout_request(&request, at(NOW)).unwrap();
        assert_eq!((told.name_id.value.as_str(), told.sessions.len()), ("alice@example.org", 2), "{way}");
        let answer = read("answer");
        assert_eq!(answer.kind(), Kind::Answer);
        let judged = |id: &'static str| {
            let judged = judge.expected().judge_logout_answer(&answer, Answers::Request(id), at(NOW));
            judged.map_or_else(|problem| problem.fault.slug, |()| "")
        };
        assert_eq!((judged("id-request"), judged("id-other")), ("", "saml/recipient"), "{way}");
        let mixed = judge.expected().judge_logout_request(&answer, at(NOW)).unwrap_err();
        assert_eq!(mixed.fault.slug, "saml/malformed", "{way}");
        let elsewhere = Judge::new();
        let problem = elsewhere.expected().judge_logout_request(&request, at(NOW)).unwrap_err();
        assert_eq!(problem.fault.slug, "saml/recipient", "{way}");
    }
}

/// Both sides of a logout, with keys of each kind: what we send, read as a provider would.
#[test]
fn what_we_sign_is_signed_in_both_ways() {
    for name in ["sp", "p256", "p384"] {
        for (binding, _) in WAYS {
            let by = (Some("x"), Some(binding));
            let asked =
                service(&[name]).end_session_as(&provider(), &name_id(), Some("s1"), by, "_e".to_owned(), at(NOW));
            let brought = brought(asked.unwrap().unwrap().sent);
            let us = |by: &str| {
                let certificates = vec![Certificate::from_der(key(by).certificate()).unwrap()];
                Provider { entity_id: "https://gateway.example/saml".to_owned(), certificates, ..provider() }
            };
            let (_, path) = (binding, if binding == Binding::Post { "post" } else { "redirect" });
            let recipient: &'static str = format!("https://idp.example/slo/{path}").leak();
            let judge = Judge { provider: us(name), recipient, ..Judge::new() };
            let told = judge.expected().judge_logout_request(&brought, at(NOW)).unwrap();
            assert_eq!((&told.name_id, &told.sessions[..]), (&name_id(), &["s1".to_owned()][..]), "{name}");
            let other = Judge { provider: us("other"), recipient, ..Judge::new() };
            let problem = other.expected().judge_logout_request(&brought, at(NOW)).unwrap_err();
            assert_eq!(problem.fault.slug, "saml/signature", "{name}");
        }
    }
}

#[test]
fn a_query_that_was_tampered_with_is_refused() {
    let good = data("logout-request-redirect.txt");
    let judged = |query: &str| match Brought::in_query(query) {
        Ok(brought) => {
            let judge = logout();
            let judged = judge.expected().judge_logout_request(&brought, at(NOW));
            judged.map_or_else(|problem| problem.fault.slug, |_| "")
        }
        Err(problem) => problem.fault.slug,
    };
    assert_eq!(judged(&good), "");
    let pair = |name: &str| good.split('&').find(|pair| pair.starts_with(name)).unwrap().to_owned();
    let unsigned = good.replace(&format!("&{}", pair("Signature")), "");
    for (name, query, slug) in [
        ("not signed", unsigned.clone(), "saml/signature"),
        ("another state", replaced(&good, "RelayState=state", "RelayState=other"), "saml/signature"),
        ("the state taken away", good.replace(&format!("&{}", pair("RelayState")), ""), "saml/signature"),
        (
            "SHA-1",
            replaced(&good, "2001%2F04%2Fxmldsig-more%23rsa-sha256", "2000%2F09%2Fxmldsig%23rsa-sha1"),
            "saml/signature",
        ),
        ("a message twice", format!("{good}&{}", pair("SAMLRequest")), "saml/malformed"),
        ("a state twice", format!("{good}&RelayState=x"), "saml/malformed"),
        ("an encoded name", replaced(&good, "RelayState=", "Relay%53tate="), "saml/malformed"),
        ("a request and an answer", format!("{good}&SAMLResponse=AAAA"), "saml/malformed"),
        ("nothing", String::new(), "saml/malformed"),
        ("no DEFLATE", "SAMLRequest=AAAA".to_owned(), "saml/malformed"),
        ("another encoding", format!("{good}&SAMLEncoding=x"), "saml/malformed"),
    ] {
        assert_eq!(judged(&query), slug, "{name}");
    }
    let form = data("logout-request-form.txt");
    let changed = Brought::in_form(&form.replace("SAMLRequest=P", "SAMLRequest=Q")).unwrap();
    assert!(logout().expected().judge_logout_request(&changed, at(NOW)).is_err());
}

#[test]
fn what_a_logout_says_has_to_fit() {
    let good = "<samlp:LogoutRequest xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" \
                xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"l1\" Version=\"2.0\" \
                IssueInstant=\"2026-01-01T00:00:00Z\" Destination=\"https://gateway.example/saml/slo\" \
                NotOnOrAfter=\"2026-01-01T00:10:00Z\"><saml:Issuer>https://idp.example/metadata</saml:Issuer>\
                <saml:NameID>alice</saml:NameID></samlp:LogoutRequest>";
    let slug = |text: &str| {
        let body = form(text.as_bytes()).replace("SAMLResponse", "SAMLRequest");
        let judged = logout().expected().judge_logout_request(&Brought::in_form(&body).unwrap(), at(NOW));
        judged.map_or_else(|problem| problem.fault.slug, |_| "")
    };
    assert_eq!(slug(good), "saml/signature");
    let another = "<samlp:Extensions><s:Signature xmlns:s=\"http://www.w3.org/2000/09/xmldsig#\"/></samlp:Extensions>";
    for (what, by, expected) in [
        ("ID=\"l1\"", "ID=\"l2\"", ""),
        ("00:10:00Z", "00:04:30Z", "saml/expired"),
        // Kept by somebody, it would end sessions that began long after it.
        ("2026-01-01T00:00:00Z", "2025-12-31T23:55:00Z", ""),
        ("2026-01-01T00:00:00Z", "2025-12-31T23:54:00Z", "saml/expired"),
        ("IssueInstant=\"2026", "IssueInstant=\"2027", "saml/not-yet-valid"),
        ("https://idp.example/metadata", "https://other.example", "saml/issuer"),
        (" Destination=\"https://gateway.example/saml/slo\"", "", "saml/recipient"),
        ("<saml:NameID>", &format!("{another}<saml:NameID>"), "saml/signature"),
        (
            "</samlp:LogoutRequest>",
            &format!("{}</samlp:LogoutRequest>", "<samlp:SessionIndex/>".repeat(101)),
            "saml/malformed",
        ),
    ] {
        assert_eq!(slug(&signed(&replaced(good, what, by))), expected, "{what} -> {by}");
    }
}

#[test]
fn what_unpacks_to_more_than_is_read_is_refused() {
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut deflate, &vec![b' '; 50_000_000]).unwrap();
    let packed = BASE64.encode(&deflate.finish().unwrap());
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("SAMLRequest", &packed).finish();
    let brought = Brought::in_query(&query).unwrap();
    let problem = logout().expected().judge_logout_request(&brought, at(NOW)).unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("more than 262144 bytes"));
}

proptest! {
    #[test]
    fn no_query_panics(query in "(SAMLRequest|SAMLResponse|RelayState|SigAlg|Signature|[%&=a+])[%&=a-zA-Z0-9+/]{0,80}") {
        for brought in [Brought::in_query(&query), Brought::in_form(&query)].into_iter().flatten() {
            let _ = logout().expected().judge_logout_request(&brought, at(NOW));
        }
    }
}
