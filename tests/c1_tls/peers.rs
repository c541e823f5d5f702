//! Other programs that speak TLS.

use std::io::Write;
use std::process::{Command, Stdio};

use tollgate_testkit::{Gateway, Ran};

/// What `openssl s_client` says, the answer to a request for `/` included.
pub(crate) fn s_client(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-ign_eof", "-connect", &gateway.address().to_string()]).args(arguments);
    let ran = run(command, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
    ran.out + &ran.err
}

/// What `curl` prints of `path` at `host`, which it takes for the gateway; the status follows the body.
pub(crate) fn curl(gateway: &Gateway, host: &str, path: &str, arguments: &[&str]) -> Ran {
    let address = gateway.address();
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-w", "%{http_code}", "--resolve"]);
    command.arg(format!("{host}:{}:{}", address.port(), address.ip())).args(arguments);
    command.arg(format!("https://{host}:{}{path}", address.port()));
    run(command, "")
}

fn run(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // One that refuses may be gone before it has read anything.
    let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}
