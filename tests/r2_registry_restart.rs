//! R2: a restart of the gateway loses no instance that is live, and revives none that is dead.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tollgate_core::clock::Clock;
use tollgate_durable::sqlite::{Bounds, Settings};
use tollgate_durable::{Durable, OnlyIf, Sqlite, Written};
use tollgate_testkit::{Gateway, Recorder, Signal, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const UP: &str = "tollgate_registry_instances{service=\"orders\",state=\"up\"}";
const CONFIG: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
data: "{{data}}"
services: { orders: { registry: orders } }
routes: { /**: orders }
"#;

/// Registers instances as a gateway did that ran before: where each is, and its time to live in seconds.
fn register(data: &Path, instances: &[(SocketAddr, u64)]) {
    let bounds = Bounds { grace: Duration::ZERO, most: 100 };
    let settings = Settings { folder: data.to_owned(), history: 10, bounds };
    let store = Sqlite::open(&settings, Clock::real()).expect("the folder can be used");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (address, ttl) in instances {
            let lease = store.grant(Duration::from_secs(*ttl)).await.unwrap();
            let (ip, port) = (address.ip(), address.port());
            let said = format!(r#"{{"address":"{ip}","port":{port},"ttl":"{ttl}s"}}"#);
            let key = format!("instances/orders/{address}");
            let written = store.put(&key, said.into_bytes(), Some(lease), OnlyIf::Absent).await;
            assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
        }
    });
    store.hand_over(Duration::from_secs(5));
}

fn gateway(data: &TempDir) -> Gateway {
    Gateway::start(TOLLGATE, CONFIG, &[("data", data.path().display().to_string())])
}

/// The statuses of so many requests.
fn statuses(gateway: &Gateway, requests: usize) -> Vec<u16> {
    let mut client = gateway.client();
    let ask = |_| {
        client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
        client.response("GET").expect("an answer").status
    };
    (0..requests).map(ask).collect()
}

/// How many requests a backend got since it was last asked.
fn requests(backend: &Recorder) -> usize {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches("GET /a ").count();
    backend.take().iter().map(|connection| of(&connection.bytes)).sum()
}

#[test]
fn a_killed_gateway_knows_who_is_there_and_who_is_not() {
    let (data, live, dead) = (TempDir::new().unwrap(), Recorder::start(), Recorder::start());
    register(data.path(), &[(live.address(), 60), (dead.address(), 3)]);
    let mut first = gateway(&data);
    assert_eq!(statuses(&first, 10), [200; 10]);
    assert!(requests(&live) > 0 && requests(&dead) > 0, "both get requests");
    // It does not renew itself.
    first.await_metric(UP, |up| up == 1.0);
    first.signal(Signal::KILL);
    first.ended();
    requests(&live);
    for _ in 0..2 {
        let mut again = gateway(&data);
        assert_eq!(statuses(&again, 10), [200; 10]);
        assert_eq!((requests(&live), requests(&dead)), (10, 0));
        let registry = &again.status()["registry"];
        assert_eq!((registry["instances"].as_u64(), registry["stale_seconds"].as_u64()), (Some(1), None), "{registry}");
        again.signal(Signal::KILL);
        again.ended();
    }
}

#[test]
fn a_gateway_that_is_upgraded_hands_the_registry_over() {
    let (data, live, dies) = (TempDir::new().unwrap(), Recorder::start(), Recorder::start());
    register(data.path(), &[(live.address(), 60), (dies.address(), 6)]);
    let mut gateway = gateway(&data);
    assert_eq!(statuses(&gateway, 10), [200; 10]);
    gateway.upgrade();
    assert_eq!(statuses(&gateway, 10), [200; 10]);
    // Who does not keep the registry takes nobody out: it is the new process that does.
    gateway.await_metric(UP, |up| up == 1.0);
    let _so_far = [requests(&live), requests(&dies)];
    assert_eq!(statuses(&gateway, 10), [200; 10]);
    assert_eq!((requests(&live), requests(&dies)), (10, 0));
    wait_until("the old process is gone", || gateway.log().contains("upgraded"));
}

#[test]
fn a_folder_that_cannot_be_used_is_told_at_the_start() {
    let folder = TempDir::new().unwrap();
    let (file, config) = (folder.path().join("data"), folder.path().join("tollgate.yaml"));
    std::fs::write(&file, "no folder").unwrap();
    let text = format!(
        "listen: 127.0.0.1:{}\ndata: {}\nservices: {{ orders: {{ registry: orders }} }}\nroutes: {{ /**: orders }}\n",
        free_port(),
        file.display()
    );
    std::fs::write(&config, text).unwrap();
    let output = std::process::Command::new(TOLLGATE).arg("run").arg("-c").arg(&config).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("cannot be used"), "{told}");
}
