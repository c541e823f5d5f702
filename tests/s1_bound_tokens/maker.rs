//! Proofs (DPoP) by npm `jose`, and by what no client does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use tollgate_testkit::modules;

/// Makes proofs, as a client does.
pub(crate) struct Maker {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Maker {
    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/dpop.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(modules()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node runs; `./test` installs it (Debian: nodejs)");
        let pipes = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, pipes: Mutex::new(pipes) }
    }

    pub(crate) fn make(&self, asked: &Value) -> String {
        let (to, from) = &mut *self.pipes.lock().unwrap();
        writeln!(to, "{asked}").unwrap();
        let mut line = String::new();
        assert!(from.read_line(&mut line).unwrap() > 0, "no proof: {asked}");
        line.trim().to_owned()
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
