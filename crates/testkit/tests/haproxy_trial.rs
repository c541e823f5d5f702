//! temporary
#![allow(missing_docs)]
use std::path::Path;
use std::process::{Command,Stdio};
use tollgate_testkit::conformance::{case,run};
use tollgate_testkit::*;
#[test]
fn trial() {
    let cases = case::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/cases")));
    let backend = Recorder::start();
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let cfg = dir.path().join("h.cfg");
    std::fs::write(&cfg, format!("global\n expose-experimental-directives\n maxconn 100\ndefaults\n mode http\n timeout client 3s\n timeout server 3s\n timeout connect 1s\n option http-no-delay\nfrontend f\n bind 127.0.0.1:{port}\n http-request normalize-uri path-strip-dot\n http-request normalize-uri path-merge-slashes\n http-request return status 204 if {{ path_beg /private }}\n default_backend b\nbackend b\n option forwardfor\n http-request set-header Via x\n http-request set-header Forwarded x\n http-request set-header X-Forwarded-Proto http\n http-request set-header X-Forwarded-Host %[req.hdr(host)]\n http-request set-header X-Correlation-ID x\n http-request set-header traceparent x\n http-response set-header Date x\n server s {}\n", backend.address())).unwrap();
    let mut child = Command::new("/usr/sbin/haproxy").arg("-f").arg(&cfg).arg("-db").stdin(Stdio::null()).spawn().unwrap();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    wait_until("haproxy", || std::net::TcpStream::connect(address).is_ok());
    for cut in [run::Cut::Whole] {
        let (f, t) = deadline::timed(|| run::all(&cases, address, &backend, cut));
        println!("{cut:?}: {} failures in {t:?}", f.len());
        for l in f { println!("  {}", l.chars().take(300).collect::<String>()); }
    }
    child.kill().unwrap(); child.wait().unwrap();
}
