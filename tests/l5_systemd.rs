//! L5: as a service of systemd: sockets that it opened, and what it is told.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tollgate_testkit::process::has_ended;
use tollgate_testkit::{Cli, Gateway, RawClient, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const CONFIG: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nroutes: { /**: { reply: 200 first } }\n";

/// Whom the gateway tells.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, folder }
    }

    fn address(&self) -> String {
        self.folder.path().join("notify").display().to_string()
    }

    /// The next message, line by line.
    fn told(&self) -> Vec<String> {
        let mut room = [0; 1024];
        let n = self.socket.recv(&mut room).expect("it is told something");
        String::from_utf8_lossy(&room[..n]).lines().map(str::to_owned).collect()
    }
}

/// sd_notify(3).
#[test]
fn the_service_manager_is_told() {
    let manager = Manager::new();
    let mut gateway = Gateway::start_with(TOLLGATE, CONFIG, &[], &[("NOTIFY_SOCKET", &manager.address())]);
    assert_eq!(manager.told(), ["READY=1", "STATUS=serving config revision 1"]);
    gateway.reload(&CONFIG.replace("first", "second"), &[]);
    let reloading = manager.told();
    assert!(reloading[0] == "RELOADING=1" && reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(manager.told(), ["READY=1", "STATUS=serving config revision 2"]);
    gateway.write_config("nonsense: 1", &[]);
    gateway.signal(Signal::HUP);
    assert_eq!(manager.told()[0], "RELOADING=1");
    assert_eq!(manager.told(), ["READY=1", "STATUS=serving config revision 2"], "refused, and back to what it was");
    gateway.write_config(&CONFIG.replace("first", "third"), &[]);
    gateway.upgrade();
    let new = gateway.pid();
    // The new one says that it is ready, the old one that the new one is the service; either may be first.
    let mut told = Vec::new();
    while !told.contains(&format!("MAINPID={new}")) || !told.contains(&"READY=1".to_owned()) {
        told.extend(manager.told());
    }
    assert!(gateway.ended().success());
    gateway.terminate();
    while !manager.told().contains(&"STOPPING=1".to_owned()) {}
}

/// Sockets that systemd's own tool opens, as it does for a `.socket` unit.
struct Activated(Child);

impl Activated {
    fn start(addresses: &[String], config: &Path) -> Self {
        let mut command = Command::new("systemd-socket-activate");
        for address in addresses {
            command.args(["-l", address]);
        }
        command.args([TOLLGATE, "run", "-c"]).arg(config);
        Self(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("systemd-socket-activate"))
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.0.wait();
    }
}

/// sd_listen_fds(3).
#[test]
fn sockets_that_systemd_opened_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let [http, health] = [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let file = folder.path().join("g.sock");
    let config = folder.path().join("tollgate.yaml");
    let text = CONFIG.replace("{{http}}", &http.to_string()).replace("{{health}}", &health.to_string());
    let text = text.replace("listen: {", &format!("workers: 3\nlisten: {{ \"unix:{}\": http,", file.display()));
    std::fs::write(&config, text).unwrap();
    let activated = Activated::start(&[http.to_string(), file.display().to_string()], &config);
    // The first connection has it started, and waits for it.
    wait_until("somebody listens", || RawClient::is_accepted(http));
    for _ in 0..10 {
        assert_eq!(RawClient::connect(http).get("/").text(), "first");
    }
    let by_file = Command::new("curl").args(["-s", "--unix-socket"]).arg(&file).arg("http://g/").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&by_file.stdout), "first");
    assert_eq!(RawClient::connect(health).get("/health/ready").status, 200, "what it was not given it opens itself");
    let ran = Cli::new(TOLLGATE).run(&["upgrade", "-c", config.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let new: u32 = ran.out.rsplit("process ").next().and_then(|text| text.split(' ').next()).unwrap().parse().unwrap();
    drop(activated);
    assert_eq!(RawClient::connect(http).get("/").text(), "first");
    kill_process(Pid::from_raw(i32::try_from(new).unwrap()).unwrap(), Signal::TERM).unwrap();
    wait_until("the successor ends", || has_ended(new));
    assert!(file.exists(), "the file is systemd's");
}

/// What systemd would say of the unit files that are shipped, but for the binary, which is not installed here.
#[test]
fn the_unit_files_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let copies = tempfile::tempdir().unwrap();
    for name in ["tollgate.service", "tollgate.socket"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let text = text.replace("/usr/local/bin/tollgate", TOLLGATE).replace("Documentation=", "#");
        std::fs::write(copies.path().join(name), text).unwrap();
    }
    let verify = Command::new("systemd-analyze").arg("verify").arg(copies.path().join("tollgate.service")).output();
    let verify = verify.expect("systemd-analyze");
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    assert!(verify.status.success() && !said.contains("tollgate."), "{said}");
}
