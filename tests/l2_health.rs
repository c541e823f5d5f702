//! L2: instances that fail their checks are left out, and come back.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;
use tollgate_testkit::{
    Authority, Cli, Gateway, NameServer, RawClient, Recorder, Response, Script, Step, free_port, strict, wait_until,
};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// As fast as it goes, so that no test waits long.
const FAST: &str = "interval: 30ms, timeout: 10s, healthy: 2, unhealthy: 2";

fn gateway<A: AsRef<str>>(to: &[A], service: &str) -> Gateway {
    let to: Vec<String> = to.iter().map(|address| format!("\"{}\"", address.as_ref())).collect();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n\
         services: {{ s: {{ to: [{}], {service} }} }}\nroutes: {{ /**: s }}\n",
        to.join(", ")
    );
    Gateway::start(TOLLGATE, &config, &[])
}

/// How an instance stands, and why its last check failed.
fn standing(gateway: &Gateway, address: &str) -> (String, String) {
    let status = gateway.status();
    let instances = status["services"][0]["instances"].as_array().unwrap();
    let instance = instances.iter().find(|i| i["address"] == address).unwrap_or_else(|| panic!("{address}: {status}"));
    let text = |key: &str| instance[key].as_str().unwrap_or_default().to_owned();
    (text("standing"), text("check_failed"))
}

fn await_standing(gateway: &Gateway, address: &str, wanted: &str) {
    wait_until(&format!("{address} is {wanted}"), || standing(gateway, address).0 == wanted);
}

/// Who answers many requests, each over a connection of its own, so that every worker has its say.
fn answering(gateway: &Gateway, path: &str) -> BTreeSet<String> {
    (0..24).map(|_| gateway.client().get(path).text()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn slug(response: &Response) -> String {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:tollgate:problem:").to_owned()
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Python's file server over a folder with the files `name` and `healthz`.
fn file_server(name: &str) -> (Process, TempDir, String) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    fs::write(folder.path().join("name"), name).unwrap();
    fs::write(folder.path().join("healthz"), "well").unwrap();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(folder.path());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let process = Process(child);
    wait_until("the file server", || RawClient::is_accepted(([127, 0, 0, 1], port).into()));
    (process, folder, format!("127.0.0.1:{port}"))
}

/// A backend that answers checks at `/healthz` with 503 while it is ill, and everything else with `name`.
fn moody(name: &'static str) -> (Recorder, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(false));
    let mood = Arc::clone(&ill);
    let backend = Recorder::answering(move |taken| match taken.target == "/healthz" && mood.load(SeqCst) {
        true => Script::reply("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        false => Script::ok(taken, name),
    });
    (backend, ill)
}

fn of(recorder: &Recorder) -> String {
    recorder.address().to_string()
}

#[test]
fn an_instance_that_fails_its_checks_is_left_out_until_they_succeed() {
    let ((_a, folder, a), (_b, _kept, b)) = (file_server("a"), file_server("b"));
    let gateway = gateway(&[&a, &b], &format!("health: {{ path: /healthz, {FAST} }}"));
    await_standing(&gateway, &a, "healthy");
    await_standing(&gateway, &b, "healthy");
    assert_eq!(answering(&gateway, "/name"), set(&["a", "b"]));
    let healthz = folder.path().join("healthz");
    fs::remove_file(&healthz).unwrap();
    await_standing(&gateway, &a, "unhealthy");
    assert_eq!(standing(&gateway, &a).1, "answered with status 404");
    assert_eq!(answering(&gateway, "/name"), set(&["b"]), "no worker asks it");
    fs::write(&healthz, "well").unwrap();
    await_standing(&gateway, &a, "healthy");
    assert_eq!(standing(&gateway, &a).1, "");
    assert_eq!(answering(&gateway, "/name"), set(&["a", "b"]));
    let log = gateway.log();
    assert!(log.contains("an instance is unhealthy") && log.contains("an instance is healthy again"), "{log}");
}

#[test]
fn status_and_metrics_tell_how_instances_stand() {
    let ((a, ill), (b, _)) = (moody("a"), moody("b"));
    let gateway = gateway(&[of(&a), of(&b)], &format!("health: {{ path: /healthz, {FAST} }}"));
    let instances = |state: &str| format!("tollgate_service_instances{{service=\"s\",state=\"{state}\"}}");
    gateway.await_metric(&instances("healthy"), |count| count == 2.0);
    ill.store(true, SeqCst);
    gateway.await_metric(&instances("unhealthy"), |count| count == 1.0);
    assert_eq!(gateway.metric(&instances("healthy")), 1.0);
    gateway.await_metric("tollgate_health_checks_total{service=\"s\",result=\"failed\"}", |count| count >= 2.0);
    gateway.await_metric("tollgate_health_checks_total{service=\"s\",result=\"ok\"}", |count| count >= 2.0);
    let cli = Cli::new(TOLLGATE);
    let ran = cli.run(&["status", "--url", &format!("http://{}", gateway.health_address())]);
    let line = |address: &str| ran.out.lines().find(|line| line.contains(address)).unwrap_or_default().to_owned();
    assert!(line(&of(&a)).ends_with("connections · unhealthy: answered with status 503"), "{}", ran.out);
    assert!(line(&of(&b)).ends_with("connections · healthy"), "{}", ran.out);
}

#[test]
fn a_service_without_checks_says_nothing_of_them() {
    let backend = Recorder::start();
    let gateway = gateway(&[of(&backend)], "");
    assert_eq!(gateway.client().get("/a").text(), "ok");
    assert_eq!(gateway.status()["services"][0]["instances"][0]["standing"], Value::Null);
    assert!(!gateway.health("/metrics").text().contains("tollgate_service_instances{"));
}

#[test]
fn an_answer_must_have_the_text_and_the_status_that_the_file_wants() {
    let up = Arc::new(AtomicBool::new(true));
    let mood = Arc::clone(&up);
    let backend = Recorder::answering(move |taken| {
        let state = if mood.load(SeqCst) { "UP" } else { "DOWN" };
        let body = format!("{{\"status\":\"{state}\"}}");
        Script::reply(format!("HTTP/1.1 207 Multi-Status\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .then(if taken.target == "/healthz" { Step::Close } else { Step::ReadRequest })
    });
    let wanted = r#"{ path: /healthz, body: '"status":"UP"', status: [200, 205-299], FAST }"#.replace("FAST", FAST);
    let gate_way = gateway(&[of(&backend)], &format!("health: {wanted}"));
    await_standing(&gate_way, &of(&backend), "healthy");
    up.store(false, SeqCst);
    await_standing(&gate_way, &of(&backend), "unhealthy");
    assert_eq!(standing(&gate_way, &of(&backend)).1, "answered without the text of `body`");
    let gate_way = gateway(&[of(&backend)], &format!("health: {{ path: /healthz, status: 200, {FAST} }}"));
    await_standing(&gate_way, &of(&backend), "unhealthy");
    assert_eq!(standing(&gate_way, &of(&backend)).1, "answered with status 207");
}

#[test]
fn what_is_asked_is_what_the_file_says() {
    let backend = Recorder::start();
    let health = format!("health: {{ method: HEAD, path: \"/up?deep=1\", host: orders.internal, {FAST} }}");
    let _gateway = gateway(&[of(&backend)], &health);
    backend.wait_for("a check", |all| all.iter().any(|c| c.bytes.ends_with(b"\r\n\r\n")));
    let recorded = backend.recorded();
    let (requests, rest) = strict::requests(&recorded[0].bytes).unwrap();
    assert!(rest.is_empty());
    assert_eq!(requests[0].line(), "HEAD /up?deep=1 HTTP/1.1");
    assert_eq!(requests[0].one("host").as_deref(), Some("orders.internal"));
    assert!(requests[0].one("user-agent").unwrap().starts_with("tollgate/"));
}

#[test]
fn another_port_may_be_asked() {
    let ((service, _), (agent, ill)) = (moody("service"), moody("agent"));
    let health = format!("health: {{ path: /healthz, port: {}, {FAST} }}", agent.address().port());
    let gateway = gateway(&[of(&service)], &health);
    await_standing(&gateway, &of(&service), "healthy");
    assert_eq!(gateway.client().get("/").text(), "service");
    ill.store(true, SeqCst);
    await_standing(&gateway, &of(&service), "unhealthy");
    assert!(service.recorded().iter().all(|c| !c.bytes.starts_with(b"GET /healthz")));
}

#[test]
fn a_check_without_an_answer_fails_when_its_time_is_over() {
    let silent = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let gateway = gateway(&[of(&silent)], "health: { interval: 30ms, timeout: 50ms, unhealthy: 2 }");
    await_standing(&gateway, &of(&silent), "unhealthy");
    assert_eq!(standing(&gateway, &of(&silent)).1, "no answer within 50ms");
}

#[test]
fn a_tcp_check_asks_for_a_connection_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let gateway = gateway(&[&address], &format!("health: {{ check: tcp, {FAST} }}"));
    await_standing(&gateway, &address, "healthy");
    drop(listener);
    await_standing(&gateway, &address, "unhealthy");
    assert!(standing(&gateway, &address).1.starts_with("no connection: "), "{:?}", standing(&gateway, &address));
    let _listener = TcpListener::bind(&address).unwrap();
    await_standing(&gateway, &address, "healthy");
}

/// A program of tests/clients that prints its port, and may be told things line by line.
struct Program {
    _process: Process,
    stdin: ChildStdin,
    address: String,
}

impl Program {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients")).join(name);
        let mut command = Command::new(python());
        command.arg(file).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs; `./test` installs it");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let process = Process(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the program ended; `./test` installs the packages that it needs");
        Self { _process: process, stdin, address: format!("127.0.0.1:{}", line.trim()) }
    }

    fn say(&mut self, service: &str, state: &str) {
        writeln!(self.stdin, "{service} {state}").unwrap();
    }
}

/// The Python that has the packages `./test` installs, or else whatever is on the path.
fn python() -> PathBuf {
    let target = Path::new(TOLLGATE).ancestors().nth(2).unwrap();
    let ours = target.join("tools/python/bin/python3");
    if ours.exists() { ours } else { "python3".into() }
}

#[test]
fn a_grpc_check_asks_the_health_service() {
    let mut server = Program::start("health_service.py", &[]);
    let health = |service: &str| format!("health: {{ check: grpc, {service} {FAST} }}");
    let whole = gateway(&[&server.address], &health(""));
    let orders = gateway(&[&server.address], &health("service: shop.Orders,"));
    let nobody = gateway(&[&server.address], &health("service: shop.Nobody,"));
    await_standing(&whole, &server.address, "healthy");
    await_standing(&orders, &server.address, "healthy");
    await_standing(&nobody, &server.address, "unhealthy");
    assert!(standing(&nobody, &server.address).1.contains("NOT_FOUND"));
    server.say("shop.Orders", "NOT_SERVING");
    await_standing(&orders, &server.address, "unhealthy");
    assert_eq!(standing(&orders, &server.address).1, "answered NOT_SERVING");
    assert_eq!(standing(&whole, &server.address).0, "healthy", "the server as a whole still serves");
    server.say("shop.Orders", "SERVING");
    await_standing(&orders, &server.address, "healthy");
}

#[test]
fn checks_go_through_the_services_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test CA");
    authority.write(folder.path(), "ca.pem");
    Authority::new("Another CA").write(folder.path(), "other.pem");
    authority.server(&["127.0.0.1"]).write(folder.path(), "orders");
    let at = |file: &str| folder.path().join(file).display().to_string();
    let server = Program::start("health_service.py", &[&at("orders.pem"), &at("orders.key")]);
    for check in ["grpc", "tcp"] {
        let service = |ca: &str| format!("tls: {{ ca: {} }}, health: {{ check: {check}, {FAST} }}", at(ca));
        let [good, bad] = ["ca.pem", "other.pem"].map(|ca| gateway(&[&server.address], &service(ca)));
        await_standing(&good, &server.address, "healthy");
        await_standing(&bad, &server.address, "unhealthy");
        assert!(standing(&bad, &server.address).1.starts_with("no TLS: "), "{:?}", standing(&bad, &server.address));
    }
}

#[test]
fn a_service_that_speaks_http2_is_checked_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test CA");
    authority.write(folder.path(), "ca.pem");
    authority.server(&["127.0.0.1"]).write(folder.path(), "orders");
    let at = |file: &str| folder.path().join(file).display().to_string();
    let plain = Program::start("http2_service.py", &["plain"]);
    let tls = Program::start("http2_service.py", &["tls", &at("orders.pem"), &at("orders.key")]);
    let health =
        format!("health: {{ path: /head, body: ':authority\", \"orders.internal', host: orders.internal, {FAST} }}");
    let ca = format!("tls: {{ ca: {} }}", at("ca.pem"));
    for (program, service, standing) in [
        (&plain, "protocol: http2".to_owned(), "healthy"),
        (&plain, "protocol: http1".to_owned(), "unhealthy"),
        (&tls, format!("protocol: http2, {ca}"), "healthy"),
        (&tls, format!("protocol: alpn, {ca}"), "healthy"),
    ] {
        let gateway = gateway(&[&program.address], &format!("{service}, {health}"));
        await_standing(&gateway, &program.address, standing);
    }
}

/// Answers 204 to whoever comes over a Unix socket, and keeps what the first one said.
fn behind_a_socket(listener: UnixListener) -> Receiver<String> {
    let (sender, said) = sync_channel(1);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut came = Vec::new();
            let mut part = [0; 1024];
            while !came.ends_with(b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(count @ 1..) => came.extend_from_slice(&part[..count]),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            let _ = sender.try_send(String::from_utf8_lossy(&came).into_owned());
        }
    });
    said
}

#[test]
fn checks_go_the_way_of_requests_over_unix_sockets_and_behind_a_proxy_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.sock");
    let said = behind_a_socket(UnixListener::bind(&path).unwrap());
    let address = format!("unix:{}", path.display());
    let gateway = gateway(&[&address], &format!("proxy_protocol: v1, health: {{ path: /up, {FAST} }}"));
    await_standing(&gateway, &address, "healthy");
    let first = said.recv().unwrap();
    // Nobody's connection but the gateway's own.
    assert!(first.starts_with("PROXY UNKNOWN\r\nGET /up HTTP/1.1\r\n"), "{first}");
    assert!(first.to_lowercase().contains("\r\nhost: localhost\r\n"), "{first}");
    fs::remove_file(&path).unwrap();
    await_standing(&gateway, &address, "unhealthy");
}

#[test]
fn when_all_are_unhealthy_they_are_used_all_the_same_or_not_at_all() {
    let (backend, ill) = moody("a");
    ill.store(true, SeqCst);
    let health = format!("health: {{ path: /healthz, {FAST} }}");
    let serving = gateway(&[of(&backend)], &health);
    let refusing = gateway(&[of(&backend)], &format!("{health}, when_all_fail: refuse"));
    await_standing(&serving, &of(&backend), "unhealthy");
    await_standing(&refusing, &of(&backend), "unhealthy");
    assert_eq!(answering(&serving, "/"), set(&["a"]));
    let refused = refusing.client().get("/");
    assert_eq!((refused.status, slug(&refused).as_str()), (503, "upstream/unhealthy"));
    ill.store(false, SeqCst);
    await_standing(&refusing, &of(&backend), "healthy");
    assert_eq!(answering(&refusing, "/"), set(&["a"]));
}

#[test]
fn an_instance_that_leaves_the_list_is_not_checked_any_more() {
    let backend = Recorder::everywhere(|taken| Script::ok(taken, "ok"));
    let port = backend.address().port();
    let server = NameServer::start("127.0.0.1 orders.internal\n127.0.0.2 orders.internal\n");
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         dns: {{ servers: [\"{}\"], timeout: 500ms, min_ttl: 1s, max_ttl: 1s }}\n\
         services: {{ s: {{ to: \"orders.internal:{port}\", health: {{ {FAST} }} }} }}\nroutes: {{ /**: s }}\n",
        server.address()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let [gone, stays] = ["127.0.0.1", "127.0.0.2"].map(|ip| format!("{ip}:{port}"));
    await_standing(&gateway, &gone, "healthy");
    await_standing(&gateway, &stays, "healthy");
    // Both by the same name, so that only the connection tells whom a check is for: one instance, half the checks.
    server.change("127.0.0.2 orders.internal\n");
    wait_until("it is gone", || gateway.status()["services"][0]["instances"].as_array().unwrap().len() == 1);
    let metric = "tollgate_health_checks_total{service=\"s\",result=\"ok\"}";
    let (before, checks) = (backend.recorded().len(), gateway.metric(metric));
    gateway.await_metric(metric, |now| now >= checks + 20.0);
    let (connections, checks) = (backend.recorded().len() - before, gateway.metric(metric) - checks);
    // Each check is one connection, of the one that is left; some may be under way.
    assert!((connections as f64 - checks).abs() <= 3.0, "{connections} connections for {checks} checks");
    assert_eq!(standing(&gateway, &stays).0, "healthy");
}

#[test]
fn a_route_with_addresses_of_its_own_has_them_checked_and_explains_it() {
    let (backend, ill) = moody("a");
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         routes: {{ /**: {{ to: \"{}\", health: GET /healthz every 40ms, outlier: on }} }}\n",
        of(&backend)
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    await_standing(&gateway, &of(&backend), "healthy");
    ill.store(true, SeqCst);
    await_standing(&gateway, &of(&backend), "unhealthy");
    let cli = Cli::with(TOLLGATE, &config.replace("{{http}}", "8080").replace("{{health}}", "127.0.0.1:9900"));
    let explained = cli.run(&["explain", "GET", "/"]).out;
    assert!(explained.contains("; checked: GET /healthz every 40ms; ejects: after 5 failures in a row"), "{explained}");
}
