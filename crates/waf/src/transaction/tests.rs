//! A few lines of rules, and what they say of a request.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::guard::Tuning;
use crate::ruleset::Ruleset;

fn guard(rules: &str) -> Guard {
    let rules = Ruleset::read("x.conf", rules).unwrap_or_else(|mistake| panic!("{mistake}"));
    Guard::new(Arc::new(rules), &Tuning::default()).unwrap_or_else(|mistake| panic!("{mistake}"))
}

fn told(rules: &str) -> String {
    let guard = Ruleset::read("x.conf", rules).and_then(|rules| Guard::new(Arc::new(rules), &Tuning::default()));
    guard.map_or_else(|mistake| mistake.to_string(), |_| "well".to_owned())
}

fn get(target: &str, headers: &[(&str, &str)]) -> Request {
    let host = [("Host", "shop.example")];
    let all = host.iter().chain(headers).map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    Request {
        method: "GET".to_owned(),
        target: target.as_bytes().to_vec(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        protocol: "HTTP/1.1",
        headers: all.collect(),
        client: Some([192, 0, 2, 1].into()),
        ..Request::default()
    }
}

fn post(content_type: &str, body: &str) -> Request {
    let mut request = get("/p?q=1", &[("Content-Type", content_type)]);
    request.method = "POST".to_owned();
    request.body = body.as_bytes().to_vec().into();
    request
}

/// The rules that tell something.
fn found(rules: &str, request: &Request) -> Vec<u64> {
    guard(rules).inspect(request).findings.into_iter().map(|finding| finding.rule).collect()
}

/// Whether a rule with this target and operator matches.
fn is_match(target: &str, operator: &str, actions: &str, request: &Request) -> bool {
    found(&format!("SecRule {target} \"{operator}\" \"id:1,phase:2,log,msg:x,{actions}\""), request) == [1]
}

#[test]
fn every_variable_is_what_it_says() {
    let form = post("application/x-www-form-urlencoded", "a=1&b=%3Cx&a=2");
    let file = "--X\r\nContent-Disposition: form-data; name=f; filename=\"a.php\"\r\nContent-Type: text/plain\r\n\r\nabc\r\n--X--";
    let multipart = post("multipart/form-data; boundary=X", file);
    let xml = post("text/xml", "<a b='1'>text</a>");
    let head = get("/a/b.c?x=1%202&y", &[("Cookie", "s=1; t =a=b"), ("X-A", "v"), ("X-A", "w")]);
    for (request, target, value) in [
        (&form, "ARGS:b", "<x"),
        (&form, "&ARGS:a", "2"),
        (&form, "&ARGS", "4"),
        (&form, "ARGS_GET:q", "1"),
        (&form, "&ARGS_GET", "1"),
        (&form, "&ARGS_POST", "3"),
        (&form, "ARGS_NAMES", "q"),
        (&form, "ARGS_POST_NAMES:b", "b"),
        (&form, "ARGS_COMBINED_SIZE", "9"),
        (&form, "REQUEST_BODY", "a=1&b=%3Cx&a=2"),
        (&form, "REQUEST_BODY_LENGTH", "14"),
        (&form, "REQBODY_PROCESSOR", "URLENCODED"),
        (&form, "REQBODY_ERROR", "0"),
        (&form, "REQUEST_METHOD", "POST"),
        (&multipart, "FILES:f", "a.php"),
        (&multipart, "FILES_NAMES", "f"),
        (&multipart, "FILES_SIZES", "3"),
        (&multipart, "FILES_COMBINED_SIZE", "3"),
        (&multipart, "MULTIPART_PART_HEADERS:f", "Content-Type: text/plain"),
        (&multipart, "MULTIPART_STRICT_ERROR", "0"),
        (&multipart, "REQUEST_BODY", ""),
        (&xml, "XML:/*", "text"),
        (&xml, "XML://@*", "1"),
        (&head, "ARGS:x", "1 2"),
        (&head, "&ARGS:y", "1"),
        (&head, "REQUEST_COOKIES:s", "1"),
        (&head, "REQUEST_COOKIES:t", "a=b"),
        (&head, "REQUEST_COOKIES_NAMES", "t"),
        (&head, "&REQUEST_HEADERS:x-a", "2"),
        (&head, "REQUEST_HEADERS:/^x-/", "w"),
        (&head, "REQUEST_HEADERS_NAMES", "X-A"),
        (&head, "QUERY_STRING", "x=1%202&y"),
        (&head, "REMOTE_ADDR", "192.0.2.1"),
        (&head, "REQUEST_BASENAME", "b.c"),
        (&head, "REQUEST_FILENAME", "/a/b.c"),
        (&head, "REQUEST_LINE", "GET /a/b.c?x=1%202&y HTTP/1.1"),
        (&head, "REQUEST_PROTOCOL", "HTTP/1.1"),
        (&head, "REQUEST_URI", "/a/b.c?x=1%202&y"),
    ] {
        assert!(is_match(target, &format!("@streq {value}"), "", request), "{target} {value}");
        assert!(!is_match(target, "@streq other", "", request), "{target}");
    }
}

#[test]
fn values_are_left_out_and_transformed() {
    let request = get("/?a=%25%41&b=B", &[]);
    assert!(is_match(
        "ARGS",
        "@streq a",
        "t:none,t:urlDecodeUni,t:lowercase,t:removeWhitespace",
        &get("/?x=%2541+", &[])
    ));
    assert!(is_match("ARGS", "@streq b", "t:lowercase", &request) && !is_match("ARGS", "@streq b", "", &request));
    assert!(
        !is_match("ARGS|!ARGS:b", "@streq B", "", &request) && !is_match("ARGS|!ARGS:/^b/", "@streq B", "", &request)
    );
    // What one transformation makes visible, another hides.
    let hidden = get("/?a=Ab", &[]);
    assert!(is_match("ARGS", "@streq Ab", "t:lowercase,multiMatch", &hidden));
    assert!(is_match("ARGS", "@streq ab", "t:lowercase,multiMatch", &hidden));
    assert!(!is_match("ARGS", "@streq Ab", "t:lowercase", &hidden));
    // Nothing is there: nothing matches, and nothing does not match.
    assert!(!is_match("ARGS:z", "!@streq x", "", &request) && is_match("ARGS:b", "!@streq x", "", &request));
}

#[test]
fn chains_need_all_and_each_link_acts_for_each_value() {
    let rules = "SecRule ARGS \"@rx ^(\\d)(\\d)$\" \"id:1,phase:2,capture,log,msg:x,chain,setvar:'tx.seen=+1'\"\n\
        SecRule TX:1 \"@lt %{tx.2}\" \"setvar:'tx.score=+5',chain\"\n\
        SecRule MATCHED_VARS \"@streq 1\" \"t:none\"\n\
        SecRule TX:SEEN \"@eq 2\" \"id:2,phase:2,log,msg:x\"\n\
        SecRule TX:score \"@eq 5\" \"id:3,phase:2,log,msg:x\"\n";
    assert_eq!(found(rules, &get("/?a=99&b=12", &[])), [1, 2, 3]);
    assert_eq!(found(rules, &get("/?a=99&b=21", &[])), [2], "the first link acted");
    let names = "SecRule ARGS \"@rx ^x\" \"id:1,phase:2,pass,chain,setvar:'tx.n_%{MATCHED_VAR_NAME}=%{MATCHED_VAR}'\"\n\
        SecRule MATCHED_VARS_NAMES \"@streq ARGS:b\" \"chain\"\n\
        SecRule TX:/^n_/ \"@streq x2\" \"log,msg:x\"\n\
        SecRule TX:n_args:b \"@streq x2\" \"id:2,phase:2,log,msg:x\"\n";
    assert_eq!(found(names, &get("/?a=1&b=x2", &[])), [2]);
}

#[test]
fn rules_skip_refuse_and_allow() {
    let rule = |id: u32, actions: &str| format!("SecAction \"id:{id},log,msg:x,{actions}\"\n");
    let run = |rules: &[String]| {
        let verdict = guard(&rules.concat()).inspect(&get("/", &[]));
        (verdict.findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), verdict.refused)
    };
    let marker = "SecMarker END\n".to_owned();
    let skip = rule(1, "phase:2,skipAfter:END");
    assert_eq!(run(&[skip.clone(), rule(2, "phase:2"), marker.clone(), rule(3, "phase:2")]), (vec![1, 3], None));
    assert_eq!(run(&[skip.clone(), marker.clone(), rule(3, "phase:2")]), (vec![1, 3], None), "right behind it");
    assert_eq!(run(&[rule(1, "phase:2,deny"), rule(2, "phase:2")]), (vec![1], Some(Refusal::Rule(1))));
    assert_eq!(run(&[rule(1, "phase:2,deny"), rule(2, "phase:1,allow")]), (vec![2], None));
    assert_eq!(run(&[rule(1, "phase:2,drop"), rule(2, "phase:1,allow:phase"), rule(3, "phase:1")]).0, [2, 1]);
    assert_eq!(
        run(&[rule(1, "phase:2,block"), rule(2, "phase:2")]),
        (vec![1, 2], None),
        "passes, if the defaults do not say"
    );
    let denies = "SecDefaultAction \"phase:2,log,deny,t:lowercase\"\n".to_owned();
    assert_eq!(run(&[denies.clone(), rule(1, "phase:2,block")]).1, Some(Refusal::Rule(1)));
    assert_eq!(run(&[denies, rule(1, "phase:2,pass")]).1, None);
    assert_eq!(run(&[rule(1, "phase:1,ctl:ruleEngine=Off"), rule(2, "phase:2,deny")]), (vec![], None));
    assert_eq!(run(&[rule(1, "phase:1,ctl:ruleEngine=DetectionOnly"), rule(2, "phase:2,deny")]), (vec![1, 2], None));
    assert_eq!(run(&[rule(1, "phase:1,nolog,ctl:ruleRemoveById=2-3"), rule(3, "phase:2,deny")]), (vec![], None));
    assert_eq!(run(&[rule(1, "phase:1,nolog,ctl:ruleRemoveByTag=t"), rule(3, "phase:2,deny,tag:t")]), (vec![], None));
    assert_eq!(run(&[rule(3, "phase:2,deny"), "SecRuleRemoveById 3 7-9\n".to_owned()]), (vec![], None));
    assert_eq!(run(&[rule(3, "phase:2,deny,tag:a/b"), "SecRuleRemoveByTag a/b\n".to_owned()]), (vec![], None));
}

#[test]
fn targets_are_taken_from_rules() {
    let rule = "SecRule ARGS \"@streq x\" \"id:7,phase:2,tag:t,deny\"\n";
    for (more, is_refused) in [
        ("SecRuleUpdateTargetById 7 \"!ARGS:a\"\n", false),
        ("SecRuleUpdateTargetByTag t \"!ARGS:a\"\n", false),
        ("SecRuleUpdateTargetById 7 \"!ARGS:b\"\n", true),
        ("SecAction \"id:1,phase:1,ctl:ruleRemoveTargetById=7;ARGS:a\"\n", false),
        ("SecAction \"id:1,phase:1,ctl:ruleRemoveTargetByTag=t;ARGS\"\n", false),
        ("SecAction \"id:1,phase:1,ctl:ruleRemoveTargetById=8;ARGS:a\"\n", true),
    ] {
        let verdict = guard(&format!("{rule}{more}")).inspect(&get("/?a=x", &[]));
        assert_eq!(verdict.refused.is_some(), is_refused, "{more}");
    }
    let added = format!("{rule}SecRuleUpdateTargetById 7 REQUEST_HEADERS:X-A\n");
    assert!(guard(&added).inspect(&get("/", &[("X-A", "x")])).refused.is_some());
}

#[test]
fn a_rule_may_say_how_the_body_is_read() {
    let rules = "SecRule REQUEST_HEADERS:Content-Type \"@streq text/plain\" \"id:1,phase:1,ctl:requestBodyProcessor=JSON\"\n\
        SecRule ARGS:json.a \"@streq x\" \"id:2,phase:2,deny\"\n";
    let refused = |body: &str| guard(rules).inspect(&post("text/plain", body)).refused;
    assert_eq!(refused("{\"a\":\"x\"}"), Some(Refusal::Rule(2)));
    assert_eq!(refused("{\"a\":\"y\"}"), None);
    assert_eq!(refused("{"), Some(Refusal::Rule(200_002)));
}

#[test]
fn rules_of_the_files_take_the_place_of_those_of_the_engine() {
    let own = "SecRule REQBODY_ERROR \"!@eq 0\" \"id:200002,phase:2,pass,log,msg:mine\"\n";
    let verdict = guard(own).inspect(&post("application/json", "{"));
    assert_eq!((verdict.refused, verdict.findings[0].rule), (None, 200_002));
}

#[test]
fn mistakes_have_their_place() {
    for (rules, expected) in [
        (
            "SecRule ARGS \"@streqs x\" \"id:1\"",
            "x.conf:1:15: there is no operator `@streqs` here: did you mean `@streq`?",
        ),
        (
            "SecRule ARGS x \"id:1,t:lowercas\"",
            "x.conf:1:22: there is no transformation `t:lowercas` here: did you mean `lowercase`?",
        ),
        (
            "SecRule ARGS \"a(?=b)\" \"id:1\"",
            "x.conf:1:15: the pattern looks around itself by `(?=`, which is not run here",
        ),
        ("SecRule ARGS x \"id:1,exec:/bin/x\"", "x.conf:1:22: the action `exec` is not run here"),
        ("SecRule ARGS x \"id:1,ctl:hashEngine=On\"", "x.conf:1:22: `ctl:hashengine=On` is not run here"),
        ("SecRule ARGS x \"phase:2\"", "x.conf:1:1: a rule has no `id`"),
        ("SecRule ARGS x \"id:a\"", "x.conf:1:17: `a` is no number of a rule"),
        ("SecRule ARGS x \"id:1,phase:9\"", "x.conf:1:22: there is no phase `9`"),
        ("SecRule ARGS x \"id:1,setvar:a\"", "x.conf:1:22: `a` is no variable that can be set: `tx.name`"),
        ("SecRule ARGS x \"id:1,chain\"", "x.conf:1:1: this rule is chained to no other"),
        ("SecRule ARGS x \"id:1,chain\"\nSecMarker A", "x.conf:2:1: the rule before this one is chained to no other"),
        ("SecAction \"id:1\"\nSecAction \"id:1\"", "x.conf:2:1: rule 1 stands here twice"),
        ("SecAction \"id:1,phase:2,skipAfter:A\"", "x.conf:1:1: behind rule 1 there is no marker `A`"),
        ("SecMarker A\nSecAction \"id:1,phase:2,skipAfter:A\"", "x.conf:2:1: behind rule 1 there is no marker `A`"),
        ("SecRule ARGS \"@eq %{nobody}\" \"id:1\"", "x.conf:1:15: `%{nobody}` is not known here"),
        (
            "SecRule ARGS \"@pmFromFile no.data\" \"id:1\"",
            "x.conf:1:15: no.data: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(told(rules), expected, "{rules}");
    }
}

#[test]
fn a_rule_that_cannot_be_run_harms_nobody_who_does_without_it() {
    let rules =
        Arc::new(Ruleset::read("x", "SecRule ARGS \"a(?=b)\" \"id:1\"\nSecAction \"id:2,phase:2,deny\"").unwrap());
    assert!(Guard::new(Arc::clone(&rules), &Tuning::default()).is_err());
    let without = crate::guard::Exclusion { rule: Some("1".to_owned()), ..crate::guard::Exclusion::default() };
    let guard = Guard::new(rules, &Tuning { exclude: vec![without], ..Tuning::default() }).unwrap();
    assert_eq!(guard.inspect(&get("/", &[])).refused, Some(Refusal::Rule(2)));
}

#[test]
fn what_would_need_something_else_is_told_and_not_run() {
    let rules = "SecRule IP:X \"@eq 1\" \"id:1,phase:2,deny\"\nSecRule TX:A \"@rbl x\" \"id:2,phase:2,deny\"\n\
        SecRule ARGS x \"id:3,phase:4,deny\"\nSecAction \"id:4,phase:2,initcol:ip=%{remote_addr},setvar:ip.x=1\"\n";
    let guard = guard(rules);
    let not_run: Vec<_> = guard.not_run().map(|own| (own.id, own.place.to_owned(), own.needs)).collect();
    assert_eq!(
        not_run,
        [
            (1, "x.conf:1:1".to_owned(), "a memory from one request to the next"),
            (2, "x.conf:2:1".to_owned(), "questions to other servers"),
            (3, "x.conf:3:1".to_owned(), "the answer, which is not looked at"),
        ]
    );
    assert_eq!(guard.inspect(&get("/", &[])).refused, None);
}

#[test]
fn findings_are_told_with_their_place_and_are_not_too_many() {
    let rules: String =
        (1..=30).map(|id| format!("SecRule ARGS \"@rx .\" \"id:{id},phase:2,log,msg:'m {id}'\"\n")).collect();
    let verdict = guard(&rules).inspect(&get(&format!("/?{}=1", "n".repeat(100)), &[]));
    assert_eq!((verdict.findings.len(), verdict.more), (20, 10));
    assert_eq!(verdict.findings[0].message, "m 1");
    assert_eq!(verdict.findings[0].place, format!("ARGS:{}", "n".repeat(55)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_panics(
        text in "(SecRule|SecAction|SecMarker|ARGS|TX:a|&ARGS|!ARGS:b|\"|'|@rx |@pm |@eq |%\\{tx.a\\}|id:[0-9]|,|chain|deny|t:trim|setvar:tx.a=\\+1|skipAfter:A| |\n|\\\\\n|\\||[(){}\\[\\]*+?]){0,30}",
    ) {
        if let Ok(rules) = Ruleset::read("x", &text) && let Ok(guard) = Guard::new(Arc::new(rules), &Tuning::default()) {
            let _ = guard.inspect(&get("/?a=1&b=2", &[]));
        }
    }

    #[test]
    fn no_request_panics(
        target in proptest::collection::vec(any::<u8>(), 0..80),
        header in proptest::collection::vec(any::<u8>(), 0..80),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        content_type in "(application/json|text/xml|multipart/form-data; boundary=x|application/x-www-form-urlencoded|)",
    ) {
        let names = ["ARGS", "ARGS_NAMES", "REQUEST_HEADERS", "REQUEST_COOKIES", "FILES", "XML:/*", "REQUEST_BODY", "REQUEST_URI", "REQUEST_BASENAME"];
        let transformations: String = crate::transform::names().map(|name| format!("t:{name},")).collect();
        let rules = format!("SecRule {} \"@rx (x)?\" \"id:1,phase:2,capture,multiMatch,{transformations}setvar:'tx.%{{MATCHED_VAR}}=%{{tx.0}}'\"", names.join("|"));
        let guard = guard(&rules);
        let mut request = get("/", &[("Content-Type", &content_type)]);
        request.target = target;
        request.headers.push((b"Cookie".to_vec(), header));
        request.body = body.into();
        let _ = guard.inspect(&request);
    }
}
