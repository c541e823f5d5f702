//! From entry to target: nothing waits, nothing is lost uncounted.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex};

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_core::facts::Address;

use super::*;

const LONG: Duration = Duration::from_secs(20);
static INSTANCE: Address = Address::Socket(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 21), 8080)));

fn entry() -> Entry<'static> {
    Entry {
        time: 1_700_000_000_123_456,
        id: "8b1a9953c4611296a827abf8c47804d7",
        trace: Some(0x8b1a),
        client: "192.0.2.7".parse().unwrap(),
        protocol: "HTTP/1.1",
        tls: Some("TLSv1.3"),
        certificate: None,
        auth: None,
        subject: None,
        consumer: None,
        method: Some(b"GET"),
        host: Some(b"shop.example.com"),
        path: Some(b"/orders/17"),
        query: Some(b"full=true"),
        status: 200,
        bytes_in: 412,
        bytes_out: 5120,
        duration_us: 1834,
        api: Some("shop"),
        route: Some("orders"),
        service: Some("orders"),
        instance: Some(&INSTANCE),
        attempts: 1,
        upstream_us: Some(1650),
        problem: None,
        shadow: None,
        cause: None,
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        referer: None,
    }
}

fn line(entry: &Entry) -> Value {
    let mut bytes = Vec::new();
    entry.write(&mut bytes, b"2023-11-14T22:13:20.123Z", Queries::Redacted);
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(bytes.last(), Some(&b'\n'));
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_line_says_what_was_given_and_nothing_else() {
    let expected = json!({
        "time": "2023-11-14T22:13:20.123Z", "id": "8b1a9953c4611296a827abf8c47804d7",
        "trace": "00000000000000000000000000008b1a", "client": "192.0.2.7", "protocol": "HTTP/1.1", "tls": "TLSv1.3", "method": "GET",
        "host": "shop.example.com", "path": "/orders/17", "query": "full=true", "status": 200, "bytes_in": 412,
        "bytes_out": 5120, "duration_us": 1834, "api": "shop", "route": "orders", "service": "orders",
        "instance": "10.0.0.21:8080", "attempts": 1, "upstream_us": 1650,
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    });
    assert_eq!(line(&entry()), expected);
}

#[test]
fn what_is_not_known_is_left_out() {
    let refused = Entry {
        trace: None,
        tls: None,
        method: None,
        host: None,
        path: None,
        query: None,
        status: 0,
        api: None,
        route: None,
        service: None,
        instance: None,
        attempts: 0,
        upstream_us: None,
        problem: Some("http/malformed"),
        shadow: None,
        cause: None,
        user_agent: None,
        ..entry()
    };
    let expected = json!({
        "time": "2023-11-14T22:13:20.123Z", "id": "8b1a9953c4611296a827abf8c47804d7", "client": "192.0.2.7",
        "protocol": "HTTP/1.1", "bytes_in": 412, "bytes_out": 5120, "duration_us": 1834, "problem": "http/malformed"
    });
    assert_eq!(line(&refused), expected);
}

#[test]
fn a_unix_socket_is_told_by_its_path_whatever_that_holds() {
    let instance = Address::Unix(Path::new("/run/my \"app\".sock").into());
    assert_eq!(line(&Entry { instance: Some(&instance), ..entry() })["instance"], "unix:/run/my \"app\".sock");
}

proptest! {
    #[test]
    fn a_client_cannot_break_out_of_its_line(
        path in prop::collection::vec(any::<u8>(), 0..60),
        agent in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let read = line(&Entry { path: Some(&path), user_agent: Some(&agent), ..entry() });
        prop_assert_eq!(&read["path"], &Value::from(String::from_utf8_lossy(&path)));
        prop_assert_eq!(&read["user_agent"], &Value::from(String::from_utf8_lossy(&agent)));
    }
}

/// A target that takes nothing until it is let, and keeps what it took.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Option<Vec<u8>>>, Condvar)>);

impl Gate {
    fn open(&self) {
        self.0.0.lock().unwrap().get_or_insert_default();
        self.0.1.notify_all();
    }

    fn lines(&self) -> usize {
        self.0.0.lock().unwrap().iter().flatten().filter(|byte| **byte == b'\n').count()
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = self.0.1.wait_while(self.0.0.lock().unwrap(), |taken| taken.is_none()).unwrap();
        taken.as_mut().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_to(target: impl Write + Clone + Send + 'static, queue: usize) -> AccessLog {
    let sink = Sink::new(Box::new(move || Ok(Box::new(target.clone())))).unwrap();
    AccessLog::start_with(sink, queue, Arc::default(), Clock::real()).unwrap()
}

fn counts(log: &AccessLog) -> (u64, u64) {
    (log.lines.written.load(Relaxed), log.lines.lost.load(Relaxed))
}

#[test]
fn every_line_of_several_workers_arrives_once() {
    let gate = Gate::default();
    gate.open();
    let log = log_to(gate.clone(), 8 << 20);
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut buffer = log.buffer();
            scope.spawn(move || (0..1000).for_each(|_| buffer.push(&entry())));
        }
    });
    assert_eq!(log.close(LONG), 0);
    assert_eq!((gate.lines(), counts(&log)), (4000, (4000, 0)));
}

#[test]
fn a_target_that_stands_still_holds_up_nobody_and_the_loss_is_counted() {
    let gate = Gate::default();
    let log = log_to(gate.clone(), 64 * 1024);
    let mut buffer = log.buffer();
    for _ in 0..2000 {
        buffer.push(&entry());
    }
    assert!(counts(&log).1 > 1000);
    gate.open();
    while !buffer.flush() {
        thread::yield_now();
    }
    assert_eq!(log.close(LONG), 0);
    let (written, lost) = counts(&log);
    assert_eq!((written + lost, gate.lines() as u64), (2000, written));
    assert!(written > 100, "{written}");
}

#[test]
fn patience_at_the_end_is_bounded_and_what_is_left_counts_as_lost() {
    let log = log_to(Gate::default(), 1 << 20);
    let mut buffer = log.buffer();
    (0..10).for_each(|_| buffer.push(&entry()));
    assert!(buffer.flush());
    assert_eq!(log.close(Duration::from_millis(20)), 10);
    buffer.push(&entry());
    drop(buffer);
    assert_eq!(counts(&log), (0, 11));
}

/// A target that fails each time, and tells.
#[derive(Clone)]
struct Broken(SyncSender<()>);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_target_that_fails_loses_lines_but_not_the_log() {
    let (sender, tried): (_, Receiver<()>) = sync_channel(8);
    let log = log_to(Broken(sender), 1 << 20);
    let mut buffer = log.buffer();
    for _ in 0..2 {
        buffer.push(&entry());
        assert!(buffer.flush());
        tried.recv_timeout(LONG).unwrap();
    }
    assert_eq!(log.close(LONG), 0);
    assert_eq!(counts(&log), (0, 2));
}

#[test]
fn a_file_is_appended_to_and_opened_anew_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    std::fs::write(&path, "{\"before\":true}\n").unwrap();
    let settings = Settings { target: Target::File(path.clone()), queue: 1 << 20, queries: Queries::default() };
    let log = AccessLog::start(&settings, Arc::default(), Clock::real()).unwrap();
    let mut buffer = log.buffer();
    buffer.push(&entry());
    buffer.flush();
    while counts(&log).0 < 1 {
        thread::yield_now();
    }
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    buffer.push(&entry());
    buffer.flush();
    assert_eq!(log.close(LONG), 0);
    let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&moved), lines(&path)), (2, 1));
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let settings = Settings {
        target: Target::File("/no/such/folder/access.log".into()),
        queue: 1 << 20,
        queries: Queries::default(),
    };
    assert!(AccessLog::start(&settings, Arc::default(), Clock::real()).is_err());
}
