//! The rules of Debian, and requests from the cases in `tests/waf`.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test's helpers fail it by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tollgate_waf::{Guard, Request, Ruleset, Settings, Tuning};

/// The Core Rule Set as Debian has it.
pub(crate) const FILES: [&str; 2] =
    ["/etc/modsecurity/crs/crs-setup.conf", "/usr/share/modsecurity-crs/rules/REQUEST-*.conf"];

/// Read once for each level.
pub(crate) fn crs(level: u64) -> Arc<Ruleset> {
    static KNOWN: [OnceLock<Arc<Ruleset>>; 5] = [const { OnceLock::new() }; 5];
    let load = || {
        let files = FILES.map(str::to_owned).to_vec();
        let rules = Ruleset::load(&Settings { files, level: Some(level), ..Settings::default() });
        Arc::new(rules.unwrap_or_else(|mistake| panic!("{mistake}")))
    };
    Arc::clone(KNOWN[usize::try_from(level).unwrap()].get_or_init(load))
}

/// The methods of APIs are allowed.
pub(crate) fn tuned() -> Tuning {
    let methods = "GET HEAD POST OPTIONS PUT PATCH DELETE".to_owned();
    let types = "|application/x-www-form-urlencoded| |multipart/form-data| |application/json| |text/xml|".to_owned();
    Tuning { initial: vec![("allowed_methods", methods), ("allowed_request_content_type", types)], ..Tuning::default() }
}

pub(crate) fn guard(level: u64) -> Guard {
    let text = level.to_string();
    let pinned = vec![("paranoia_level", text.clone()), ("executing_paranoia_level", text)];
    Guard::new(crs(level), &Tuning { pinned, ..tuned() }).unwrap_or_else(|mistake| panic!("{mistake}"))
}

/// What the Core Rule Set makes of a request at level 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is refused.
    Attack,
    /// It is an attack, and passes.
    Missed,
    Harmless,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) request: Request,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn cases() -> Vec<Case> {
    let text = fs::read_to_string(root().join("tests/waf/cases.jsonl")).unwrap();
    text.lines().map(|line| case(&serde_json::from_str(line).unwrap())).collect()
}

fn case(written: &Value) -> Case {
    let text = |key: &str| written[key].as_str().unwrap();
    let own: Vec<(&str, &str)> = written["h"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    let body = text("body");
    let mut headers = browser(&own);
    if !body.is_empty() {
        headers.push(("Content-Length".to_owned(), body.len().to_string()));
    }
    let kind = match text("kind") {
        "attack" => Kind::Attack,
        "missed" => Kind::Missed,
        "harmless" => Kind::Harmless,
        other => panic!("{other}"),
    };
    Case { name: text("name").to_owned(), kind, request: request(text("m"), text("uri"), headers, body) }
}

/// What a browser sends, and these.
pub(crate) fn browser(own: &[(&str, &str)]) -> Vec<(String, String)> {
    let of_browsers = [
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-US,en;q=0.5"),
        ("Accept-Encoding", "gzip, deflate, br"),
    ];
    let has = |name: &str| own.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let theirs = of_browsers.into_iter().filter(|(name, _)| !has(name));
    let all = [("Host", "shop.example")].into_iter().chain(theirs).chain(own.iter().copied());
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(crate) fn request(method: &str, target: &str, headers: Vec<(String, String)>, body: &str) -> Request {
    Request {
        method: method.to_owned(),
        target: target.as_bytes().to_vec(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        protocol: "HTTP/1.1",
        headers: headers.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect(),
        body: body.as_bytes().to_vec().into(),
        client: Some([192, 0, 2, 1].into()),
        id: "0123456789abcdef".to_owned(),
        age: 123,
    }
}
