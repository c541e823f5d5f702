//! M3: one line per request, never at the price of a request.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tollgate_testkit::deadline::timed;
use tollgate_testkit::gateway::json_lines;
use tollgate_testkit::{Cli, Gateway, RawClient, Recorder, Script, Signal, Step, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A gateway whose access log is as `access` says.
fn gateway(access: &str) -> (Gateway, Recorder) {
    let backend = Recorder::answering(|taken| match taken.target.as_str() {
        "/s/hang" => Script(vec![Step::ReadRequest, Step::Silence]),
        _ => Script::ok(taken, "0123456789"),
    });
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlog: {{ access: {access} }}\n\
         services: {{ s: \"{{{{backend}}}}\", dead: {{ to: \"127.0.0.1:{}\", retry: none }} }}\n\
         apis: {{ shop: {{ hosts: [shop.test], routes: {{ /own: {{ reply: 200 own }} }} }} }}\n\
         routes: {{ /s/**: s, /dead: dead, /own: {{ reply: 200 own }} }}\n",
        free_port()
    );
    (Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]), backend)
}

fn keys(line: &Value) -> Vec<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_line_tells_all_about_a_request() {
    let (gateway, backend) = gateway("stdout");
    let request = "GET /s/./a%41?b=c&d HTTP/1.1\r\nHost: Shop.test:80\r\nUser-Agent: agent/1 (x)\r\n\
                   Referer: http://x.test/\r\nX-Correlation-ID: mine\r\n\r\n";
    let mut client = gateway.client();
    client.send(request);
    client.wait_for_bytes(|bytes| bytes.ends_with(b"0123456789")).unwrap();
    let answered = client.head().unwrap().len() + 10;
    let line = gateway.access_line("of the request", |line| line["id"] == "mine");
    assert_eq!(
        keys(&line),
        [
            "time",
            "id",
            "trace",
            "client",
            "protocol",
            "method",
            "host",
            "path",
            "query",
            "status",
            "bytes_in",
            "bytes_out",
            "duration_us",
            "route",
            "service",
            "instance",
            "attempts",
            "upstream_us",
            "user_agent",
            "referer"
        ]
    );
    for (key, expected) in [
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("method", "GET"),
        ("host", "Shop.test:80"),
        ("path", "/s/aA"),
        ("query", "b=c&d"),
        ("route", "/s/**"),
        ("service", "s"),
        ("instance", &backend.address().to_string()),
        ("user_agent", "agent/1 (x)"),
        ("referer", "http://x.test/"),
    ] {
        assert_eq!(line[key], expected, "{key}");
    }
    assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (Some(200), Some(1)));
    assert_eq!(line["bytes_in"].as_u64(), Some(request.len() as u64));
    assert_eq!(line["bytes_out"].as_u64(), Some(answered as u64));
    let number = |key: &str| line[key].as_u64().unwrap();
    assert!(number("upstream_us") <= number("duration_us") && number("duration_us") < 20_000_000, "{line}");
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    assert!(line["trace"].as_str().is_some_and(|trace| trace.len() == 32), "{line}");
}

#[test]
fn what_there_is_not_is_left_out() {
    let (gateway, backend) = gateway("stdout");
    let mut client = gateway.client();
    assert_eq!(client.call("GET /own HTTP/1.1\r\nHost: shop.test\r\n\r\n").status, 200);
    assert_eq!(client.get("/dead").status, 502);
    assert_eq!(gateway.client().call("nonsense\r\n\r\n").status, 400);
    let mut leaving = gateway.client();
    leaving.send("GET /s/hang HTTP/1.1\r\nHost: g\r\n\r\n");
    backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.ends_with(b"\r\n\r\n")));
    leaving.reset();
    let own = gateway.access_line("of the static reply", |line| line["path"] == "/own");
    assert_eq!((own["api"].as_str(), own["route"].as_str()), (Some("shop"), Some("shop: /own")));
    for key in ["service", "instance", "attempts", "upstream_us", "problem", "cause", "query", "user_agent", "referer"]
    {
        assert_eq!(own.get(key), None, "{key}");
    }
    let failed = gateway.access_line("of the failure", |line| line["path"] == "/dead");
    assert_eq!((failed["problem"].as_str(), failed["attempts"].as_u64()), (Some("upstream/connect-failed"), Some(1)));
    assert!(failed["cause"].is_string() && failed.get("upstream_us").is_none(), "{failed}");
    let refused = gateway.access_line("of what was no request", |line| line["problem"] == "http/malformed");
    assert_eq!(refused["status"].as_u64(), Some(400));
    for key in ["method", "host", "path", "service"] {
        assert_eq!(refused.get(key), None, "{key}");
    }
    let left = gateway.access_line("of the client that left", |line| line["path"] == "/s/hang");
    assert_eq!((left.get("status"), left["bytes_out"].as_u64()), (None, Some(0)), "{left}");
}

#[test]
fn odd_bytes_are_escaped_and_a_line_stays_a_line() {
    let (gateway, _backend) = gateway("stdout");
    let mut client = gateway.client();
    let mut request = b"GET /own?a=\"b\"&c='_%0a_ HTTP/1.1\r\nHost: g\r\nUser-Agent: ".to_vec();
    request.extend_from_slice(
        b"quote \" backslash \\ tab \t utf-8 \xc3\xa9 broken \xff\xfe {\"x\":1}\r\nReferer: \xe2\x80\xa8\r\n\r\n",
    );
    client.send(&request);
    assert_eq!(client.response("GET").unwrap().status, 200);
    let line = gateway.access_line("of the odd request", |line| line["path"] == "/own");
    let agent = "quote \" backslash \\ tab \t utf-8 \u{e9} broken \u{fffd}\u{fffd} {\"x\":1}";
    assert_eq!(line["user_agent"], agent);
    assert_eq!(line["referer"], "\u{2028}");
    assert_eq!(line["query"], "a=\"b\"&c='_%0a_");
    assert!(!gateway.log().contains('\t'), "control bytes are escaped");
}

#[test]
fn lines_are_appended_to_a_file() {
    let folder = Cli::new(TOLLGATE);
    let file = folder.folder().join("access.log");
    for round in 1..3 {
        let (gateway, _backend) = gateway(&file.display().to_string());
        for n in 0..10 {
            assert_eq!(gateway.client().get(&format!("/s/{n}")).status, 200);
        }
        // What is known at the end is written at the end.
        assert_eq!(gateway.stop().code(), Some(0));
        let lines = json_lines(&fs::read_to_string(&file).unwrap());
        let ours = lines.iter().filter(|line| line["service"] == "s").count();
        assert_eq!(ours, 10 * round);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

/// The queries of the requests to `/s/` that a file tells of, in the file's order.
fn told(file: &Path) -> Vec<String> {
    let lines = json_lines(&fs::read_to_string(file).unwrap_or_default());
    lines.iter().filter(|line| line["service"] == "s").map(|line| line["query"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_on_sigusr1() {
    let folder = Cli::new(TOLLGATE);
    let (file, moved) = (folder.folder().join("access.log"), folder.folder().join("access.log.1"));
    let (gateway, _backend) = gateway(&file.display().to_string());
    let mut client = gateway.client();
    assert_eq!(client.get("/s/a?before").status, 200);
    wait_until("the line before", || told(&file) == ["before"]);
    fs::rename(&file, &moved).unwrap();
    // Nobody told the gateway: what it writes goes where the file went.
    assert_eq!(client.get("/s/a?between").status, 200);
    wait_until("the line between", || told(&moved) == ["before", "between"]);
    gateway.signal(Signal::USR1);
    wait_until("the new file", || file.exists());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(client.get("/s/a?after").status, 200);
    wait_until("the line after", || told(&file) == ["after"]);
    assert_eq!(told(&moved), ["before", "between"]);
    assert_eq!(gateway.stop().code(), Some(0));
}

/// Ends those who go by it, also if the test fails before.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn no_line_is_lost_or_doubled_while_files_are_rotated() {
    const ROTATIONS: usize = 5;
    let folder = Cli::new(TOLLGATE);
    let file = folder.folder().join("access.log");
    let moved = |n: usize| folder.folder().join(format!("access.log.{n}"));
    let (gateway, _backend) = gateway(&file.display().to_string());
    let over = AtomicBool::new(false);
    let asked: usize = thread::scope(|scope| {
        let ask = |client: usize| {
            let (gateway, over) = (&gateway, &over);
            move || {
                let (mut connection, mut asked) = (gateway.client(), 0);
                while !over.load(Relaxed) {
                    assert_eq!(connection.get(&format!("/s/a?{client}-{asked}")).status, 200);
                    asked += 1;
                }
                asked
            }
        };
        let clients = [scope.spawn(ask(0)), scope.spawn(ask(1))];
        let end = AtTheEnd(&over);
        for n in 0..ROTATIONS {
            wait_until("lines in the file", || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
            fs::rename(&file, moved(n)).unwrap();
            gateway.signal(Signal::USR1);
            wait_until("the new file", || file.exists());
        }
        drop(end);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(gateway.stop().code(), Some(0));
    let lines: Vec<String> = (0..ROTATIONS).map(moved).chain([file.clone()]).flat_map(|file| told(&file)).collect();
    let different: BTreeSet<&String> = lines.iter().collect();
    assert_eq!((lines.len(), different.len()), (asked, asked));
}

#[test]
fn sigusr1_does_no_harm_where_there_is_no_file_or_no_way_to_it() {
    for access in ["stdout", "off"] {
        let (gateway, _backend) = gateway(access);
        gateway.signal(Signal::USR1);
        assert_eq!(gateway.client().get("/s/a").status, 200);
        assert_eq!(gateway.stop().code(), Some(0));
    }
    let folder = Cli::new(TOLLGATE);
    let (place, moved) = (folder.folder().join("logs"), folder.folder().join("moved"));
    fs::create_dir(&place).unwrap();
    let (gateway, _backend) = gateway(&place.join("access.log").display().to_string());
    fs::rename(&place, &moved).unwrap();
    gateway.signal(Signal::USR1);
    wait_until("the warning", || gateway.log().contains("the access log cannot be opened anew"));
    assert_eq!(gateway.client().get("/s/a?kept").status, 200);
    assert_eq!(gateway.stop().code(), Some(0));
    assert_eq!(told(&moved.join("access.log")), ["kept"], "the old file is written on");
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let port = free_port();
    let config = format!(
        "listen: \"127.0.0.1:{port}\"\nlog: {{ access: /nowhere/at/all.log }}\nroutes: {{ /a: {{ reply: 204 }} }}\n"
    );
    let ran = Cli::with(TOLLGATE, &config).run(&["run"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("cannot open the access log"), "{}", ran.err);
}

#[test]
fn nothing_is_written_if_the_log_is_off() {
    let (gateway, _backend) = gateway("off");
    assert_eq!(gateway.client().get("/s/a").status, 200);
    let status = gateway.status();
    assert_eq!((status["access_log"]["written"].as_u64(), gateway.access_log().len()), (Some(0), 0));
}

/// Makes a named pipe and opens it, so that it can be written to although nobody reads.
fn pipe(path: &Path) -> fs::File {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn a_stuck_reader_costs_lines_and_no_request() {
    let folder = Cli::new(TOLLGATE);
    let path = folder.folder().join("pipe");
    let mut reader = pipe(&path);
    let (gateway, _backend) = gateway(&format!("{{ to: {}, queue: 64KiB }}", path.display()));
    let agent = "x".repeat(8000);
    let mut client = gateway.client();
    let ((), took) = timed(|| {
        for n in 0..400 {
            let response = client.call(&format!("GET /s/{n} HTTP/1.1\r\nHost: g\r\nUser-Agent: {agent}\r\n\r\n"));
            assert_eq!(response.status, 200);
        }
    });
    // 3.2 MB into a pipe of 64 KiB and a queue of as much.
    assert!(took < Duration::from_secs(10), "{took:?}");
    gateway.await_metric("tollgate_access_log_lines_total{result=\"lost\"}", |lost| lost > 300.0);
    assert!(gateway.status()["access_log"]["lost"].as_u64().is_some_and(|lost| lost > 300));
    // Read again, and the lines that were not lost are whole.
    let lost = gateway.metric("tollgate_access_log_lines_total{result=\"lost\"}");
    let reading = thread::spawn(move || {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
        while !bytes.windows(6).any(|w| w == b"/final") {
            let count = reader.read(&mut buffer).unwrap();
            bytes.extend_from_slice(&buffer[..count]);
        }
        (bytes, reader)
    });
    wait_until("lines are written again", || {
        assert_eq!(client.get("/s/final").status, 200);
        reading.is_finished()
    });
    let (bytes, _reader) = reading.join().unwrap();
    let end = bytes.iter().rposition(|b| *b == b'\n').unwrap() + 1;
    let lines = json_lines(std::str::from_utf8(&bytes[..end]).unwrap());
    let whole = lines.iter().filter(|line| line["user_agent"] == *agent).count();
    assert!(whole >= 5 && whole as f64 + lost >= 400.0, "{whole} written, {lost} lost");
    assert_eq!(gateway.stop().code(), Some(0));
}

/// Logs are read by more people than may sign in as somebody else.
#[test]
fn secrets_in_queries_are_not_written_unless_the_file_says_so() {
    let ask = |access: &str| {
        let (gateway, _backend) = gateway(access);
        let request = "GET /own?a=1&Access-Token=hush&%63ode=hush HTTP/1.1\r\nHost: g\r\n\
                       Referer: https://x.test/b?api_key=hush&page=2\r\nX-Correlation-ID: mine\r\n\r\n";
        assert_eq!(gateway.client().call(request).status, 200);
        let line = gateway.access_line("of the request", |line| line["id"] == "mine");
        (line["query"].clone(), line["referer"].clone())
    };
    let told = |query: &str, referer: &str| (Value::from(query), Value::from(referer));
    let redacted = told("a=1&Access-Token=***&%63ode=***", "https://x.test/b?api_key=***&page=2");
    assert_eq!(ask("{}"), redacted);
    assert_eq!(ask("{ query: redacted }"), redacted);
    let full = told("a=1&Access-Token=hush&%63ode=hush", "https://x.test/b?api_key=hush&page=2");
    assert_eq!(ask("{ query: full }"), full);
    assert_eq!(ask("{ query: names }"), told("a&Access-Token&%63ode", "https://x.test/b?api_key&page"));
    assert_eq!(ask("{ query: off }"), (Value::Null, Value::from("https://x.test/b")));
}

/// A terminal that was stopped, a pipe that nobody empties: the gateway's own log is written beside the workers too.
#[test]
fn a_standard_error_that_nobody_reads_holds_up_no_request() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = format!(
        "listen: {{ \"{address}\": http }}\nworkers: 1\nlog: {{ level: debug, access: off }}\n\
         services: {{ dead: {{ to: \"127.0.0.1:{}\", retry: none }} }}\nroutes: {{ /**: dead }}\n",
        free_port()
    );
    let cli = Cli::with(TOLLGATE, &config);
    let mut gateway = Command::new(TOLLGATE)
        .arg("run")
        .current_dir(cli.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it listens", || RawClient::is_accepted(address));
    let mut client = RawClient::connect(address);
    // Each brings a line of some two hundred bytes; a pipe takes 64 KiB.
    for _ in 0..2000 {
        assert_eq!(client.get("/a").status, 502);
    }
    assert!(Command::new("kill").arg(gateway.id().to_string()).status().unwrap().success());
    wait_until("it ends", || gateway.try_wait().unwrap().is_some());
    assert_eq!(gateway.wait().unwrap().code(), Some(0));
    let mut told = String::new();
    gateway.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.len() >= 60_000, "the pipe was full: {} bytes", told.len());
}
