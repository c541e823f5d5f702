//! x
use std::time::Instant;
fn main() {
    #[allow(clippy::disallowed_methods)]
    let n = 1_000_000;
    let cases: Vec<(&str, String)> = vec![
        ("deep", "[".repeat(n)), ("deepmap", "{a: ".repeat(n)), ("dashes", "- ".repeat(n)), ("longline", format!("a: [{}]", "x, ".repeat(n))),
        ("longlineuni", format!("a: [{}]", "é, ".repeat(n))),
        ("plain", format!("a: {}", "x ".repeat(n))), ("q", format!("a: \"{}\"", "x ".repeat(n))), ("lit", format!("a: |\n{}", "  x\n".repeat(n))),
        ("keys", (0..n/4).map(|i| format!("k{i}: {i}\n")).collect()), ("dups", "a: 1\n".repeat(100_000)), ("comments", "# c\n".repeat(n)), ("comments2", (0..n/4).map(|i| format!("k{i}: {i} # c\n# d\n")).collect()),
        ("tabs", "\t\n".repeat(n)), ("tabkeys", (0..n/4).map(|i| format!("k{i}: |\n  \tx\n")).collect()), ("colons", ":".repeat(n)), ("quest", "? ".repeat(n)), ("bang", "!".repeat(n)), ("amp", "&a ".repeat(n)), ("nl", "\n".repeat(n)),
        ("list", "- x\n".repeat(n)), ("flowlist", format!("[{}", "[],".repeat(n))), ("percent", "%a\n".repeat(n)), ("docs", "---\n".repeat(n)),
    ];
    for (name, text) in cases {
        let t = Instant::now();
        let r = tollgate_config::read("x", &text);
        let a = t.elapsed();
        let t = Instant::now();
        let f = if r.is_ok() { tollgate_config::format("x", &text).map(|s| s.len()).map_err(|e| e[0].message.clone()) } else { Ok(0) };
        let b = t.elapsed();
        let t = Instant::now();
        let e = tollgate_config::load_text("x", &text, &|_| None, &[]);
        let c = t.elapsed();
        let t = Instant::now();
        let l = e.err().map(|r| r.render(tollgate_config::Look::Plain).len());
        println!("{name}: {} read {:?} {a:?} fmt {f:?} {b:?} load {c:?} render {l:?} {:?}", text.len(), r.map(|_| ()).map_err(|e| (e.len(), e[0].message.clone())), t.elapsed());
    }
}
