//! E5: `start: last-good`: a config that is wrong at the start does not keep the gateway from serving what it served before.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tollgate_testkit::{Cli, Gateway, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn config(start: &str, data: &Path, answer: &str) -> String {
    format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nstart: {start}\ndata: {} # what it keeps\n\
         routes: {{ /a: {{ reply: 200 {answer} }} }}\n",
        data.display()
    )
}

/// A gateway that has had two configs, and then a broken one.
fn with_a_broken_config(start: &str, data: &Path) -> Gateway {
    let gateway = Gateway::start(TOLLGATE, &config(start, data, "one"), &[]);
    gateway.reload(&config(start, data, "two"), &[]);
    gateway.write_config(&config(start, data, "{ three"), &[]);
    wait_until("it is refused", || !gateway.status()["config"]["refused"].is_null());
    assert_eq!(gateway.client().get("/a").text(), "two");
    gateway
}

#[test]
fn the_last_good_one_is_served_until_the_file_is_mended() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("kept");
    let mut gateway = with_a_broken_config("last-good", &data);
    let mode = fs::metadata(data.join("last-good.json")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "there may be secrets in it");
    let kept = fs::read_to_string(data.join("last-good.json")).unwrap();
    assert!(kept.contains("200 two") && !kept.contains("three"), "{kept}");
    gateway.restart(TOLLGATE);
    assert_eq!(gateway.client().get("/a").text(), "two");
    wait_until("it says so", || !gateway.status()["config"]["refused"].is_null());
    let refused = gateway.status()["config"]["refused"]["why"].as_str().unwrap().to_owned();
    assert!(refused.contains("tollgate.yaml:4"), "{refused}");
    assert!(gateway.log().contains("THE CONFIG IS WRONG"), "{}", gateway.log());
    assert_eq!(gateway.metric("tollgate_config_reload_successful"), 0.0);
    gateway.write_config(&config("last-good", &data, "three"), &[]);
    wait_until("the mended one is in force", || gateway.client().get("/a").text() == "three");
    assert!(gateway.status()["config"]["refused"].is_null());
}

#[test]
fn without_it_a_broken_config_is_a_broken_config() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("kept");
    let gateway = with_a_broken_config("strict", &data);
    let broken = fs::read_to_string(gateway.folder().join("tollgate.yaml")).unwrap();
    assert!(gateway.stop().success());
    assert!(!data.exists(), "nothing is written that nobody asked for");
    let cli = Cli::with(TOLLGATE, &broken);
    let ran = cli.run(&["run"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("tollgate.yaml:4"), "{}", ran.err);
}
