//! E2: files of a directory, answered by the gateway itself.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use tempfile::TempDir;
use tollgate_testkit::{Gateway, RawClient};

const CONFIG: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
routes:
  /static/**: { files: { dir: "{{dir}}", precompressed: [br, gzip], cache: "max-age=60" } }
  /app/**: { files: { dir: "{{dir}}", spa: /index.html } }
  /packed/**: { files: "{{dir}}", compress: { min: 1 } }
"#;

struct Bench {
    dir: TempDir,
    gateway: Gateway,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("index.html"), "<h1>home</h1>").unwrap();
        fs::write(dir.path().join("app.js"), "0123456789").unwrap();
        fs::write(dir.path().join("app.js.gz"), "not really").unwrap();
        fs::write(dir.path().join(".env"), "secret").unwrap();
        let values = [("dir", dir.path().display().to_string())];
        let gateway = Gateway::start(env!("CARGO_BIN_EXE_tollgate"), CONFIG, &values);
        Self { dir, gateway }
    }

    /// Bytes of which no two pieces are the same.
    fn large(&self, size: usize) -> Vec<u8> {
        let content: Vec<u8> = (0..size).map(|n| (n / 251 + n) as u8).collect();
        File::create(self.dir.path().join("large.bin")).unwrap().write_all(&content).unwrap();
        content
    }

    fn client(&self) -> RawClient {
        self.gateway.client()
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Vec<u8> {
        let url = format!("http://{}{path}", self.gateway.address());
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", "--path-as-is"]).args(arguments).arg(url);
        let output = command.output().expect("curl; `./test` installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn text(&self, path: &str, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&self.curl(path, arguments)).into_owned()
    }
}

#[test]
fn a_large_file_arrives_as_it_is() {
    let bench = Bench::new();
    let content = bench.large(10_000_000);
    assert!(bench.curl("/static/large.bin", &[]) == content);
    assert!(bench.curl("/static/large.bin", &["-0"]) == content, "HTTP/1.0 too");
    assert!(bench.curl("/static/large.bin", &["-r", "5000000-"]) == content[5_000_000..]);
    assert!(bench.curl("/packed/large.bin", &["--compressed"]) == content);
}

#[test]
fn several_files_come_over_one_connection() {
    let bench = Bench::new();
    bench.large(300_000);
    let mut client = bench.client();
    for _ in 0..3 {
        let large = client.get("/static/large.bin");
        assert_eq!((large.status, large.content.body.len()), (200, 300_000));
        assert_eq!(large.one("content-length").as_deref(), Some("300000"));
        assert_eq!(client.get("/static/app.js").text(), "0123456789");
    }
}

#[test]
fn head_tells_what_get_would_send() {
    let bench = Bench::new();
    bench.large(300_000);
    for (path, length) in [("/static/app.js", "10"), ("/static/large.bin", "300000")] {
        let head = bench.text(path, &["-I"]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
        assert!(head.contains("accept-ranges: bytes\r\n") && head.contains("cache-control: max-age=60\r\n"), "{head}");
    }
    let mut client = bench.client();
    client.send("HEAD /static/large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response("HEAD").unwrap().status, 200);
    assert_eq!(client.get("/static/app.js").text(), "0123456789", "the connection goes on");
}

#[test]
fn curl_resumes_and_asks_for_parts() {
    let bench = Bench::new();
    assert_eq!(bench.text("/static/app.js", &["-r", "2-4", "-w", " %{http_code}"]), "234 206");
    let many = bench.text("/static/app.js", &["-r", "0-1,8-"]);
    assert!(many.contains("Content-Range: bytes 0-1/10\r\n\r\n01\r\n"), "{many}");
    assert!(many.contains("Content-Range: bytes 8-9/10\r\n\r\n89\r\n"), "{many}");
    let outside = bench.text("/static/app.js", &["-r", "10-", "-i"]);
    assert!(outside.starts_with("HTTP/1.1 416 ") && outside.contains("Content-Range: bytes */10\r\n"), "{outside}");
    let partial = bench.dir.path().join("partial");
    fs::write(&partial, "0123").unwrap();
    let file = partial.to_str().unwrap();
    bench.curl("/static/app.js", &["-C", "-", "-o", file]);
    assert_eq!(fs::read_to_string(&partial).unwrap(), "0123456789");
}

#[test]
fn curl_gets_nothing_that_it_has() {
    let bench = Bench::new();
    let tags = bench.dir.path().join("tags");
    let tags = tags.to_str().unwrap();
    assert_eq!(bench.text("/static/app.js", &["--etag-save", tags]), "0123456789");
    let again = bench.text("/static/app.js", &["--etag-compare", tags, "-w", "%{http_code}"]);
    assert_eq!(again, "304");
    let file = bench.dir.path().join("app.js");
    assert_eq!(bench.text("/static/app.js", &["-z", file.to_str().unwrap(), "-w", "%{http_code}"]), "304");
    fs::write(&file, "changed").unwrap();
    assert_eq!(bench.text("/static/app.js", &["--etag-compare", tags]), "changed");
}

#[test]
fn directories_lead_to_their_index() {
    let bench = Bench::new();
    assert_eq!(bench.text("/static/", &[]), "<h1>home</h1>");
    assert_eq!(bench.text("/static", &["-L", "-w", " %{num_redirects}"]), "<h1>home</h1> 1");
    let moved = bench.client().get("/static/sub?a=b");
    assert_eq!((moved.status, moved.one("location").as_deref()), (308, Some("/static/sub/?a=b")));
    assert_eq!(bench.text("/app/orders/7", &[]), "<h1>home</h1>");
}

#[test]
fn nothing_outside_of_the_directory_is_shown() {
    let bench = Bench::new();
    std::os::unix::fs::symlink("/etc/passwd", bench.dir.path().join("link")).unwrap();
    for path in ["/static/.env", "/static/%2eenv", "/static/link", "/static/nothing", "/static/sub%2F..%2Fapp.js"] {
        let answer = bench.client().get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    let answer = bench.client().get("/static/nothing");
    assert_eq!(answer.json()["type"], "urn:tollgate:problem:files/not-found");
    for path in ["/static/../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fetc/passwd"] {
        let answer = bench.text(path, &["-i"]);
        assert!(!answer.contains("root:") && !answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let refused = bench.client().call("POST /static/app.js HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((refused.status, refused.one("allow").as_deref()), (405, Some("GET, HEAD")));
}

#[test]
fn stored_codings_go_to_those_that_take_them() {
    let bench = Bench::new();
    let packed = bench.text("/static/app.js", &["-i", "-H", "Accept-Encoding: gzip"]);
    assert!(packed.contains("Content-Encoding: gzip\r\n") && packed.ends_with("not really"), "{packed}");
    assert!(packed.contains("Vary: Accept-Encoding\r\n"), "{packed}");
    assert_eq!(bench.text("/static/app.js", &[]), "0123456789");
}

#[test]
fn a_file_that_is_cut_off_while_it_is_sent_does_not_look_whole() {
    let bench = Bench::new();
    bench.large(64 << 20);
    let mut client = bench.client();
    client.send("GET /static/large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    // What is on its way is far less than the file.
    client.wait_for_bytes(|bytes| bytes.len() > 1000).unwrap();
    File::options().write(true).open(bench.dir.path().join("large.bin")).unwrap().set_len(0).unwrap();
    assert!(client.response("GET").is_err());
}

#[test]
fn downloads_do_not_fill_the_memory() {
    let bench = Bench::new();
    bench.large(64 << 20);
    let before = bench.gateway.peak_kib();
    let mut clients: Vec<RawClient> = (0..16).map(|_| bench.client()).collect();
    for client in &mut clients {
        client.send("GET /static/large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        client.wait_for_bytes(|bytes| bytes.len() > 1000).unwrap();
    }
    let grown = bench.gateway.peak_kib() - before;
    assert!(grown < 32 * 1024, "{grown} KiB more for 16 downloads of 64 MiB each");
}
