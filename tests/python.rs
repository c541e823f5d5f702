//! Programs in Python that tests over the wire talk to, or through the gateway with; in tests/clients.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tollgate_testkit::Gateway;

/// The Python that `./test` set up, about to run this program.
fn program(name: &str) -> Command {
    let target = Path::new(env!("CARGO_BIN_EXE_tollgate")).ancestors().nth(2).expect("the target folder");
    let ours = target.join("tools/python/bin/python3");
    let mut command = Command::new(if ours.exists() { ours } else { PathBuf::from("python3") });
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients").join(name));
    command
}

/// A service; ends with the test.
pub(crate) struct Service {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Service {
    /// Starts one that prints its port.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = program(name);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python runs");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut port).expect("it prints its port");
        Self { child, address: format!("127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a client, which says `ok` in the end.
pub(crate) fn run(name: &str, arguments: &[&str], gateway: &Gateway) {
    let output = program(name).args(arguments).output().expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.trim(), "ok", "{}\n{}", String::from_utf8_lossy(&output.stderr), gateway.log());
}

/// Runs a client; what it says.
pub(crate) fn output(name: &str, arguments: &[&str]) -> String {
    let output = program(name).args(arguments).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A client that is at work while the test does something else.
pub(crate) struct Client {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Client {
    /// Starts one, and waits until it says so.
    pub(crate) fn start(name: &str, arguments: &[&str], begun: &str) -> Self {
        let mut command = program(name);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("python runs");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says something");
        assert_eq!(line.trim(), begun);
        Self { child, said }
    }

    /// Waits until it has said `ok`.
    pub(crate) fn ends_well(mut self, gateway: &Gateway) {
        let mut said = String::new();
        self.said.read_to_string(&mut said).expect("it ends");
        let _ = self.child.wait();
        assert_eq!(said.trim(), "ok", "{}", gateway.log());
    }
}
