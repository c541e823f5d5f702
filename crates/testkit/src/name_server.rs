//! A real name server for tests: dnsmasq on a loopback port.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::deadline::wait_until;
use crate::port::free_port;

/// Knows the hosts of a file (`127.0.0.1 orders.internal`) and SRV records, each for one second, and no others below
/// `.internal`. It ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    folder: TempDir,
    address: SocketAddr,
    services: Vec<String>,
    process: Option<Child>,
}

impl NameServer {
    /// Starts it with these hosts and waits until it answers.
    ///
    /// # Panics
    /// When dnsmasq is missing or does not come up.
    #[must_use]
    pub fn start(hosts: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // dnsmasq gives up root before it reads the file.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a folder that others may read");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut server = Self { folder, address, services: Vec::new(), process: None };
        server.write(hosts);
        server.resume();
        server
    }

    /// Where it is asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the hosts that it knows.
    ///
    /// # Panics
    /// When it does not run.
    pub fn change(&self, hosts: &str) {
        self.write(hosts);
        let id = self.process.as_ref().expect("it runs").id();
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, Signal::HUP).expect("it is told");
    }

    /// Replaces the SRV records that it knows, which takes a new start: `_http._tcp.orders.internal,HOST,PORT,PRIORITY,WEIGHT`; a
    /// name without a host says that there is no such service.
    ///
    /// # Panics
    /// When it does not come up again.
    pub fn services(&mut self, records: &[String]) {
        self.services = records.to_vec();
        self.stop();
        self.resume();
    }

    /// Ends it; its address stays.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is ended");
            process.wait().expect("it ends");
        }
    }

    /// Runs it again after [`NameServer::stop`].
    ///
    /// # Panics
    /// When dnsmasq is missing or does not come up.
    pub fn resume(&mut self) {
        // Debian has it where only root looks.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("dnsmasq");
        command.env("PATH", path);
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]);
        command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--local-ttl=1", "--local=/internal/"]);
        command.arg(format!("--port={}", self.address.port()));
        command.arg(format!("--addn-hosts={}", self.folder.path().join("hosts").display()));
        command.args(self.services.iter().map(|record| format!("--srv-host={record}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = command.spawn();
        self.process = Some(spawned.expect("dnsmasq does not start; `./test` installs it (Debian: dnsmasq-base)"));
        wait_until("dnsmasq listens", || TcpStream::connect(self.address).is_ok());
    }

    fn write(&self, hosts: &str) {
        let path = self.folder.path().join("hosts");
        fs::write(&path, hosts).expect("the hosts are written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("a file that others may read");
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop();
    }
}
