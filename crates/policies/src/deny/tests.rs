use proptest::prelude::*;
use tollgate_testkit::bench::{Bench, Outcome};

use super::*;

fn ask(yaml: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> Outcome {
    Bench::of::<DenyConfig>(yaml).request(method, target, headers)
}

fn is_denied(yaml: &str, target: &str) -> bool {
    ask(yaml, "GET", target, &[("User-Agent", "Mozilla/5.0")]).is_refused()
}

#[test]
fn texts_are_compared_whole_by_glob_or_by_regular_expression() {
    for (path, target, is) in [
        ("/admin", "/admin", true),
        ("/admin", "/admin/x", false),
        ("/admin", "/Admin", false),
        ("/admin/**", "/admin", true),
        ("/admin/**", "/admin/a/b", true),
        ("/admin/**", "/administrator", false),
        ("'*.php'", "/a/b.php", true),
        ("'*.php'", "/a/b.php5", false),
        ("'/a?c'", "/abc", true),
        ("'/a?c'", "/ac", false),
        ("'/a.c'", "/abc", false),
        ("'~[0-9]{5}'", "/a/12345/b", true),
        ("'~^/[0-9]{5}$'", "/a/12345/b", false),
        ("['/a', '/b']", "/b", true),
        // The path is in its normal form.
        ("/admin/**", "/x/../admin/", true),
        ("/admin/**", "/%61dmin", true),
    ] {
        assert_eq!(is_denied(&format!("{{ path: {path} }}"), target), is, "{path} {target}");
    }
}

#[test]
fn a_rule_asks_for_all_that_it_names_and_one_rule_is_enough() {
    let yaml = "[{ path: /a/**, method: [POST, PUT] }, { headers: { X-A: '1*', X-B: '*' } }, { user_agent: ['', '*CURL*'], host: '*.example' }]";
    let browser = ("User-Agent", "Mozilla/5.0");
    for (method, target, headers, is) in [
        ("POST", "/a/1", &[browser][..], true),
        ("GET", "/a/1", &[browser], false),
        ("post", "/a/1", &[browser], false),
        ("GET", "/", &[browser, ("X-A", "12"), ("X-B", "x")], true),
        ("GET", "/", &[browser, ("X-A", "0"), ("x-a", "12"), ("x-b", "x")], true),
        ("GET", "/", &[browser, ("X-A", "21"), ("X-B", "x")], false),
        ("GET", "/", &[("User-Agent", "curl/8.1")], true),
        ("GET", "/", &[("User-Agent", "")], true),
        ("GET", "/", &[], true),
        ("GET", "/", &[browser], false),
        ("GET", "/", &[browser, ("X-A", "1")], false),
    ] {
        assert_eq!(ask(yaml, method, target, headers).is_refused(), is, "{method} {target} {headers:?}");
    }
}

#[test]
fn a_query_is_looked_at_as_written_and_decoded() {
    let yaml = "{ query: '*<script*' }";
    for (target, is) in [
        ("/?q=%3Cscript%3E", true),
        ("/?q=%3cSCRIPT+src", true),
        ("/?a=1&q=%3Cscri%70t", true),
        ("/?q=script", false),
        ("/", false),
    ] {
        assert_eq!(is_denied(yaml, target), is, "{target}");
    }
}

#[test]
fn probes_are_refused_and_honest_requests_are_not() {
    for target in [
        "/.env",
        "/app/.git/config",
        "/.aws/credentials",
        "/wp-login.php",
        "/blog/wp-admin/",
        "/phpmyadmin/index.php",
        "/cgi-bin/test.cgi",
        "/vendor/phpunit/src/Util/PHP/eval-stdin.php",
        "/backup.sql",
        "/www.zip",
        "/index.php.bak",
        "/?f=../../../../etc/passwd",
        "/?q=%3Cscript%3Ealert(1)",
        "/?id=1+UNION+ALL+SELECT+2",
        "/?x=%24%7Bjndi:ldap://x%7D",
        "/?cmd=;wget%20http://x",
        "/server-status",
    ] {
        assert!(is_denied("probes", target), "{target}");
    }
    for target in [
        "/",
        "/orders/1?select=name&union=eu",
        "/.well-known/openid-configuration",
        "/.well-known/acme-challenge/x",
        "/environment",
        "/blog/why-wordpress?q=wp",
        "/search?q=how+to+select+from+a+union+of+two",
        "/files/old/report.pdf",
        "/site/backup",
        "/api/v1/credentials2",
        "/a?x=1%2C2&y=%20z",
        "/docs/git/log",
        "/?redirect=https://shop.example/a",
        "/?q=sleep+well",
        "/manager",
        "/setup",
    ] {
        assert!(!is_denied("probes", target), "{target}");
    }
    let by = |agent: &str| ask("probes", "GET", "/", &[("User-Agent", agent)]).is_refused();
    assert!(by("sqlmap/1.7#stable") && by("Mozilla/5.00 (Nikto/2.1.6)") && by("${jndi:ldap://x/a}"));
    assert!(
        !by("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/139.0")
            && !by("curl/8.1")
            && !by("python-requests/2.32")
    );
}

#[test]
fn our_log_tells_the_rule_and_the_answer_does_not() {
    let refused =
        ask("{ rules: [{ path: /x, name: gone }] }", "GET", "/x", &[]).refused_with("deny/matched").replies(403);
    assert!(!refused.problem().to_string().contains("gone"));
    let shadow = ask("{ sets: [probes], shadow: true }", "GET", "/.env", &[]).passes();
    assert_eq!(shadow.exchange().trail.shadow.map(|fault| fault.slug), Some("deny/matched"));
    let told = |yaml| Bench::of::<DenyConfig>(yaml).describe().remove(0);
    assert_eq!(told("[{ path: /x, name: gone }, { path: /y }]"), "gone, rule 2");
    assert!(told("probes").ends_with(" rules"), "{}", told("probes"));
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml| Bench::mistakes::<DenyConfig>(yaml).join("; ");
    assert!(told("{ rules: [] }").contains("`deny: probes`"));
    assert!(told("{ rules: [{ name: x }] }").contains("asks for nothing"), "{}", told("{ rules: [{ name: x }] }"));
    assert!(told("{ path: admin }").contains("paths begin with `/`: `/admin`"));
    assert!(told("{ path: '~(' }").contains("no regular expression"));
    assert!(told("{ path: [] }").contains("a list of nothing"));
    assert!(told("prob").contains("did you mean `probes`?"), "{}", told("prob"));
    assert!(told("{ pth: /x }").contains("did you mean `path`?"), "{}", told("{ pth: /x }"));
}

proptest! {
    /// A glob means what it says, whatever stands in it.
    #[test]
    fn a_text_without_wildcards_fits_itself_alone(text in "[a-zA-Z0-9._~$&+(){}|^\\[\\]\\\\-]{1,20}", other in "[a-z.]{1,20}") {
        let regex = pattern::regex_of(&format!("/{text}"), &rules::Part::Path).unwrap();
        let regex = regex::bytes::Regex::new(&regex).unwrap();
        let fits = |text: &str| regex.is_match(format!("/{text}").as_bytes());
        prop_assert!(fits(&text));
        prop_assert_eq!(fits(&other), text == other);
    }
}
