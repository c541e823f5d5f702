use std::fs;
use std::path::Path;

use tollgate_core::head::Version;
use tollgate_testkit::bench::{Bench, Outcome};

use super::*;

const BROWSER: [(&str, &str); 2] = [("User-Agent", "Mozilla/5.0 Firefox/130.0"), ("Accept", "*/*")];
const ATTACK: &str = "/?id=1'%20OR%20'1'='1";

fn ask(yaml: &str, target: &str) -> Outcome {
    Bench::of::<WafConfig>(yaml).request("GET", target, &BROWSER)
}

/// A file of rules, in a folder that ends with the test.
fn file(rules: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.conf");
    fs::write(&path, rules).unwrap();
    let name = path.display().to_string();
    (folder, name)
}

#[test]
fn attacks_are_refused_and_the_answer_tells_no_rule() {
    let refused = ask("crs", ATTACK).refused_with("waf/blocked").replies(403);
    let told = refused.problem().to_string();
    assert!(!told.contains("942") && !told.contains("score"), "{told}");
    let _ = ask("crs", "/search?q=red+shoes&page=2").passes();
}

#[test]
fn what_apis_do_is_allowed() {
    let bench = Bench::of::<WafConfig>("crs");
    for method in ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"] {
        let _ = bench.request(method, "/orders/1", &[BROWSER[0], BROWSER[1], ("Content-Length", "0")]).passes();
    }
    let _ = bench.request("PROPFIND", "/", &BROWSER).refused_with("waf/blocked");
    for content_type in
        ["application/json", "application/merge-patch+json", "application/atom+xml", "text/json; charset=utf-8"]
    {
        let fields = [BROWSER[0], BROWSER[1], ("Content-Type", content_type), ("Content-Length", "0")];
        let _ = bench.request("PUT", "/orders/1", &fields).passes();
    }
    let other = [BROWSER[0], BROWSER[1], ("Content-Type", "application/x-other"), ("Content-Length", "0")];
    let _ = bench.request("PUT", "/", &other).refused_with("waf/blocked");
}

#[test]
fn the_threshold_the_level_and_what_is_left_out_are_those_of_the_route() {
    for (yaml, target, is_refused) in [
        ("crs", ATTACK, true),
        ("{ rules: crs, threshold: 6 }", ATTACK, false),
        ("{ rules: crs, exclude: 942100 }", ATTACK, false),
        ("{ exclude: [942100] }", ATTACK, false),
        ("{ exclude: [942000-942099] }", ATTACK, true),
        ("{ exclude: [{ rule: 942100, path: /search/** }] }", ATTACK, true),
        ("{ exclude: [{ rule: 942100, path: /search/** }] }", "/search/a?id=1'%20OR%20'1'='1", false),
        ("{ exclude: [{ tag: attack-sqli, argument: id }] }", ATTACK, false),
        ("{ exclude: [{ tag: attack-sqli, argument: [q, i*] }] }", ATTACK, false),
        ("{ exclude: [{ tag: attack-sqli, argument: q }] }", ATTACK, true),
        ("{ exclude: [{ rule: 942100, header: id, cookie: id }] }", ATTACK, true),
        // A rule of level 2: two operators in a row.
        ("{ paranoia: 1 }", "/?x=1%2520", false),
        ("{ paranoia: 2, threshold: 3 }", "/?x=1%2520", true),
    ] {
        assert_eq!(ask(yaml, target).is_refused(), is_refused, "{yaml} {target}");
    }
}

#[test]
fn who_only_looks_on_tells_what_it_would_refuse_and_why() {
    let passed = ask("{ rules: crs, shadow: true }", ATTACK).passes();
    let trail = &passed.exchange().trail;
    assert_eq!(trail.shadow.map(|fault| fault.slug), Some("waf/blocked"));
    assert_eq!(trail.cause.as_deref(), Some("942100 (ARGS:id); score 5, refused from 5"));
    assert!(ask("{ rules: crs, shadow: true }", "/").exchange().trail.shadow.is_none());
}

#[test]
fn bodies_are_wanted_up_to_a_bound_and_calls_of_grpc_are_not() {
    let policy = |yaml: &str| {
        let node = WafConfig::desugar(tollgate_config::read("x", yaml).unwrap());
        let mut cx = tollgate_core::decode::DecodeCx::default();
        let built = (KIND.build)(
            &node,
            &mut cx,
            &BuildCx {
                route: &tollgate_core::facts::Route::default(),
                sources: &tollgate_testkit::bench::sources(&[]),
                place: tollgate_core::policy::Place::Route,
            },
        );
        built.unwrap().remove(0).1
    };
    let refusing = policy("{ body: 1000 }");
    let shadow = policy("{ body: 1000, shadow: true }");
    let (one, two) = (Version::Http11, Version::Http2);
    for (version, fields, wanted, wanted_in_shadow) in [
        (one, vec![], None, None),
        (one, vec![("Content-Length", "1000")], Some(1000), Some(1000)),
        // Refused for its size, unless nobody is.
        (one, vec![("Content-Length", "1001")], Some(1000), None),
        (one, vec![("Transfer-Encoding", "chunked")], Some(1000), None),
        (two, vec![("Transfer-Encoding", "chunked"), ("Content-Type", "application/grpc+proto")], None, None),
        // There is no gRPC over HTTP/1.1: it only calls itself that.
        (one, vec![("Transfer-Encoding", "chunked"), ("Content-Type", "application/grpc+proto")], Some(1000), None),
    ] {
        let mut x = tollgate_testkit::bench::exchange("POST", "/", &fields);
        x.head.version = version;
        assert_eq!((refusing.wants_content(&x), shadow.wants_content(&x)), (wanted, wanted_in_shadow), "{fields:?}");
    }
}

#[test]
fn rules_of_ones_own_are_files_and_their_mistakes_have_a_place() {
    let (_folder, name) = file("SecRule ARGS:x \"@streq evil\" \"id:1,phase:2,deny,log,msg:'no'\"\n");
    let yaml = format!("{{ rules: [{name}] }}");
    let refused = ask(&yaml, "/?x=evil").refused_with("waf/blocked");
    assert_eq!(refused.exchange().trail.fault.map(|fault| fault.slug), Some("waf/blocked"));
    let _ = ask(&yaml, "/?x=good").passes();
    let told = |rules: &str| {
        let (_folder, name) = file(rules);
        let told = Bench::mistakes::<WafConfig>(&format!("{{ rules: [{name}] }}")).join("; ");
        told.replace(&name, "own.conf")
    };
    assert_eq!(
        told("SecRule ARGS \"@rxx x\" \"id:1\"\n"),
        "own.conf:1:15: there is no operator `@rxx` here: did you mean `@rx`? (a rule is left out by its number: `exclude: [NUMBER]`, or \
         `SecRuleRemoveById`)"
    );
    assert_eq!(told("\nSecRulez\n"), "own.conf:2:1: there is no directive `SecRulez` here");
    assert!(told("SecRule \"x\n").starts_with("own.conf:1:9: this `\"` has no end"));
}

#[test]
fn mistakes_say_what_to_write() {
    let told = |yaml: &str| Bench::mistakes::<WafConfig>(yaml).join("; ");
    assert!(
        told("no-such.conf").contains("there is no such file (`apt-get install modsecurity-crs`"),
        "{}",
        told("no-such.conf")
    );
    assert!(told("{ rules: ['none-*.conf'] }").contains("no file has such a name"));
    assert!(told("{ rules: [] }").contains("`waf: crs`"));
    assert!(told("{ exclude: [abc] }").contains("`abc` is no number of a rule"));
    assert!(told("{ exclude: [{ path: / }] }").contains("a rule, or by a tag"));
    assert!(told("{ exclude: [{ rule: 1, tag: x }] }").contains("a rule, or by a tag"));
    assert!(told("{ exclude: [{ rule: 1, path: 'x*' }] }").contains("`/search`, or `/search/**`"));
    assert!(told("{ exclude: [{ rule: 1, argument: '' }] }").contains("a name is missing here"));
    assert!(told("{ paranoia: 5 }").contains("out of range"));
}

#[test]
fn routes_of_one_config_share_their_rules() {
    let text = "a: crs\nb: { rules: crs, threshold: 7, exclude: [942100] }\nc: { rules: crs, paranoia: 2 }";
    let shared = |node: &tollgate_core::node::Node, key: &str| {
        let node = WafConfig::desugar(node.get(key).unwrap().value.clone());
        let mut cx = tollgate_core::decode::DecodeCx::default();
        let config = <WafConfig as tollgate_core::decode::Decode>::decode(&node, &mut cx).unwrap();
        files::shared(&config.rules, config.paranoia.map(Bounded::get)).unwrap()
    };
    let node = tollgate_config::read("x", text).unwrap();
    let (a, b, c) = (shared(&node, "a"), shared(&node, "b"), shared(&node, "c"));
    assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
    let again = tollgate_config::read("x", text).unwrap();
    assert!(!Arc::ptr_eq(&a, &shared(&again, "a")), "another text reads them anew");
}

#[test]
fn explain_says_what_is_run_and_what_is_not() {
    let told = Bench::of::<WafConfig>("{ exclude: [942100, 999999], shadow: true, paranoia: 1 }").describe().remove(0);
    assert!(told.starts_with("447 rules of crs; bodies to 131072 bytes; 77 rules of higher levels"), "{told}");
    assert!(told.contains("; not run, for want of a memory, answers, or others to ask: 910000, 910100, "), "{told}");
    assert!(told.ends_with("; left out and not there: 999999 (shadow: refuses nobody)"), "{told}");
    assert!(Path::new("/usr/share/modsecurity-crs").exists());
}
