//! etcd as processes: one node, or several that form a cluster; killed, paused, started again.

mod between;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use self::between::Between;
use crate::deadline::wait_until;
use crate::pki::Authority;
use crate::port::free_port;
use crate::process::process;

/// Nodes on free ports of the loopback address; dropped, they are killed.
#[derive(Debug)]
pub struct Etcd {
    nodes: Vec<Node>,
    tls: Option<Tls>,
    /// What stands between them.
    between: Option<Between>,
    folder: TempDir,
}

#[derive(Debug)]
struct Node {
    child: Child,
    port: u16,
    /// Where it says how it is, always without TLS.
    health: u16,
    arguments: Vec<String>,
}

/// Where the certificate of the authority is, and a client's certificate and key.
#[derive(Debug)]
struct Tls {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Etcd {
    /// One node.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One node, with further arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        Self::new(1, arguments, None, |_| None)
    }

    /// Three nodes, of which two must be there.
    ///
    /// # Panics
    /// When they do not start, or find no leader.
    #[must_use]
    pub fn cluster() -> Self {
        Self::new(3, &[], None, |_| None)
    }

    /// Three nodes, of which one can be [cut off](Etcd::cut) from the others.
    ///
    /// # Panics
    /// When they do not start, or find no leader.
    #[must_use]
    pub fn severable() -> Self {
        Self::new(3, &[], None, |peers| Some(Between::new(peers)))
    }

    /// One node that speaks TLS, and wants to see a certificate by the same authority.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn tls(authority: &Authority) -> Self {
        Self::new(1, &[], Some(authority), |_| None)
    }

    fn new(count: usize, more: &[&str], authority: Option<&Authority>, between: fn(&[u16]) -> Option<Between>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for etcd");
        let tls = authority.map(|authority| Tls::new(authority, folder.path()));
        let ports: Vec<[u16; 3]> = (0..count).map(|_| [free_port(), free_port(), free_port()]).collect();
        let between = between(&ports.iter().map(|ports| ports[1]).collect::<Vec<_>>());
        let peer = |node: usize| between.as_ref().map_or(ports[node][1], |between| between.port(node));
        let peers: Vec<String> = (0..count).map(|node| format!("http://127.0.0.1:{}", peer(node))).collect();
        let arguments = |node: usize, ports: [u16; 3]| {
            let mut arguments = arguments(node, ports, &peers, folder.path(), tls.is_some());
            arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
            arguments
        };
        let start = |(node, ports): (usize, &[u16; 3])| {
            let arguments = arguments(node, *ports);
            Node { child: spawn(&arguments, folder.path(), node), port: ports[0], health: ports[2], arguments }
        };
        let nodes = ports.iter().enumerate().map(start).collect();
        let mut etcd = Self { nodes, tls, between, folder };
        (0..count).for_each(|node| etcd.await_ready(node));
        etcd
    }

    /// Where clients come in: `http://127.0.0.1:PORT`, of each node.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.nodes.iter().map(|node| format!("{scheme}://127.0.0.1:{}", node.port)).collect()
    }

    /// A certificate and its key with which a client may come in, and the authority's.
    ///
    /// # Panics
    /// When it speaks no TLS.
    #[must_use]
    pub fn client_files(&self) -> (&Path, &Path, &Path) {
        let Tls { ca, cert, key } = self.tls.as_ref().expect("it speaks TLS");
        (cert, key, ca)
    }

    /// Which node leads.
    ///
    /// # Panics
    /// When none does for long.
    #[must_use]
    pub fn leader(&self) -> usize {
        let mut leader = None;
        wait_until("a node leads", || {
            let leads =
                |node: &usize| self.metrics(*node).is_some_and(|text| text.contains("\netcd_server_is_leader 1"));
            leader = (0..self.nodes.len()).find(leads);
            leader.is_some()
        });
        leader.expect("it was found")
    }

    /// One that does not lead.
    ///
    /// # Panics
    /// When there is no leader for long.
    #[must_use]
    pub fn follower(&self) -> usize {
        (self.leader() + 1) % self.nodes.len()
    }

    /// Ends a node, as the loss of power would.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn kill(&mut self, node: usize) {
        let child = &mut self.nodes[node].child;
        child.kill().expect("it is killed");
        child.wait().expect("it has ended");
    }

    /// Starts a node again, after [`Etcd::kill`], and waits until it is one of those who lead or follow.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self, node: usize) {
        self.spawn_again(node);
        self.await_ready(node);
    }

    /// Starts a node again, and does not wait: alone, it may be of no use.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn_again(&mut self, node: usize) {
        self.nodes[node].child = spawn(&self.nodes[node].arguments, self.folder.path(), node);
    }

    /// Waits until a node is one of those who lead or follow.
    ///
    /// # Panics
    /// When it ends, or is not for long.
    pub fn await_ready(&mut self, node: usize) {
        wait_until("etcd is well", || {
            if let Ok(Some(status)) = self.nodes[node].child.try_wait() {
                panic!("etcd ended: {status}\n{}", self.log(node));
            }
            self.asked(node, "/health").is_some_and(|text| text.contains(r#""health":"true""#))
        });
    }

    /// Stops a node, without ending it: its connections stay, and nobody answers.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pause(&self, node: usize) {
        kill_process(process(self.nodes[node].child.id()), Signal::STOP).expect("it is there");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resume(&self, node: usize) {
        kill_process(process(self.nodes[node].child.id()), Signal::CONT).expect("it is there");
    }

    /// Cuts a node off from the others; clients still reach it.
    ///
    /// # Panics
    /// When it is not of a cluster that was started for this, or does not say who it is.
    pub fn cut(&self, node: usize) {
        let status = self.tell(&["endpoint", "status", "--write-out", "json"]);
        let members: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let id = members[node]["Status"]["header"]["member_id"].as_u64().expect("it says who it is");
        self.between.as_ref().expect("something stands between them").cut(node, format!("{id:x}"));
    }

    /// Ends that.
    ///
    /// # Panics
    /// When it is not of a cluster that was started for this.
    pub fn join(&self) {
        self.between.as_ref().expect("something stands between them").join();
    }

    /// What etcdctl says to this.
    ///
    /// # Panics
    /// When it does not come to anything.
    pub fn tell(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(self.endpoints().join(","));
        if let Some(Tls { ca, cert, key }) = &self.tls {
            command.arg("--cacert").arg(ca).arg("--cert").arg(cert).arg("--key").arg(key);
        }
        let said = command.args(arguments).stdin(Stdio::null()).output().expect("etcdctl is installed");
        assert!(said.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Lets in only who has a name and a password: `root`, whose password is `root`, and `gateway`, whose password is `secret` and who may do
    /// everything with keys that begin with `prefix`.
    ///
    /// # Panics
    /// When that cannot be said.
    pub fn enable_auth(&self, prefix: &str) {
        self.tell(&["user", "add", "root:root"]);
        self.tell(&["user", "grant-role", "root", "root"]);
        self.tell(&["role", "add", "tollgate"]);
        self.tell(&["role", "grant-permission", "--prefix=true", "tollgate", "readwrite", prefix]);
        self.tell(&["user", "add", "gateway:secret"]);
        self.tell(&["user", "grant-role", "gateway", "tollgate"]);
        self.tell(&["auth", "enable"]);
    }

    fn metrics(&self, node: usize) -> Option<String> {
        self.asked(node, "/metrics")
    }

    fn asked(&self, node: usize, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.nodes[node].health)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The end of what a node wrote.
    fn log(&self, node: usize) -> String {
        let text = std::fs::read_to_string(self.folder.path().join(format!("node{node}.log"))).unwrap_or_default();
        text.lines().rev().take(10).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended already.
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
    }
}

impl Tls {
    fn new(authority: &Authority, folder: &Path) -> Self {
        // Its gateway is a client of its own, and shows the same certificate.
        authority.member(&["localhost", "127.0.0.1"]).write(folder, "server");
        let (cert, key) = authority.client("gateway").write(folder, "client");
        Self { ca: authority.write(folder, "ca.pem"), cert, key }
    }
}

/// `ports`: for clients, for other nodes, and where it says how it is.
fn arguments(
    node: usize,
    [client, peer, health]: [u16; 3],
    peers: &[String],
    folder: &Path,
    is_tls: bool,
) -> Vec<String> {
    let client = format!("{}://127.0.0.1:{client}", if is_tls { "https" } else { "http" });
    let cluster: Vec<String> = peers.iter().enumerate().map(|(node, peer)| format!("node{node}={peer}")).collect();
    let mut arguments: Vec<String> = [
        ("--name", format!("node{node}")),
        ("--data-dir", folder.join(format!("node{node}")).display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", format!("http://127.0.0.1:{peer}")),
        ("--initial-advertise-peer-urls", peers[node].clone()),
        ("--initial-cluster", cluster.join(",")),
        ("--listen-metrics-urls", format!("http://127.0.0.1:{health}")),
        ("--heartbeat-interval", "50".to_owned()),
        ("--election-timeout", "500".to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect();
    if is_tls {
        arguments.extend(tls_arguments(folder));
    }
    arguments
}

fn tls_arguments(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        "--cert-file".to_owned(),
        file("server.pem"),
        "--key-file".to_owned(),
        file("server.key"),
        "--trusted-ca-file".to_owned(),
        file("ca.pem"),
        "--client-cert-auth".to_owned(),
    ]
}

fn spawn(arguments: &[String], folder: &Path, node: usize) -> Child {
    let log = File::create(folder.join(format!("node{node}.log"))).expect("a file for its log");
    let mut command = Command::new("etcd");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("etcd is installed")
}
