//! What others say of the same: libmodsecurity of requests, the libinjection of C of texts. Both come with `./test`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use regex::bytes::Regex;
use serde_json::{Value, json};
use support::{FILES, cases, crs};
use tollgate_waf::{Guard, Refusal, Request, Ruleset, Tuning};

/// What `tests/waf/peers.py` says of each line.
fn asked(arguments: &[&str], lines: &[Value]) -> Vec<Value> {
    let exe = std::env::current_exe().unwrap();
    let ours = exe.ancestors().nth(3).expect("the target folder").join("tools/python/bin/python3");
    let mut command = Command::new(if ours.exists() { ours } else { PathBuf::from("python3") });
    command.arg(support::root().join("tests/waf/peers.py")).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python runs");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut input = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().expect("it reads all");
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said.len(), lines.len(), "an answer for each line");
    said
}

fn written(request: &Request) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| [text(name), text(value)]).collect();
    json!({ "method": request.method, "target": text(&request.target), "headers": headers, "body": text(&request.body) })
}

#[test]
fn the_same_rules_find_the_same_in_libmodsecurity() {
    // As Debian has it: nothing of ours beside it.
    let guard = Guard::new(crs(1), &Tuning::default()).unwrap();
    let cases = cases();
    let lines: Vec<Value> = cases.iter().map(|case| written(&case.request)).collect();
    let [setup, rules] = FILES;
    for (case, theirs) in cases.iter().zip(asked(&["rules", setup, rules], &lines)) {
        let verdict = guard.inspect(&case.request);
        let mut ours: Vec<u64> =
            verdict.findings.iter().map(|finding| finding.rule).filter(|id| *id < 949_000).collect();
        let mut found: Vec<u64> = theirs["rules"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        found.retain(|id| (910_000..949_000).contains(id));
        ours.sort_unstable();
        found.sort_unstable();
        assert_eq!((verdict.refused.is_some(), ours), (theirs["refused"] == true, found), "{}", case.name);
    }
}

/// Attacks, words and signs, from which texts are made.
const SEEDS: &[&str] = &[
    "1' OR '1'='1",
    "1 UNION SELECT username,password FROM users--",
    "1;DROP TABLE users",
    "admin'/*",
    "' or 1=1#",
    "\" or \"\"=\"",
    "sleep(10)",
    "1 AND (SELECT 1 FROM (SELECT COUNT(*))x)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "<a href=\"jav&#x61;script:x\">",
    "<svg/onload=x>",
    "<!--[if IE]>",
    "<x style=a:expression(1)>",
    "O'Brien & Söhne",
    "select a table from our union",
    "the quick brown fox",
    "{\"a\": [1, \"b\"]}",
    "a=b&c=d",
    "1e5 + .5",
    "0x41",
    "x' and 'x'<>'y",
    "-- comment",
    "<b>bold</b>",
    "' '' \"",
    "`a`",
];

/// Texts near the seeds, the same each time.
fn texts(count: usize) -> Vec<String> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let signs: Vec<char> = " '\"`()<>=;-#/*!|&,.:%\\@aozAOZ019{}[]é\t\n".chars().collect();
    (0..count)
        .map(|_| {
            let mut text: Vec<char> = SEEDS[random(SEEDS.len())].chars().collect();
            if random(4) == 0 {
                text.extend(SEEDS[random(SEEDS.len())].chars());
            }
            for _ in 0..random(6) {
                let (at, sign) = (random(text.len() + 1), signs[random(signs.len())]);
                match random(3) {
                    0 => text.insert(at, sign),
                    1 if at < text.len() => drop(text.remove(at)),
                    _ if at < text.len() => text[at] = sign,
                    _ => {}
                }
            }
            text.into_iter().collect()
        })
        .collect()
}

#[test]
fn injections_are_those_of_libinjection() {
    let rules = |operator: &str| {
        let text = format!("SecRule ARGS:x \"@{operator}\" \"id:1,phase:2,deny\"");
        Guard::new(Arc::new(Ruleset::read("x", &text).unwrap()), &Tuning::default()).unwrap()
    };
    let (sql, script) = (rules("detectSQLi"), rules("detectXSS"));
    let texts = texts(6000);
    // An event with one sign more is one there, which it is in no browser.
    let longer = Regex::new(r"(?is)on[a-z]+[^a-z]?.?\s*=").unwrap();
    let lines: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    let (mut attacks, mut differing) = (0, 0);
    for (text, theirs) in texts.iter().zip(asked(&["texts"], &lines)) {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let request = support::request("GET", &format!("/?x={encoded}"), Vec::new(), "");
        let is = |guard: &Guard| guard.inspect(&request).refused == Some(Refusal::Rule(1));
        assert_eq!(is(&sql), theirs[0] == true, "{text}");
        if is(&script) != (theirs[1] == true) {
            assert!(theirs[1] == true && longer.is_match(text.as_bytes()), "{text}");
            differing += 1;
        }
        attacks += usize::from(theirs[0] == true || theirs[1] == true);
    }
    assert!(attacks > 1000 && attacks < 5000 && differing < 20, "{attacks} {differing}");
}
