//! E2: a path has one form, and no way of writing it leads around a rule.

use tollgate_testkit::recorder::{Taken, shown};
use tollgate_testkit::{Gateway, RawClient, Recorder, Response, Script};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A gateway with these sections beside its listeners.
fn gateway(sections: &str, backends: &[(&str, &Recorder)]) -> Gateway {
    let config = format!("listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n{sections}");
    let values: Vec<(&str, String)> = backends.iter().map(|(name, b)| (*name, b.address().to_string())).collect();
    Gateway::start(TOLLGATE, &config, &values)
}

/// A backend that answers with the target it was asked for.
fn mirror() -> Recorder {
    Recorder::answering(|taken: &Taken| Script::ok(taken, &taken.target))
}

/// Asks with this method and these further fields (each with its line end).
fn ask(client: &mut RawClient, method: &str, target: &str, fields: &str) -> Response {
    client.call(&format!("{method} {target} HTTP/1.1\r\nHost: gateway.test\r\n{fields}\r\n"))
}

#[test]
fn a_path_with_a_slash_at_its_end_is_another_path() {
    let gateway = gateway("routes: { /a: { reply: 200 without }, /a/: { reply: 200 with }, /b: { reply: 204 } }", &[]);
    let mut client = gateway.client();
    assert_eq!(client.get("/a").text(), "without");
    assert_eq!(client.get("/a/").text(), "with");
    assert_eq!((client.get("/b").status, client.get("/b/").status), (204, 404));
}

#[test]
fn strip_and_rewrite_change_the_path_and_nothing_else() {
    let backend = mirror();
    let routes = r#"
routes:
  /legacy/v1/**: { to: "{{backend}}", strip: /legacy/v1 }
  /stock/{item}: { to: "{{backend}}", rewrite: "/items/{item}" }
  /by/{a}/{b}/**: { to: "{{backend}}", rewrite: "/{b}/{a}/x/{**}" }
  /fixed: { to: "{{backend}}", rewrite: /other }
"#;
    let gateway = gateway(routes, &[("backend", &backend)]);
    let mut client = gateway.client();
    for (target, sent) in [
        ("/legacy/v1/a/b?c=/legacy/v1&d", "/a/b?c=/legacy/v1&d"),
        ("/legacy/v1", "/"),
        ("/legacy/v1/", "/"),
        ("/legacy/v1/a/", "/a/"),
        ("/stock/7?x=1", "/items/7?x=1"),
        ("/stock/a%2Fb", "/items/a%2Fb"),
        ("/stock/%41%20b", "/items/A%20b"),
        ("/by/1/2/c/d", "/2/1/x/c/d"),
        ("/by/1/2/c/", "/2/1/x/c/"),
        ("/fixed?q", "/other?q"),
    ] {
        assert_eq!(client.get(target).text(), sent, "{target}");
    }
    assert_eq!(client.get("/legacy/v10/a").status, 404, "whole segments only");
}

#[test]
fn what_was_matched_is_what_is_sent_on() {
    let backend = mirror();
    let gateway = gateway("routes: { /**: \"{{backend}}\" }", &[("backend", &backend)]);
    let mut client = gateway.client();
    for (target, sent) in [
        ("/a/./b/../c//d%41?x=../..//", "/a/c/dA?x=../..//"),
        ("/a%2fb", "/a%2Fb"),
        ("/%7e%3a/%c3%a9", "/~:/%C3%A9"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a{b}", "/a%7Bb%7D"),
        ("/Case", "/Case"),
        ("/%2525", "/%2525"),
    ] {
        assert_eq!(client.get(target).text(), sent, "{target}");
    }
}

#[test]
fn no_way_of_writing_a_path_walks_around_a_route() {
    let backend = mirror();
    let routes = "routes: { /**: \"{{backend}}\", /admin/**: { reply: 403 } }";
    let gateway = gateway(routes, &[("backend", &backend)]);
    for target in [
        "/admin",
        "/admin/",
        "//admin/x",
        "/./admin/x",
        "/x/../admin/x",
        "/%61dmin/x",
        "/x/%2e%2e/admin/x",
        "/x/.%2E/%61%64min",
        "/admin//",
        "/x//../admin",
    ] {
        assert_eq!(gateway.client().get(target).status, 403, "{target}");
    }
    for target in [
        "/x/..%2Fadmin",
        "/x/..;/admin",
        "/x/%252e%252e/admin",
        "/..%5cadmin",
        "/x\\..\\admin",
        "/admin%00",
        "/../admin",
        "/x//../../admin",
        "/x/%c0%ae%c0%ae/admin",
        "/x/%2",
    ] {
        assert_eq!(gateway.client().get(target).status, 400, "{target}");
    }
    assert_eq!(shown(&backend.recorded()), "nothing", "nothing was sent on");
}

/// Servlet containers drop `;x`, and some servers decode `%2F`: what they then read must not be another route's.
#[test]
fn a_path_that_services_read_differently_is_no_way_around_a_rule() {
    let backend = mirror();
    let routes = r#"
routes:
  /**: "{{b}}"
  /admin/**: { reply: 204 }
  /files/{name}: "{{b}}"
  /files/secret/**: { to: "{{b}}", when: 'header("X-Key") == "1"' }
  POST /items/new/all: "{{b}}"
  /items/{id}: "{{b}}"
"#;
    let asked = |paths: &str, requests: &[(&str, u16)]| {
        let gateway = gateway(&format!("{paths}\n{routes}"), &[("b", &backend)]);
        let mut client = gateway.client();
        for (target, status) in requests {
            let answer = ask(&mut client, "GET", target, "");
            assert_eq!(answer.status, *status, "{paths:?} {target}");
            match status {
                200 => assert_eq!(answer.text(), *target),
                400 => assert_eq!(answer.json()["type"], "urn:tollgate:problem:route/path-readings", "{target}"),
                _ => {}
            }
        }
    };
    asked(
        "",
        &[
            ("/admin/x", 204),
            ("/admin;x/secret", 400),
            ("/admin%2Fsecret", 400),
            ("/shop;v=1/a%2Fb?x=;%2F", 200),
            // Of the same route, and of none: nobody is walked around.
            ("/files/a;v=1", 200),
            ("/admin/x;y%2Fz", 204),
            // A route whose condition does not hold is a rule all the same, and so is one for another method.
            ("/files/secret%2Fkey", 400),
            ("/items/new%2Fall", 400),
        ],
    );
    asked("paths: { parameters: keep }", &[("/admin;x/secret", 200), ("/admin%2Fsecret", 400)]);
    asked("paths: { encoded_slashes: keep }", &[("/admin;x/secret", 400), ("/admin%2Fsecret", 200)]);
    let refuse = "paths: { parameters: refuse, encoded_slashes: refuse }";
    asked(refuse, &[("/shop;v=1/a", 400), ("/shop/a%2Fb", 400), ("/shop/a%20b", 200), ("/shop?a=;%2F", 200)]);
}
