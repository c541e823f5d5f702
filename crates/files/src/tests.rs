//! Files as a client sees them, without a network.

use std::fs;
use std::future::poll_fn;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;
use tollgate_config::model::Files as Section;
use tollgate_core::body::Body;
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_testkit::bench::exchange;

use super::*;

/// 1994-11-06 08:49:37.
const THEN: (u64, &str) = (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");

struct Room {
    dir: TempDir,
}

struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    slug: &'static str,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Room {
    /// A directory with a few files.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let room = Self { dir };
        room.write("index.html", b"<h1>home</h1>");
        room.write("app.js", b"0123456789");
        room.write("sub/page.html", b"page");
        room.write(".env", b"secret");
        room.write(".well-known/security.txt", b"Contact: x");
        room
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = fs::File::open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(THEN.0)).unwrap();
    }

    fn files(&self, more: &str) -> Files {
        let yaml = format!("{{ dir: {}, {more} }}", self.dir.path().display());
        let node = tollgate_config::read("t.yaml", &yaml).unwrap();
        let mut cx = DecodeCx::default();
        let section = Section::decode(&node, &mut cx);
        let section = section.unwrap_or_else(|| panic!("{:?}", cx.diagnostics));
        Files::build(&section, 1).unwrap()
    }

    fn ask(&self, more: &str, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(answer(&self.files(more), method, target, fields))
    }

    fn get(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("", "GET", target, fields)
    }
}

async fn answer(files: &Files, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut x = exchange(method, target, fields);
    let texts = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match files.call(&mut x).await {
        Ok(reply) => {
            let fields = reply.head.fields.iter().map(|(name, value)| (texts(name), texts(value))).collect();
            Answer { status: reply.head.status, fields, body: body(reply.body).await, slug: "" }
        }
        Err(problem) => {
            let fields = problem.headers.iter().map(|(name, value)| ((*name).to_owned(), texts(value))).collect();
            Answer { status: problem.fault.status, fields, body: Vec::new(), slug: problem.fault.slug }
        }
    }
}

async fn body(body: Body) -> Vec<u8> {
    match body {
        Body::Full(bytes) => bytes.to_vec(),
        Body::Stream(_, mut stream) => {
            let mut whole = Vec::new();
            while let Some(piece) = poll_fn(|cx| stream.poll_next(cx)).await {
                whole.extend_from_slice(&piece.unwrap());
            }
            whole
        }
        Body::Empty | Body::Wire(_) => Vec::new(),
    }
}

#[test]
fn a_file_is_sent_with_what_is_known_of_it() {
    let answer = Room::new().ask("cache: \"max-age=60\"", "GET", "/static/app.js?v=1", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
    assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(answer.header("last-modified"), Some(THEN.1));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    assert_eq!(answer.header("cache-control"), Some("max-age=60"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("etag").is_some_and(|tag| tag.starts_with('"')));
    assert_eq!(answer.header("vary"), None);
}

#[test]
fn a_large_file_comes_in_pieces() {
    let room = Room::new();
    let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 253) as u8).collect();
    room.write("large.bin", &content);
    let answer = room.get("/static/large.bin", &[]);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert!(answer.body == content);
    let part = room.get("/static/large.bin", &[("Range", "bytes=100-899999")]);
    assert_eq!(part.header("content-range"), Some("bytes 100-899999/1000000"));
    assert!(part.body == content[100..900_000]);
}

#[test]
fn head_tells_the_length_and_reads_nothing() {
    let room = Room::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let files = room.files("");
    let mut x = exchange("HEAD", "/static/app.js", &[("Range", "bytes=0-1")]);
    let reply = runtime.block_on(files.call(&mut x)).unwrap();
    assert_eq!(reply.head.status, 200, "ranges are for GET only");
    let Body::Stream(length, _) = reply.body else { panic!("{:?}", reply.body) };
    assert_eq!(length, tollgate_core::body::Length::Known(10));
}

#[test]
fn other_methods_are_refused_with_those_that_are_taken() {
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = Room::new().ask("", method, "/static/app.js", &[]);
        assert_eq!((answer.status, answer.slug, answer.header("allow")), (405, "files/method", Some("GET, HEAD")));
    }
}

#[test]
fn a_directory_is_its_index_and_ends_in_a_slash() {
    let room = Room::new();
    let home = room.get("/static/", &[]);
    assert_eq!(
        (home.text().as_str(), home.header("content-type")),
        ("<h1>home</h1>", Some("text/html; charset=utf-8"))
    );
    for (path, to) in
        [("/static", "/static/"), ("/static/sub", "/static/sub/"), ("/static/sub?a=b", "/static/sub/?a=b")]
    {
        let answer = room.get(path, &[]);
        assert_eq!((answer.status, answer.header("location")), (308, Some(to)), "{path}");
    }
    assert_eq!(room.get("/static/sub/", &[]).slug, "files/not-found");
    assert_eq!(room.ask("index: page.html", "GET", "/static/sub/", &[]).text(), "page");
    assert_eq!(room.ask("index: none", "GET", "/static/", &[]).status, 404);
}

#[test]
fn nothing_hidden_or_outside_is_shown() {
    let room = Room::new();
    fs::write(room.dir.path().parent().unwrap().join("tollgate-outside"), "secret").unwrap();
    symlink("../tollgate-outside", room.dir.path().join("out")).unwrap();
    symlink("app.js", room.dir.path().join("within")).unwrap();
    for path in ["/.env", "/%2Eenv", "/out", "/nothing", "/app.js/", "/app.js/x", "/sub%2Fpage.html"] {
        let answer = room.get(&format!("/static{path}"), &[]);
        assert_eq!((answer.status, answer.slug), (404, "files/not-found"), "{path}");
    }
    let long = format!("/static/{}", "a".repeat(300));
    assert_eq!(room.get(&long, &[]).status, 404);
    assert_eq!(room.get("/static/within", &[]).text(), "0123456789");
    assert_eq!(room.get("/static/.well-known/security.txt", &[]).text(), "Contact: x");
    fs::remove_file(room.dir.path().parent().unwrap().join("tollgate-outside")).unwrap();
}

#[test]
fn a_client_that_has_it_gets_it_no_second_time() {
    let room = Room::new();
    let first = room.ask("{cache: no-cache}".trim_matches(['{', '}']), "GET", "/static/app.js", &[]);
    let tag = first.header("etag").unwrap();
    let again = room.ask("cache: no-cache", "GET", "/static/app.js", &[("If-None-Match", tag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)));
    assert_eq!((again.header("cache-control"), again.header("content-type")), (Some("no-cache"), None));
    assert_eq!(room.get("/static/app.js", &[("If-Modified-Since", THEN.1)]).status, 304);
    let failed = room.get("/static/app.js", &[("If-Match", "\"other\"")]);
    assert_eq!((failed.status, failed.slug), (412, "files/precondition"));
    // Another file of the same size and time is another file.
    let other = room.dir.path().join("other");
    fs::write(&other, "9876543210").unwrap();
    fs::File::open(&other).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(THEN.0)).unwrap();
    fs::rename(&other, room.dir.path().join("app.js")).unwrap();
    assert_eq!(room.get("/static/app.js", &[("If-None-Match", tag)]).status, 200);
}

#[test]
fn one_range_is_a_part_and_several_are_many() {
    let room = Room::new();
    let one = room.get("/static/app.js", &[("Range", "bytes=-3")]);
    assert_eq!((one.status, one.text().as_str(), one.header("content-range")), (206, "789", Some("bytes 7-9/10")));
    let many = room.get("/static/app.js", &[("Range", "bytes=0-1,8-")]);
    let boundary = many.header("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, text: &str| {
        format!(
            "--{boundary}\r\nContent-Type: text/javascript; charset=utf-8\r\nContent-Range: bytes {range}/10\r\n\r\n{text}\r\n"
        )
    };
    assert_eq!(many.text(), format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("8-9", "89")));
    assert_eq!((many.status, many.header("content-range")), (206, None));
    let outside = room.get("/static/app.js", &[("Range", "bytes=10-")]);
    assert_eq!(
        (outside.status, outside.slug, outside.header("content-range")),
        (416, "files/range", Some("bytes */10"))
    );
}

#[test]
fn a_range_of_another_state_is_the_whole_file() {
    let room = Room::new();
    let whole = room.get("/static/app.js", &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")]);
    assert_eq!((whole.status, whole.body.len()), (200, 10));
    let part = room.get("/static/app.js", &[("Range", "bytes=0-1"), ("If-Range", THEN.1)]);
    assert_eq!((part.status, part.text().as_str()), (206, "01"));
}

#[test]
fn stored_codings_are_sent_to_those_that_take_them() {
    let room = Room::new();
    room.write("app.js.br", b"BR");
    room.write("app.js.gz", b"GZ");
    let more = "precompressed: [br, zstd, gzip]";
    let ask = |accepts: &str| room.ask(more, "GET", "/static/app.js", &[("Accept-Encoding", accepts)]);
    for (accepts, coding, text) in [
        ("gzip, br", Some("br"), "BR"),
        ("gzip, br;q=0.5", Some("gzip"), "GZ"),
        ("zstd", None, "0123456789"),
        ("identity", None, "0123456789"),
    ] {
        let answer = ask(accepts);
        assert_eq!((answer.header("content-encoding"), answer.text().as_str()), (coding, text), "{accepts}");
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    }
    assert_ne!(ask("br").header("etag"), ask("").header("etag"));
    assert_eq!(room.get("/static/app.js", &[("Accept-Encoding", "br")]).header("content-encoding"), None);
}

#[test]
fn an_app_answers_for_paths_where_there_is_no_file() {
    let room = Room::new();
    let ask = |path: &str, accept: &str| room.ask("spa: /index.html", "GET", path, &[("Accept", accept)]);
    let page = ask("/static/orders/7", "*/*");
    assert_eq!((page.status, page.text().as_str()), (200, "<h1>home</h1>"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(ask("/static/v1.2/a.b", "text/html,*/*").status, 200);
    assert_eq!(ask("/static/gone.js", "*/*").slug, "files/not-found");
    assert_eq!(ask("/static/app.js", "*/*").text(), "0123456789");
}

#[test]
fn a_directory_is_listed_only_when_asked_for() {
    let room = Room::new();
    let page = room.ask("listing: on", "GET", "/static/sub/", &[]);
    assert_eq!(page.header("content-security-policy"), Some("default-src 'none'"));
    assert!(page.text().contains("<a href=\"./page.html\">page.html</a>"), "{}", page.text());
    assert_eq!(room.ask("listing: on", "GET", "/static/", &[]).text(), "<h1>home</h1>");
}

#[test]
fn types_may_be_added_and_changed() {
    let answer = Room::new().ask("types: { js: text/plain }", "GET", "/static/app.js", &[]);
    assert_eq!(answer.header("content-type"), Some("text/plain"));
}

#[test]
fn an_empty_file_is_a_file() {
    let room = Room::new();
    room.write("empty.txt", b"");
    let answer = room.get("/static/empty.txt", &[]);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(room.get("/static/empty.txt", &[("Range", "bytes=0-")]).status, 416);
}

#[test]
fn what_may_not_be_read_is_told() {
    let room = Room::new();
    room.write("locked.txt", b"x");
    let path = room.dir.path().join("locked.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything.
    if fs::File::open(&path).is_err() {
        assert_eq!(room.get("/static/locked.txt", &[]).slug, "files/forbidden");
    }
}

#[test]
fn a_directory_that_goes_away_is_the_gateways_fault() {
    let room = Room::new();
    let files = room.files("");
    fs::remove_dir_all(room.dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let gone = runtime.block_on(answer(&files, "GET", "/static/app.js", &[]));
    assert_eq!((gone.status, gone.slug), (500, "files/failed"));
    // Another one in its place is served at once.
    fs::create_dir(room.dir.path()).unwrap();
    fs::write(room.dir.path().join("app.js"), "new").unwrap();
    assert_eq!(runtime.block_on(answer(&files, "GET", "/static/app.js", &[])).text(), "new");
}

#[test]
fn a_directory_that_is_not_there_is_a_mistake() {
    let node = tollgate_config::read("some/where/t.yaml", "{ dir: ./nowhere }").unwrap();
    let section = Section::decode(&node, &mut DecodeCx::default()).unwrap();
    let mistake = Files::build(&section, 0).unwrap_err();
    assert_eq!(mistake.message, "there is no directory `some/where/nowhere`");
}
