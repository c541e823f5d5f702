//! R1: `tollgate register` starts a service, registers it once it is ready, keeps it registered, and takes it away before the service is
//! told to stop. The gateway is played here, so that it can fail on purpose; in `r1_registry.rs` it is a real one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's helpers fail it by panicking, and say why"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tollgate_testkit::deadline::timed;
use tollgate_testkit::{RawClient, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// What was asked: method, path, body, and what notes the service had made by then.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    body: String,
    notes: String,
}

/// Plays a gateway; answers as `answers` says.
struct Desk {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

type Answers = fn(&str, usize) -> u16;

/// As a gateway does that knows what is registered.
fn well(line: &str, _: usize) -> u16 {
    match line {
        _ if line.starts_with("PUT") => 201,
        _ if line.starts_with("DELETE") => 204,
        _ => 200,
    }
}

impl Desk {
    fn open(notes: &Path, answers: Answers) -> Self {
        Self::open_at(free_port(), notes, answers)
    }

    fn open_at(port: u16, notes: &Path, answers: Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (asked, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, over, notes) = (Arc::clone(&asked), Arc::clone(&is_over), notes.to_owned());
        let serving = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut line, mut length) = (String::new(), 0);
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    continue;
                }
                let mut field = String::new();
                while reader.read_line(&mut field).unwrap() > 2 {
                    if let Some(value) = field.strip_prefix("Content-Length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    field.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let line = line.trim_end_matches(" HTTP/1.1\r\n").to_owned();
                let mut log = log.lock().unwrap();
                let status = answers(&line, log.iter().filter(|asked: &&Asked| asked.line == line).count());
                let notes = fs::read_to_string(&notes).unwrap_or_default();
                log.push(Asked { line, body: String::from_utf8(body).unwrap(), notes });
                drop(log);
                let said = if status == 404 { r#"{"type":"urn:tollgate:problem:registry/not-found"}"# } else { "{}" };
                let said = if status == 204 { "" } else { said };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
                    said.len()
                );
            }
        });
        Self { port, asked, is_over, serving: Some(serving) }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|asked| asked.line.starts_with(line)).count()
    }

    fn find(&self, line: &str) -> Asked {
        let found = self.asked().into_iter().find(|asked| asked.line.starts_with(line));
        found.unwrap_or_else(|| panic!("no {line} in {:#?}", self.asked()))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let _ = self.serving.take().unwrap().join();
    }
}

/// A service under the wrapper.
struct Wrapped {
    child: Child,
    port: u16,
    notes: PathBuf,
    said: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// Where a service makes its notes.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    (folder, notes)
}

fn python() -> String {
    let ours = Path::new(TOLLGATE).ancestors().nth(2).unwrap().join("tools/python/bin/python3");
    if ours.exists() { ours.to_string_lossy().into_owned() } else { "python3".to_owned() }
}

impl Wrapped {
    /// Runs it with these options; the service is ready after so many seconds, and ends with that code.
    fn start((folder, notes): (tempfile::TempDir, PathBuf), options: &[&str], ready_after: &str, code: &str) -> Self {
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/instance.py");
        let mut child = Command::new(TOLLGATE)
            .args(["register", "--service", "orders", "--port", &port.to_string()])
            .args(options)
            .args([
                "--",
                &python(),
                script.to_str().unwrap(),
                &port.to_string(),
                notes.to_str().unwrap(),
                ready_after,
                code,
            ])
            .env_remove("TOLLGATE_TOKEN")
            .env_remove("TOLLGATE_GATEWAY")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (told, stderr) = (Arc::clone(&said), child.stderr.take().unwrap());
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                told.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, port, notes, said, reading: Some(reading), _folder: folder }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn notes(&self) -> String {
        fs::read_to_string(&self.notes).unwrap_or_default()
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the wrapper ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // The second one is passed on at once.
            self.signal(Signal::TERM);
            self.signal(Signal::INT);
            let _ = self.child.wait();
        }
        let _ = self.reading.take().unwrap().join();
        if std::thread::panicking() {
            eprintln!("the wrapper said:\n{}\nthe service noted:\n{}", self.said(), self.notes());
        }
    }
}

#[test]
fn a_service_is_registered_while_it_is_ready_and_gone_before_it_is_told_to_stop() {
    let place = folder();
    let desk = Desk::open(&place.1, well);
    let options = [
        "--gateway",
        &desk.url(),
        "--ready",
        "/healthz",
        "--ttl",
        "3s",
        "--drain",
        "700ms",
        "--zone",
        "z",
        "--tag",
        "a",
        "--tag",
        "b",
    ];
    let mut service = Wrapped::start(place, &options, "0.5", "7");
    let path = format!("/v1/registry/services/orders/instances/127.0.0.1:{}", service.port);
    wait_until("it is renewed twice", || desk.count(&format!("POST {path}/renew")) == 2);
    let put = desk.find(&format!("PUT {path}"));
    assert_eq!(
        put.body,
        format!(r#"{{"port":{},"ttl":"3s","zone":"z","tags":["a","b"],"address":"127.0.0.1"}}"#, service.port)
    );
    let health = RawClient::connect((Ipv4Addr::LOCALHOST, service.port).into()).get("/healthz");
    assert_eq!(health.status, 200, "it was ready before it was registered");
    service.signal(Signal::TERM);
    let (status, took) = timed(|| service.ended());
    assert_eq!(status.code(), Some(7));
    assert!(took >= Duration::from_millis(650), "requests in flight have their time: {took:?}");
    assert_eq!(desk.find(&format!("DELETE {path}")).notes, "start\n", "it was not told before");
    assert_eq!(service.notes(), "start\nSIGTERM\nend\n");
    assert_eq!((desk.count("PUT"), desk.count("DELETE")), (1, 1));
    assert!(service.said().contains(&format!(
        "`orders` at 127.0.0.1:{} is registered with {}",
        service.port,
        desk.url()
    )));
}

#[test]
fn a_service_that_is_not_ready_is_not_registered() {
    let place = folder();
    let desk = Desk::open(&place.1, well);
    let mut service = Wrapped::start(place, &["--gateway", &desk.url(), "--ready", "/healthz"], "600", "3");
    wait_until("it runs", || !service.notes().is_empty());
    wait_until("it answers", || RawClient::is_accepted((Ipv4Addr::LOCALHOST, service.port).into()));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code(), Some(3));
    assert_eq!((desk.count("PUT"), desk.count("DELETE")), (0, 0), "nothing to take away either");
}

#[test]
fn a_service_that_ends_by_itself_is_taken_away_at_once() {
    let place = folder();
    let desk = Desk::open(&place.1, well);
    let mut service = Wrapped::start(place, &["--gateway", &desk.url(), "--drain", "1h"], "0", "0");
    wait_until("it is registered", || desk.count("PUT") == 1);
    let pid = Command::new("pgrep").args(["-P", &service.child.id().to_string()]).output().unwrap();
    let pid = String::from_utf8(pid.stdout).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(service.ended().code(), Some(128 + 9));
    assert_eq!(desk.count("DELETE"), 1);
}

#[test]
fn a_second_signal_is_passed_on_at_once() {
    let place = folder();
    let desk = Desk::open(&place.1, well);
    let mut service = Wrapped::start(place, &["--gateway", &desk.url(), "--drain", "1h"], "0", "4");
    wait_until("it is registered", || desk.count("PUT") == 1);
    service.signal(Signal::TERM);
    wait_until("it is deregistered", || desk.count("DELETE") == 1);
    assert_eq!(service.notes(), "start\n");
    service.signal(Signal::INT);
    assert_eq!(service.ended().code(), Some(4));
    assert_eq!(service.notes(), "start\nSIGTERM\nend\n");
}

#[test]
fn other_signals_are_for_the_service() {
    let place = folder();
    let desk = Desk::open(&place.1, well);
    let service = Wrapped::start(place, &["--gateway", &desk.url()], "0", "0");
    wait_until("it is registered", || desk.count("PUT") == 1);
    for (signal, name) in [(Signal::HUP, "SIGHUP\n"), (Signal::USR1, "SIGUSR1\n"), (Signal::USR2, "SIGUSR2\n")] {
        service.signal(signal);
        wait_until(name, || service.notes().ends_with(name));
    }
    assert_eq!(desk.count("DELETE"), 0);
}

#[test]
fn it_goes_on_trying_while_no_gateway_answers() {
    let place = folder();
    let (port, notes) = (free_port(), place.1.clone());
    let service = Wrapped::start(place, &["--gateway", &format!("http://127.0.0.1:{port}"), "--ttl", "2s"], "0", "0");
    wait_until("the service runs all the same", || service.notes() == "start\n");
    wait_until("it is said", || service.said().contains("no gateway answers"));
    let desk = Desk::open_at(port, &notes, well);
    wait_until("it is registered once there is one", || desk.count("PUT") == 1);
    drop(desk);
    wait_until("that is said too", || service.said().contains("not renewed, it goes on trying"));
    let desk = Desk::open_at(
        port,
        &notes,
        |line, before| if line.starts_with("POST") && before == 0 { 404 } else { well(line, 0) },
    );
    wait_until("it is renewed with one that has forgotten it", || desk.count("POST") == 1);
    wait_until("and registers again", || desk.count("PUT") == 1);
    wait_until("and is renewed there", || desk.count("POST") == 2);
}

#[test]
fn the_first_gateway_that_answers_is_asked() {
    let place = folder();
    let (dead, notes) = (free_port(), place.1.clone());
    let ill = Desk::open(&notes, |_, _| 503);
    let well = Desk::open(&notes, well);
    let urls = format!("http://127.0.0.1:{dead},{},{}", ill.url(), well.url());
    let mut service = Wrapped::start(place, &["--gateway", &urls, "--drain", "0s", "--id", "one"], "0", "0");
    wait_until("it is registered", || well.count("PUT /v1/registry/services/orders/instances/one") == 1);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code(), Some(0));
    assert_eq!(well.count("DELETE"), 1);
    assert!(ill.count("PUT") + ill.count("DELETE") == 0, "once one has answered, it is asked first");
}

#[test]
fn whoever_may_not_register_is_not_even_started() {
    for (answers, told) in [
        ((|_, _| 401) as Answers, "the token is missing or wrong"),
        (|_, _| 403, "may register"),
        (|_, _| 421, "under `hosts`"),
    ] {
        let place = folder();
        let desk = Desk::open(&place.1, answers);
        let mut service = Wrapped::start(place, &["--gateway", &desk.url()], "0", "0");
        assert_eq!(service.ended().code(), Some(1));
        wait_until("it is said why", || service.said().contains(told));
        assert_eq!(service.notes(), "");
    }
}

#[test]
fn what_cannot_be_run_ends_as_in_a_shell() {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(TOLLGATE).arg("register").args(arguments).env_remove("TOLLGATE_TOKEN").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let gateway = format!("--gateway=http://127.0.0.1:{}", free_port());
    let common = ["--service", "orders", "--port", "1", &gateway];
    for (command, code, told) in [
        ("./no-such-command", 127, "is not found"),
        ("/etc/passwd", 126, "cannot be executed"),
        ("/", 126, "cannot be executed"),
    ] {
        let (have, said) = run(&[&common[..], &["--", command]].concat());
        assert_eq!(have, Some(code), "{said}");
        assert!(said.contains(told), "{said}");
    }
    let ended = |script: &str| run(&[&common[..], &["--", "sh", "-c", script]].concat()).0;
    assert_eq!([ended("exit 0"), ended("exit 42"), ended("kill -KILL $$")], [Some(0), Some(42), Some(137)]);
    for (option, code, told) in [
        ("--ready=healthz", 2, "expected a path"),
        ("--zone=a b", 2, "--zone: expected 1 to 63"),
        ("--ttl=1500ms", 2, "whole seconds"),
        ("--gateway=ftp://x", 2, "no URL of an admin listener"),
        ("--address=0.0.0.0", 2, "no address of one machine"),
        ("--token-file=/no/such", 1, "does not read"),
        ("--cert=x.pem", 2, "--key"),
    ] {
        let (have, said) = run(&["--service", "orders", "--port", "1", option, "--", "true"]);
        assert_eq!(have, Some(code), "{option}: {said}");
        assert!(said.contains(told), "{option}: {said}");
    }
    assert_eq!(run(&["--service", "orders", "--port", "1"]).0, Some(2), "no command");
}
