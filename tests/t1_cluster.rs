//! T1, K2: four gateways behind HAProxy, one Redis. What passes is counted by the service, not by the gateways.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use tollgate_core::clock::Clock;
use tollgate_testkit::{Authority, Gateway, Peer, RawClient, Redis, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// How long the flood of each phase lasts, in seconds; 60 with `CLUSTER_SECONDS=60`.
const SECONDS: u64 = 6;

/// A service that notes when each request came, by its path.
struct Service {
    address: SocketAddr,
    came: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, came) = (listener.local_addr().unwrap(), Arc::default());
        let all = Arc::clone(&came);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let came = Arc::clone(&all);
                thread::spawn(move || serve(stream, &came));
            }
        });
        Self { address, came }
    }

    fn came(&self, path: &str) -> Vec<Instant> {
        self.came.lock().unwrap().iter().filter(|(own, _)| own == path).map(|(_, at)| *at).collect()
    }
}

/// Requests without bodies, one after the other.
fn serve(mut stream: TcpStream, came: &Mutex<Vec<(String, Instant)>>) {
    let mut buffer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            came.lock().unwrap().push((path, Clock::real().now()));
            buffer.drain(..end + 4);
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(n) => buffer.extend_from_slice(&piece[..n]),
        }
    }
}

/// Four gateways that share their counters.
struct Cluster {
    redis: Redis,
    service: Service,
    gateways: Vec<Gateway>,
    front: SocketAddr,
    _haproxy: Peer,
}

impl Cluster {
    fn start() -> Self {
        let (redis, service) = (Redis::start(), Service::start());
        let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\nlog: { level: error, access: off }\n\
            state: { redis: { url: \"redis://{{redis}}\", timeout: 200ms } }\n\
            routes:\n  /fast: { to: \"{{service}}\", limit: 1000/s }\n  \
            /once: { to: \"{{service}}\", limit: 1/day per header X-User }\n  \
            /open: { to: \"{{service}}\", limit: { rate: 1/day, on_store_down: allow } }\n  \
            /shut: { to: \"{{service}}\", limit: { rate: 1000/s, on_store_down: refuse } }\n  /free: \"{{service}}\"\n";
        let values = [("service", service.address.to_string()), ("redis", redis.address())];
        let gateways: Vec<Gateway> = (0..4).map(|_| Gateway::start(TOLLGATE, config, &values)).collect();
        let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let server = |(number, gateway): (usize, &Gateway)| format!("  server g{number} {}\n", gateway.address());
        let servers: String = gateways.iter().enumerate().map(server).collect();
        let haproxy = Peer::haproxy(&format!(
            "listen front\n  mode http\n  bind {front}\n  balance roundrobin\n  http-reuse always\n{servers}"
        ));
        wait_until("HAProxy listens", || RawClient::is_accepted(front));
        let cluster = Self { redis, service, gateways, front, _haproxy: haproxy };
        cluster.await_shared(4);
        cluster
    }

    fn await_shared(&self, gateways: u32) {
        for gateway in &self.gateways {
            gateway.await_metric("tollgate_state_up", |up| up == 1.0);
            gateway.await_metric("tollgate_state_gateways", |count| count == f64::from(gateways));
        }
    }

    /// Twice as many requests as the limit allows, for so long.
    fn flood(&self, path: &str, seconds: u64) {
        let run = Command::new("h2load")
            .args(["--h1", "-c", "20", "-t", "1", "--rps", "100", "-D", &seconds.to_string()])
            .arg(format!("http://{}{path}", self.front))
            .output()
            .expect("h2load is installed");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }

    fn ask(&self, path: &str, user: &str) -> u16 {
        let mut client = RawClient::connect(self.front);
        client.call(&format!("GET {path} HTTP/1.1\r\nHost: g\r\nX-User: {user}\r\n\r\n")).status
    }
}

/// In no time t more than burst + t × rate, to a moment by which a request may be noted late.
fn never_more_than(came: &[Instant], rate: f64, burst: f64) {
    let (Some(first), slack) = (came.first(), 0.15 * rate) else { return };
    let mut most_before = 0.0_f64;
    for (number, at) in came.iter().enumerate() {
        let (number, due) = (number as f64, at.duration_since(*first).as_secs_f64() * rate);
        most_before = most_before.max(due - number);
        let level = number + 1.0 - due + most_before;
        assert!(level <= burst + slack, "{level} at once of {burst}, {:?} after the first", at.duration_since(*first));
    }
}

fn seconds() -> u64 {
    std::env::var("CLUSTER_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS)
}

#[test]
fn four_gateways_never_let_more_pass_than_the_limit_whatever_becomes_of_the_store() {
    let mut cluster = Cluster::start();
    let seconds = seconds();

    cluster.flood("/fast", seconds);
    let came = cluster.service.came("/fast");
    let (most, passed) = (1000 * (seconds + 1), came.len() as u64);
    never_more_than(&came, 1000.0, 1000.0);
    assert!(passed <= most + 150 && passed >= most * 97 / 100, "{passed} of {most} in {seconds} s");
    println!("steady: {passed} of {most} in {seconds} s");

    let users: Vec<String> = (0..8).map(|user| format!("u{user}")).collect();
    for user in &users {
        assert_eq!((0..5).filter(|_| cluster.ask("/once", user) == 200).count(), 1, "once a day is once a day");
    }

    // The store is killed, and comes back.
    cluster.redis.kill();
    cluster.gateways.iter().for_each(|gateway| gateway.await_metric("tollgate_state_up", |up| up == 0.0));
    assert_eq!(cluster.ask("/once", "u0"), 503, "nobody can tell");
    assert_eq!(cluster.ask("/once", "new"), 503);
    assert_eq!((cluster.ask("/open", "x"), cluster.ask("/open", "x")), (200, 200));
    assert_eq!(cluster.ask("/shut", "x"), 503);
    assert_eq!(cluster.ask("/free", "x"), 200);
    let before = cluster.service.came("/fast").len();
    cluster.flood("/fast", seconds);
    let came = cluster.service.came("/fast");
    let passed = (came.len() - before) as u64;
    never_more_than(&came, 1000.0, 1000.0);
    assert!(passed >= 1000 * (seconds - 3), "each gave its share: {passed} in {seconds} s");
    println!("alone: {passed} in {seconds} s");

    cluster.redis.start_again();
    cluster.await_shared(4);
    assert!(users.iter().all(|user| (0..5).all(|_| cluster.ask("/once", user) == 429)), "who came today is known");
    cluster.flood("/fast", seconds);
    never_more_than(&cluster.service.came("/fast"), 1000.0, 1000.0);
}

#[test]
fn redis_is_reached_over_tls_by_a_user_who_may_do_no_more_than_that() {
    let (authority, service, port) = (Authority::new("counters"), Service::start(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let ca = authority.write(folder.path(), "ca.pem");
    let (cert, key) = authority.server(&["localhost"]).write(folder.path(), "redis");
    let (own_cert, own_key) = authority.client("gateway").write(folder.path(), "gateway");
    // What docs/guides/protection/rate-limits.md says that the gateway needs.
    let rights = "+evalsha +script|load +info +wait +time +get +set +del +hget +hset +hdel +hgetall +hincrby \
        +pexpire +zadd +zrange +zrangebyscore +zincrby +zrem";
    let redis = Redis::with(&format!(
        "tls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients yes\n\
         user gateway on >secret ~shop:* ~{{shop}}:* {rights}\n",
        cert.display(),
        key.display(),
        ca.display()
    ));
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nlog: { level: error, access: off }\n\
        state:\n  redis:\n    url: rediss://localhost:{{port}}\n    user: gateway\n    password: \"${env:REDIS_PASSWORD}\"\n    \
        ca: {{ca}}\n    cert: {{cert}}\n    key: {{key}}\n    prefix: shop\n    timeout: 500ms\n\
        routes:\n  /a: { to: \"{{service}}\", limit: 2/day }\n  /b: { to: \"{{service}}\", limit: 2/h }\n  \
        /c: { to: \"{{service}}\", limit: 2/h exact }\n";
    let values = [
        ("service", service.address.to_string()),
        ("port", port.to_string()),
        ("ca", ca.display().to_string()),
        ("cert", own_cert.display().to_string()),
        ("key", own_key.display().to_string()),
    ];
    let gateway = Gateway::start_with(TOLLGATE, config, &values, &[("REDIS_PASSWORD", "secret")]);
    gateway.await_metric("tollgate_state_up", |up| up == 1.0);
    assert_eq!(gateway.status()["state"]["counters"], "shared");
    for path in ["/a", "/b", "/c"] {
        let ask = || gateway.client().call(&format!("GET {path} HTTP/1.1\r\nHost: g\r\n\r\n")).status;
        assert_eq!([ask(), ask(), ask()], [200, 200, 429], "{path}");
    }
    drop(redis);
    gateway.await_metric("tollgate_state_up", |up| up == 0.0);
    let log = gateway.log();
    assert!(!log.contains("secret"), "{log}");
    let refused = gateway.client().call("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    assert_eq!((refused.status, refused.one("retry-after").as_deref()), (503, Some("1")));
    assert!(refused.text().contains("limit/store-unavailable"), "{}", refused.text());
}
