//! What the Core Rule Set costs: time on a processor per request, and how much work that is for the bound.
//!
//! `cargo run --release -p tollgate-waf --example cost`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it measures and tells")]

use std::sync::Arc;
use std::time::Duration;

use tollgate_waf::{Guard, Request, Ruleset, Settings, Tuning};

fn main() {
    let files =
        ["/etc/modsecurity/crs/crs-setup.conf", "/usr/share/modsecurity-crs/rules/REQUEST-*.conf"].map(str::to_owned);
    let level = std::env::args().nth(1);
    let level = level.unwrap_or_else(|| "1".to_owned());
    let pinned = vec![("paranoia_level", level.clone()), ("executing_paranoia_level", level.clone())];
    let began = on_processor();
    let settings = Settings { files: files.to_vec(), level: level.parse().ok(), ..Settings::default() };
    let rules = Arc::new(Ruleset::load(&settings).unwrap());
    let rules = Guard::new(rules, &Tuning { pinned, ..Tuning::default() }).unwrap();
    println!("{} rules in {:?}, {} kB", rules.count(), on_processor() - began, resident());
    for (name, request) in requests() {
        let verdict = rules.inspect(&request);
        let times = (20_000_000 / verdict.work.max(1)).clamp(3, 2000);
        let began = on_processor();
        for _ in 0..times {
            let _ = rules.inspect(&request);
        }
        let each = (on_processor() - began) / u32::try_from(times).unwrap();
        println!("{name:12} {each:>12.1?} {:>12} bytes of work, refused: {:?}", verdict.work, verdict.refused);
    }
    println!("{} kB", resident());
    // What patterns keep of what they have seen grows with what they see.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in [400, 40_000] {
        let times = 400_000 / length;
        let began = on_processor();
        let mut work = 0;
        for _ in 0..times {
            let text: String = (0..length).map(|_| sign(&mut state)).collect();
            work += rules.inspect(&request("POST", "/x", "application/json", &format!("{{\"text\":\"{text}\"}}"))).work;
        }
        let took = (on_processor() - began) / times;
        println!("{length} signs of attacks: {took:.1?}, {} bytes of work; {} kB", work / times as usize, resident());
    }
}

/// One of those that attacks are made of.
fn sign(state: &mut u64) -> &'static str {
    const SIGNS: &[&str] = &[
        "a", "e", "o", "se", "lect ", "union ", " or ", "1", "=", "'", "`", "<", ">", "script", "on", "error", "(",
        ")", ";", "|", "&", "/", "..", "etc/", "cat ", "$", "{", "}", "%", "java", ".", ":", "-", "#", "*", "@", "!",
        "?", "[", "]", ",", "+", "x", "0", " ", "php", "exec", "sleep", "http",
    ];
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    SIGNS[usize::try_from(*state % SIGNS.len() as u64).unwrap()]
}

fn requests() -> Vec<(&'static str, Request)> {
    let form = "application/x-www-form-urlencoded";
    let order = r#"{"items":[{"sku":"A-1","n":2,"price":9.99}],"note":"please leave it at the door, thanks!","to":{"name":"Jane Doe","street":"1 Main St."}}"#;
    let text = |bytes: usize| "lorem ipsum dolor sit amet ".repeat(bytes / 27);
    let many =
        |count: usize| (0..count).map(|at| format!("k{at}=lorem ipsum dolor sit amet")).collect::<Vec<_>>().join("&");
    vec![
        ("root", request("GET", "/", "", "")),
        ("search", request("GET", "/search?q=red+shoes&page=2&sort=price", "", "")),
        ("attack", request("GET", "/?id=1'%20OR%20'1'='1", "", "")),
        ("json", request("POST", "/orders", "application/json", order)),
        ("json 9 KB", request("POST", "/orders", "application/json", &format!("{{\"text\":\"{}\"}}", text(9000)))),
        ("form 16 KB", request("POST", "/x", form, &format!("k={}", text(16 << 10)))),
        ("form 128 KB", request("POST", "/x", form, &format!("k={}", text(128 << 10)))),
        ("1000 args", request("POST", "/x", form, &many(1000))),
        ("2000 args", request("POST", "/x", form, &many(2000))),
    ]
}

fn request(method: &str, target: &str, content_type: &str, body: &str) -> Request {
    let mut headers = vec![
        ("Host", "shop.example".to_owned()),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0".to_owned()),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8".to_owned()),
        ("Accept-Language", "en-US,en;q=0.5".to_owned()),
        ("Accept-Encoding", "gzip, deflate, br".to_owned()),
    ];
    if !body.is_empty() {
        headers.push(("Content-Type", content_type.to_owned()));
        headers.push(("Content-Length", body.len().to_string()));
    }
    Request {
        method: method.to_owned(),
        target: target.as_bytes().to_vec(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        protocol: "HTTP/1.1",
        headers: headers.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes())).collect(),
        body: body.as_bytes().to_vec().into(),
        client: Some([192, 0, 2, 1].into()),
        id: "0123456789abcdef".to_owned(),
        age: 100,
    }
}

/// How long this thread ran.
fn on_processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split_whitespace().next().unwrap().parse().unwrap())
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
