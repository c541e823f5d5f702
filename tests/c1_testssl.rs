//! C1: what testssl.sh, which looks for what is weak in TLS, finds at a listener. It takes most of a minute.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::Value;
use tollgate_testkit::{Authority, Gateway};

/// Findings about the certificate: nobody that testssl.sh knows vouches for it in a test, and it holds for long.
const OF_THE_TEST: [&str; 3] = ["cert_chain_of_trust", "cert_revocation", "cert_validityPeriod"];

#[test]
fn testssl_finds_nothing_grave() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("test"));
    let (cert, key) = authority.server(&["localhost"]).write(folder.path(), "s");
    for policy in ["intermediate", "modern"] {
        let config = format!(
            "listen:\n  \"{{{{http}}}}\": {{ tls: {{ policy: {policy}, certificates: {{ cert: {}, key: {} }} }} }}\n  \
             \"{{{{health}}}}\": health\nroutes: {{ /**: {{ reply: 200 hello }} }}\n",
            cert.display(),
            key.display()
        );
        let gateway = Gateway::start(env!("CARGO_BIN_EXE_tollgate"), &config, &[]);
        let found = testssl(&format!("localhost:{}", gateway.address().port()), &folder.path().join(policy));
        let told = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let grave: Vec<&Value> = found
            .iter()
            .filter(|finding| ["HIGH", "CRITICAL", "FATAL"].contains(&told(finding, "severity").as_str()))
            .filter(|finding| !OF_THE_TEST.contains(&told(finding, "id").as_str()))
            .collect();
        assert!(grave.is_empty(), "{policy}: {grave:#?}");
        let offered =
            |id: &str| found.iter().find(|finding| finding["id"] == id).map(|finding| told(finding, "finding"));
        assert!(offered("TLS1_3").is_some_and(|text| text.starts_with("offered")), "it looked at TLS 1.3");
        assert_eq!(offered("TLS1_2").is_some_and(|text| text.starts_with("offered")), policy == "intermediate");
    }
}

fn testssl(target: &str, out: &std::path::Path) -> Vec<Value> {
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "batch", "--openssl-timeout", "5", "--jsonfile"]);
    let output = command.arg(out).arg(target).output().expect("`./test` installs testssl");
    let text = std::fs::read_to_string(out);
    let text = text.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)));
    serde_json::from_str(&text).unwrap()
}
