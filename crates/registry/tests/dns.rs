//! `registry::dns` against a real name server: dnsmasq on a loopback port.

// Helpers of tests may fail like tests; clippy knows only the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may fail like tests")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tollgate_core::clock::Clock;
use tollgate_core::facts::Address;
use tollgate_durable::{Sqlite, sqlite};
use tollgate_observe::{Format, Metrics};
use tollgate_registry::directory::{Directory, Registration};
use tollgate_registry::dns::{Dns, Settings};
use tollgate_registry::registered::{self, Loads, Registry, Wanted};
use tollgate_registry::{Endpoint, Source, State, View};

/// Far above what a change needs here: a time to live of a second and a look-up on loopback.
const SOON: Duration = Duration::from_secs(20);

/// A name server that knows the hosts of a file, each for one second. It ends with the test.
struct NameServer {
    folder: tempfile::TempDir,
    address: SocketAddr,
    services: Vec<&'static str>,
    process: Option<Child>,
}

/// An address of this machine that is free for UDP and TCP alike.
fn free_address() -> SocketAddr {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl NameServer {
    async fn start(hosts: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // dnsmasq gives up root before it reads the file.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let address = free_address();
        let mut server = Self { folder, address, services: Vec::new(), process: None };
        server.hosts(hosts);
        server.run().await;
        server
    }

    /// Runs the server and waits until it answers.
    async fn run(&mut self) {
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]);
        command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--local-ttl=1", "--local=/internal/"]);
        command.arg(format!("--port={}", self.address.port()));
        command.arg(format!("--addn-hosts={}", self.folder.path().join("hosts").display()));
        command.args(self.services.iter().map(|record| format!("--srv-host={record}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let up = async {
            while tokio::net::TcpStream::connect(self.address).await.is_err() {
                // Somebody else may have had the port for a moment: then it ended, and is started again.
                if self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some()) {
                    let spawned = command.spawn();
                    let missing = "dnsmasq does not start; `./test` installs it (Debian: dnsmasq-base)";
                    self.process = Some(spawned.expect(missing));
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, up).await.expect("dnsmasq does not listen");
    }

    /// Replaces its SRV records, for which it starts anew.
    async fn services(&mut self, records: &[&'static str]) {
        self.services = records.to_vec();
        self.stop();
        self.run().await;
    }

    fn hosts(&self, hosts: &str) {
        let path = self.folder.path().join("hosts");
        std::fs::write(&path, hosts).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }

    /// Replaces the records of the running server.
    fn change(&self, hosts: &str) {
        self.hosts(hosts);
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn dns(&self, metrics: &Arc<Metrics>) -> Arc<Dns> {
        self.dns_after(None, metrics)
    }

    fn dns_after(&self, before: Option<&Arc<Dns>>, metrics: &Arc<Metrics>) -> Arc<Dns> {
        let settings = Settings {
            servers: vec![self.address],
            timeout: Duration::from_secs(2),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
        };
        Dns::new(&settings, Handle::current(), Clock::real(), metrics.clone(), before).unwrap()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for a view that fits, and says what was seen instead if none comes.
async fn shows(view: &mut watch::Receiver<Arc<View>>, what: &str, fits: impl Fn(&View) -> bool) -> Arc<View> {
    let seen = timeout(SOON, view.wait_for(|view| fits(view))).await.map(|view| view.unwrap().clone());
    seen.unwrap_or_else(|_| panic!("not seen: {what}, but {:?}", view.borrow()))
}

fn has(view: &View, addresses: &[&str]) -> bool {
    let addresses: Vec<Address> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    view.endpoints.iter().map(|e| &e.address).eq(&addresses)
}

#[tokio::test]
async fn records_of_both_families_are_found_and_a_change_is_followed() {
    let server =
        NameServer::start("10.1.0.2 orders.internal\n10.1.0.1 orders.internal\nfd00::1 orders.internal\n").await;
    let dns = server.dns(&Metrics::new(1));
    let source = dns.source("Orders.internal.", 8080, 5);
    let mut view = source.watch();
    let both = shows(&mut view, "three addresses", |v| v.state == State::Fresh).await;
    assert!(has(&both, &["10.1.0.1:8080", "10.1.0.2:8080", "[fd00::1]:8080"]), "{both:?}");
    assert!(both.endpoints.iter().all(|e| e.weight == 5));
    server.change("10.1.0.3 orders.internal\n");
    shows(&mut view, "the new address", |v| v.state == State::Fresh && has(v, &["10.1.0.3:8080"])).await;
}

#[tokio::test]
async fn a_dead_name_server_leaves_the_last_answer_and_shows() {
    let mut server = NameServer::start("10.1.0.1 orders.internal\n").await;
    let metrics = Metrics::new(1);
    let source = server.dns(&metrics).source("orders.internal", 80, 1);
    let mut view = source.watch();
    shows(&mut view, "the address", |v| v.state == State::Fresh).await;
    server.stop();
    let stale = shows(&mut view, "a stale view", |v| matches!(v.state, State::Stale { .. })).await;
    assert!(has(&stale, &["10.1.0.1:80"]), "{stale:?}");
    let page = metrics.encode(Format::Text);
    assert!(page.contains("tollgate_dns_stale{name=\"orders.internal\"} 1"), "{page}");
    server.hosts("10.1.0.9 orders.internal\n");
    server.run().await;
    shows(&mut view, "the server's new answer", |v| v.state == State::Fresh && has(v, &["10.1.0.9:80"])).await;
}

#[tokio::test]
async fn a_name_that_vanishes_keeps_its_addresses() {
    let server = NameServer::start("10.1.0.1 orders.internal\n").await;
    let source = server.dns(&Metrics::new(1)).source("orders.internal", 80, 1);
    let mut view = source.watch();
    shows(&mut view, "the address", |v| v.state == State::Fresh).await;
    server.change("10.1.0.1 other.internal\n");
    let stale = shows(&mut view, "a stale view", |v| matches!(v.state, State::Stale { .. })).await;
    assert!(has(&stale, &["10.1.0.1:80"]), "{stale:?}");
}

#[tokio::test]
async fn a_name_that_never_was_shows_as_stale_without_endpoints() {
    let server = NameServer::start("10.1.0.1 orders.internal\n").await;
    let source = server.dns(&Metrics::new(1)).source("nobody.internal", 80, 1);
    let view = shows(&mut source.watch(), "the failure", |v| v.state != State::Pending).await;
    let State::Stale { error, .. } = &view.state else { panic!("{view:?}") };
    assert_eq!(error, "nobody.internal: there is no such name");
    assert!(view.endpoints.is_empty());
}

#[tokio::test]
async fn users_of_one_name_share_its_answer() {
    let mut server = NameServer::start("10.1.0.1 orders.internal\n").await;
    let dns = server.dns(&Metrics::new(1));
    let first = dns.source("orders.internal", 80, 1);
    shows(&mut first.watch(), "the address", |v| v.state == State::Fresh).await;
    server.stop();
    let second = dns.source("orders.internal", 8081, 2);
    assert!(has(&second.watch().borrow(), &["10.1.0.1:8081"]));
}

#[tokio::test]
async fn a_name_ends_with_its_last_user() {
    let server = NameServer::start("10.1.0.1 orders.internal\n").await;
    let metrics = Metrics::new(1);
    let source = server.dns(&metrics).source("orders.internal", 80, 1);
    let mut view = source.watch();
    shows(&mut view, "the address", |v| v.state == State::Fresh).await;
    drop(source);
    let closed = async { while view.changed().await.is_ok() {} };
    timeout(SOON, closed).await.expect("the task goes on");
    assert!(!metrics.encode(Format::Text).contains("orders.internal"));
}

#[tokio::test]
async fn a_resolver_begins_with_what_the_one_before_knew() {
    let mut server = NameServer::start("10.1.0.1 orders.internal\n").await;
    let metrics = Metrics::new(1);
    let before = server.dns(&metrics);
    let old = before.source("orders.internal", 80, 1);
    shows(&mut old.watch(), "the address", |v| v.state == State::Fresh).await;
    let after = server.dns_after(Some(&before), &metrics);
    let new = after.source("orders.internal", 80, 1);
    let first = new.watch().borrow().clone();
    assert!(first.state == State::Pending && has(&first, &["10.1.0.1:80"]), "{first:?}");
    server.change("10.1.0.2 orders.internal\n");
    let mut view = new.watch();
    shows(&mut view, "the new address", |v| v.state == State::Fresh && has(v, &["10.1.0.2:80"])).await;
    drop(old);
    assert!(metrics.encode(Format::Text).contains("orders.internal"), "counted for as long as one looks it up");
    server.stop();
    let third = server.dns_after(Some(&after), &metrics).source("orders.internal", 80, 1);
    let stale = shows(&mut third.watch(), "the failure", |v| matches!(v.state, State::Stale { .. })).await;
    assert!(has(&stale, &["10.1.0.2:80"]), "{stale:?}");
    drop((new, before));
    let last = server.dns_after(Some(&after), &metrics).source("orders.internal", 80, 1);
    assert_eq!(last.watch().borrow().endpoints, [], "nobody keeps what nobody uses");
}

#[tokio::test]
async fn the_hosts_file_needs_no_name_server() {
    let mut server = NameServer::start("").await;
    server.stop();
    let source = server.dns(&Metrics::new(1)).source("localhost", 80, 1);
    let view = shows(&mut source.watch(), "localhost", |v| v.state == State::Fresh).await;
    assert!(view.endpoints.iter().any(|e| e.address.ip().is_some_and(|ip| ip.is_loopback())), "{view:?}");
}

/// Address, weight, group and host of all.
fn all(view: &View) -> Vec<(String, u32, u8, String)> {
    let one = |e: &Endpoint| (e.address.to_string(), e.weight, e.group, e.host.as_deref().unwrap_or("").to_owned());
    view.endpoints.iter().map(one).collect()
}

fn one(address: &str, weight: u32, group: u8, host: &str) -> (String, u32, u8, String) {
    (address.to_owned(), weight, group, host.to_owned())
}

#[tokio::test]
async fn srv_records_say_ports_weights_and_groups() {
    let mut server = NameServer::start("10.1.0.1 a.internal\n10.1.0.2 b.internal\n10.1.0.3 b.internal\n").await;
    server
        .services(&["_http._tcp.x.internal,a.internal,8080,10,5", "_http._tcp.x.internal,b.internal,8081,20,60"])
        .await;
    let metrics = Metrics::new(1);
    let source = server.dns(&metrics).services("_http._tcp.X.internal.");
    let mut view = source.watch();
    let seen = shows(&mut view, "all", |v| v.state == State::Fresh && v.endpoints.len() == 3).await;
    let expected = [
        one("10.1.0.1:8080", 5, 0, "a.internal"),
        one("10.1.0.2:8081", 30, 1, "b.internal"),
        one("10.1.0.3:8081", 30, 1, "b.internal"),
    ];
    assert_eq!(all(&seen), expected, "the weight of a host is shared by its addresses");
    // Its hosts are followed by themselves.
    server.change("10.1.0.9 a.internal\n10.1.0.2 b.internal\n");
    let expected = [one("10.1.0.2:8081", 60, 1, "b.internal"), one("10.1.0.9:8080", 5, 0, "a.internal")];
    shows(&mut view, "other addresses", |v| v.state == State::Fresh && all(v) == expected).await;
    // And so are its records.
    server.services(&["_http._tcp.x.internal,b.internal,9090,0,0"]).await;
    let expected = [one("10.1.0.2:9090", 1, 0, "b.internal")];
    shows(&mut view, "other records", |v| v.state == State::Fresh && all(v) == expected).await;
    let page = metrics.encode(Format::Text);
    assert!(!page.contains("a.internal"), "nobody asks for a host that is no more named: {page}");
}

#[tokio::test]
async fn srv_records_that_are_not_found_are_kept_but_no_service_is_none() {
    let mut server = NameServer::start("10.1.0.1 a.internal\n").await;
    server.services(&["_http._tcp.x.internal,a.internal,8080,10,5"]).await;
    let metrics = Metrics::new(1);
    let dns = server.dns(&metrics);
    let source = dns.services("_http._tcp.x.internal");
    let mut view = source.watch();
    shows(&mut view, "the instance", |v| v.state == State::Fresh && has(v, &["10.1.0.1:8080"])).await;
    server.services(&[]).await;
    let stale = shows(
        &mut view,
        "the failure",
        |v| matches!(&v.state, State::Stale { error, .. } if error.contains("_http._tcp.x.internal: ")),
    );
    assert!(has(&*stale.await, &["10.1.0.1:8080"]));
    let page = metrics.encode(Format::Text);
    assert!(page.contains("tollgate_dns_stale{name=\"_http._tcp.x.internal\"} 1"), "{page}");
    // Another resolver begins with what this one knows.
    let after = server.dns_after(Some(&dns), &metrics).services("_http._tcp.x.internal");
    assert!(has(&after.watch().borrow(), &["10.1.0.1:8080"]));
    // A target of `.` (RFC 2782).
    server.services(&["_http._tcp.x.internal"]).await;
    let none = shows(&mut view, "no service", |v| v.state == State::Fresh).await;
    assert_eq!(none.endpoints, []);
    drop((source, after));
    let forgotten = async {
        while metrics.encode(Format::Text).contains("_http._tcp.x.internal") {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, forgotten).await.expect("nobody counts for it any more");
}

/// A registry on a disk of its own, and a source of its service `orders`.
fn registry(dns: &Arc<Dns>, folder: &std::path::Path) -> (Registry, Arc<dyn Source>) {
    let bounds = sqlite::Bounds { grace: Duration::from_secs(30), most: 100 };
    let store = sqlite::Settings { folder: folder.to_owned(), history: 100, bounds };
    let store = Arc::new(Sqlite::open(&store, Clock::real()).unwrap());
    let settings = registered::Settings {
        ttl: Duration::from_secs(30),
        hold: Duration::ZERO,
        most: 10,
        most_of_one: 10,
        history: 100,
        loads: Loads::Here,
    };
    let registry = Registry::new(store, settings, Clock::real(), &Handle::current(), Metrics::new(1));
    let source = registry.source(Wanted { service: "orders".into(), tags: Vec::new(), version: None }, dns);
    (registry, source)
}

#[tokio::test]
async fn an_instance_that_gives_a_host_name_is_answered_once_its_address_is_used() {
    let server = NameServer::start("10.4.0.1 a.internal\n").await;
    let (dns, folder) = (server.dns(&Metrics::new(1)), tempfile::tempdir().unwrap());
    let (registry, source) = registry(&dns, folder.path());
    let named = |host: &str| Registration {
        service: "orders".into(),
        id: host.into(),
        address: host.into(),
        port: 8080,
        ttl: Duration::from_secs(30),
        zone: None,
        version: None,
        weight: 1,
        group: 0,
        tags: BTreeSet::new(),
    };
    for _ in 0..2 {
        registry.register(named("a.internal")).await.unwrap();
        let view = source.watch().borrow().clone();
        assert!(has(&view, &["10.4.0.1:8080"]), "{view:?}");
    }
    // Another one that is found later: until then it is not answered.
    let (registered, ()) = tokio::join!(registry.register(named("b.internal")), async {
        sleep(Duration::from_millis(500)).await;
        server.change("10.4.0.1 a.internal\n10.4.0.2 b.internal\n");
    });
    registered.unwrap();
    let view = source.watch().borrow().clone();
    assert!(has(&view, &["10.4.0.1:8080", "10.4.0.2:8080"]), "{view:?}");
}
