//! L5: another binary takes the place of the running one without a connection refused; one that does not start changes nothing.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tempfile::TempDir;
use tollgate_testkit::load::Changing;
use tollgate_testkit::process::has_ended;
use tollgate_testkit::{
    Cli, Companions, Gate, Gateway, Load, RawClient, ReadError, Recorder, Script, Signal, Step, free_port, wait_until,
};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const GET: &str = "GET /a HTTP/1.1\r\nHost: g\r\n\r\n";

struct Bench {
    gateway: Gateway,
    gate: Gate,
    /// Where the binary is that runs.
    binary: PathBuf,
    folder: TempDir,
    backend: Recorder,
    admin: SocketAddr,
}

impl Bench {
    /// A gateway whose binary can be replaced; a request for `/wait` is answered once the gate is open.
    fn new(sections: &str) -> Self {
        let (gate, folder) = (Gate::new(), tempfile::tempdir().unwrap());
        let inner = gate.clone();
        let backend = Recorder::answering(move |taken| match taken.target.as_str() {
            "/wait" => {
                let mut script = Script::ok(taken, "late");
                script.0.insert(1, Step::Wait(inner.clone()));
                script
            }
            _ => Script::ok(taken, "ok"),
        });
        let binary = folder.path().join("tollgate");
        install(Path::new(TOLLGATE), &binary);
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health, \"unix:{{{{socket}}}}\": http, \"{{{{admin}}}}\": admin }}\n\
             workers: 2\n{sections}\nroutes: {{ /**: \"{{{{backend}}}}\" }}\n"
        );
        let socket = folder.path().join("g.sock");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let values = [
            ("backend", backend.address().to_string()),
            ("socket", socket.display().to_string()),
            ("admin", admin.to_string()),
        ];
        let gateway = Gateway::start(binary.to_str().unwrap(), &config, &values);
        Self { gateway, gate, binary, folder, backend, admin }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("g.sock")
    }

    /// What is answered on the Unix socket.
    fn asked_by_file(&self) -> String {
        let (mut stream, mut answer) = (UnixStream::connect(self.socket()).unwrap(), String::new());
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Puts this in the binary's place, as an installer does.
    fn replace(&self, by: &Path) {
        let new = self.folder.path().join("new");
        install(by, &new);
        fs::rename(new, &self.binary).unwrap();
    }

    /// Another build of the same program.
    fn replace_by_another_build(&self) {
        let other = self.folder.path().join("other");
        strip(TOLLGATE, &other);
        self.replace(&other);
    }

    fn failed(&self) -> (u64, String) {
        failed(&self.gateway)
    }
}

/// How many upgrades failed, and why the last one did.
fn failed(gateway: &Gateway) -> (u64, String) {
    let status = gateway.status();
    let why = status["upgrades"]["why"].as_str().unwrap_or_default().to_owned();
    (status["upgrades"]["failed"].as_u64().unwrap(), why)
}

/// One that is stripped: another build of the same program.
fn strip(from: &str, to: &Path) {
    assert!(Command::new("strip").arg("-o").arg(to).arg(from).status().unwrap().success());
}

/// In a process of its own: written by this one, the file would be busy for as long as a child of another test has it open.
fn install(from: &Path, to: &Path) {
    assert!(Command::new("install").args(["-m", "755"]).arg(from).arg(to).status().unwrap().success());
}

/// Asks until it is told not to, with a new connection each time or always with the same; how many answers there were.
fn asks(gateway: &Gateway, is_kept: bool, until: &AtomicBool) -> u64 {
    let (mut client, mut answers) = (gateway.client(), 0);
    while !until.load(Ordering::Relaxed) {
        let answer = client.call(GET);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        answers += 1;
        if !is_kept || answer.one("connection").as_deref() == Some("close") {
            client = gateway.client();
        }
    }
    answers
}

#[test]
fn another_build_takes_over_and_nothing_is_lost() {
    let mut bench = Bench::new("");
    let mut waiting = bench.gateway.client();
    waiting.send("GET /wait HTTP/1.1\r\nHost: g\r\n\r\n");
    bench.backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.starts_with(b"GET /wait")));
    let (old, done, answers) = (bench.gateway.pid(), AtomicBool::new(false), AtomicU64::new(0));
    let health = bench.gateway.health_address();
    bench.replace_by_another_build();
    thread::scope(|threads| {
        let (gateway, done, answers) = (&bench.gateway, &done, &answers);
        for is_kept in [false, true, false, true] {
            threads.spawn(move || answers.fetch_add(asks(gateway, is_kept, done), Ordering::Relaxed));
        }
        threads.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let answer = RawClient::connect(health).get("/health/ready");
                assert_eq!(answer.status, 200, "balancers see nothing of it");
            }
        });
        gateway.signal(Signal::USR2);
        wait_until("another process serves", || gateway.status()["pid"].as_u64() != Some(old.into()));
        wait_until("it is asked, too", || gateway.status()["requests"]["finished"].as_u64() > Some(500));
        done.store(true, Ordering::Relaxed);
    });
    assert!(answers.load(Ordering::Relaxed) > 200);
    bench.gateway.upgraded();
    let running = fs::read(format!("/proc/{}/exe", bench.gateway.pid())).unwrap();
    assert!((running.len() as u64) < fs::metadata(TOLLGATE).unwrap().len(), "the other build runs");
    // What was on its way comes to its end where it was, and then nothing is left of the one before.
    assert!(!has_ended(old));
    bench.gate.open();
    assert_eq!(waiting.response("GET").unwrap().text(), "late");
    assert_eq!(waiting.end(), ReadError::Closed(Vec::new()));
    assert_eq!(bench.gateway.ended().code(), Some(0));
    // Unix sockets belong to the new one.
    assert!(bench.asked_by_file().ends_with("ok"));
    let (new, socket) = (bench.gateway.pid(), bench.socket());
    bench.gateway.terminate();
    wait_until("the new one ends", || has_ended(new));
    assert!(!socket.exists(), "removed by whoever had it last");
}

#[test]
fn what_does_not_start_changes_nothing() {
    let bench = Bench::new("");
    let pid = bench.gateway.pid();
    let script = |name: &str, text: &str| {
        let path = bench.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let broken = [
        (script("text", "this is no binary"), "cannot be started"),
        (script("fails", "#!/bin/sh\nexit 3\n"), "ended before it served (exit status: 3)"),
        (script("kills", "#!/bin/sh\nkill -9 $$\n"), "ended before it served (signal: 9 (SIGKILL))"),
    ];
    let mut resting = bench.gateway.client();
    for (at, (binary, why)) in broken.iter().enumerate() {
        bench.replace(binary);
        bench.gateway.signal(Signal::USR2);
        wait_until("it is told", || bench.failed().0 == at as u64 + 1);
        let told = bench.failed().1;
        assert!(told.contains(why), "{told}");
        assert_eq!((resting.call(GET).text().as_str(), bench.gateway.client().call(GET).text().as_str()), ("ok", "ok"));
    }
    // One that works, but with a config that it does not take.
    bench.replace(Path::new(TOLLGATE));
    fs::write(bench.gateway.folder().join("tollgate.yaml"), "nonsense: true").unwrap();
    bench.gateway.signal(Signal::USR2);
    wait_until("it is told", || bench.failed().0 == 4);
    assert!(bench.failed().1.contains("exit status: 2"), "{}", bench.failed().1);
    assert!(bench.gateway.log().contains("nonsense"), "the new one says why");
    assert_eq!((resting.call(GET).text().as_str(), bench.gateway.pid()), ("ok", pid));
    assert_eq!(bench.gateway.health("/health/ready").status, 200);
    assert!(bench.asked_by_file().ends_with("ok"), "the file is still there");
}

#[test]
fn who_stops_the_gateway_stops_what_was_about_to_replace_it() {
    let mut bench = Bench::new("");
    let told = bench.folder.path().join("pid");
    let script = bench.folder.path().join("hangs");
    fs::write(&script, format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", told.display())).unwrap();
    bench.replace(&script);
    bench.gateway.signal(Signal::USR2);
    let mut pid = None;
    wait_until("it is started", || {
        pid = fs::read_to_string(&told).ok().and_then(|text| text.trim().parse::<u32>().ok());
        pid.is_some()
    });
    bench.gateway.terminate();
    assert_eq!(bench.gateway.ended().code(), Some(0));
    wait_until("the other one ends, too", || has_ended(pid.unwrap()));
}

/// The successor would not know: it was told what holds when it was started.
#[test]
fn who_takes_the_node_out_meanwhile_is_told_that_another_one_serves() {
    let mut bench = Bench::new("drain: 1s");
    let (script, waits) = (bench.folder.path().join("slow"), bench.folder.path().join("waits"));
    let text = format!(
        "#!/bin/sh\ntouch {0}\nwhile [ -e {0} ]; do sleep 0.02; done\nexec {TOLLGATE} \"$@\"\n",
        waits.display()
    );
    fs::write(&script, text).unwrap();
    bench.replace(&script);
    bench.gateway.signal(Signal::USR2);
    wait_until("the successor is started", || waits.exists());
    let token = fs::read_to_string(bench.gateway.folder().join("data/admin.token")).unwrap();
    let mut client = RawClient::connect(bench.admin);
    client.send(format!(
        "POST /v1/drain HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nAuthorization: Bearer {}\r\n\r\n",
        bench.admin,
        token.trim()
    ));
    fs::remove_file(&waits).unwrap();
    assert_eq!(client.response("POST").unwrap().status, 503);
    bench.gateway.upgraded();
    assert_eq!(bench.gateway.health("/health/ready").status, 200);
}

#[test]
fn what_lasts_longer_than_the_drain_time_ends_then() {
    let mut bench = Bench::new("drain: 300ms");
    let old = bench.gateway.pid();
    let mut waiting = bench.gateway.client();
    waiting.send("GET /wait HTTP/1.1\r\nHost: g\r\n\r\n");
    bench.backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.starts_with(b"GET /wait")));
    bench.gateway.upgrade();
    assert_eq!(bench.gateway.ended().code(), Some(0));
    assert!(has_ended(old));
    assert!(waiting.response("GET").is_err());
}

/// HTTP/1.1 and HTTP/2, with and without TLS, connections new and kept; and 20 WebSockets, five streams, a slow download.
#[test]
fn under_load_nothing_is_lost_or_doubled_or_sent_again() {
    let (folder, config) = (tempfile::tempdir().unwrap(), Changing::new());
    let [binary, broken, other] = ["tollgate", "broken", "other"].map(|name| folder.path().join(name));
    install(Path::new(TOLLGATE), &binary);
    strip(TOLLGATE, &other);
    fs::write(&broken, "#!/bin/sh\nexit 3\n").unwrap();
    let mut gateway = Gateway::start(binary.to_str().unwrap(), &config.config(), &[]);
    let companions = Companions::usual(gateway.address());
    let load = Load::start(&config.backends, &config.targets(&gateway), config.options());
    load.await_answers(200);
    for (binary_now, is_good) in [(&broken, false), (&other, true)] {
        let new = folder.path().join("new");
        install(binary_now, &new);
        fs::rename(new, &binary).unwrap();
        if is_good {
            gateway.upgrade();
        } else {
            gateway.signal(Signal::USR2);
            wait_until("it is told", || failed(&gateway).0 == 1);
        }
        load.await_answers(500);
        for one in &companions {
            assert!(one.is_alive(), "{:?}", one.ended());
            one.await_rounds(3);
        }
    }
    // They are all that the process before has left.
    drop(companions);
    assert_eq!(gateway.ended().code(), Some(0));
    load.await_answers(200);
    let outcome = load.stop();
    outcome.is_complete();
    assert_eq!(outcome.answered, outcome.begun, "{outcome}");
}

/// As a person does it, twice.
#[test]
fn the_command_says_what_came_of_it() {
    let mut bench = Bench::new("drain: 1s");
    let config = bench.gateway.folder().join("tollgate.yaml");
    let cli = Cli::new(TOLLGATE);
    for _ in 0..2 {
        let pid = bench.gateway.pid();
        bench.replace_by_another_build();
        let ran = cli.run(&["upgrade", "-c", config.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        bench.gateway.upgraded();
        let expected = format!("upgraded: process {pid} (0.1.0) -> process {} (0.1.0)\n", bench.gateway.pid());
        assert_eq!(ran.out, expected);
    }
    let broken = bench.folder.path().join("broken");
    fs::write(&broken, "#!/bin/sh\nexit 3\n").unwrap();
    bench.replace(&broken);
    let ran = cli.run(&["upgrade", "-c", config.to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("not upgraded") && ran.err.contains("exit status: 3"), "{}", ran.err);
    assert_eq!(bench.gateway.client().call(GET).text(), "ok");
}
