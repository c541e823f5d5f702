//! E5: `tollgate diff` tells what a reload would change, and what is disturbed by it.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;

use serde_json::Value;
use tollgate_testkit::{Cli, Gateway, free_port};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const OLD: &str = "listen: 8080\nservices: { orders: { to: [10.0.0.1:80, 10.0.0.2:80], connections: 10 } }\nroutes:\n  \
                   /orders/**: { to: orders, timeout: 30s }\n  /old: { reply: 204 }\n";

#[test]
fn two_configs_are_compared() {
    let cli = Cli::with(TOLLGATE, OLD);
    cli.write("old.yaml", OLD);
    let ran = cli.run(&["diff", "--from", "old.yaml"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "nothing changes\n", ""));
    let new = OLD.replace("10.0.0.2:80]", "10.0.0.2:80, 10.0.0.3:80]").replace("30s", "5s").replace("/old", "/new");
    cli.write("tollgate.yaml", &new);
    let ran = cli.run(&["diff", "--from", "old.yaml"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.out,
        "routes\n  ~ /orders/**\n      timeout: 30s -> 5s\n  - /old\n      (what is on its way there has 30s to end)\n  + /new  { \
         reply: { status: 204 } }\nservices\n  ~ orders\n      to: with { address: 10.0.0.3:80 }\n      (keeps its connections, and \
         what is known of the health of its instances)\n"
    );
    let json: Value = serde_json::from_str(&cli.run(&["diff", "--from", "old.yaml", "--json"]).out).unwrap();
    assert_eq!(json["changes"][0]["details"][0]["after"], "5s");
    // Written otherwise, and still the same.
    cli.write("tollgate.yaml", &OLD.replace("listen: 8080", "listen: { 8080: { kind: http } }\nversion: 1"));
    assert_eq!(cli.run(&["diff", "--from", "old.yaml"]).code, 0);
    cli.write("tollgate.yaml", "listen: 8080\nroutes: { /a: { reply: 700 } }\n");
    let ran = cli.run(&["diff", "--from", "old.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("`700` is no status"), "{}", ran.err);
}

#[test]
fn secrets_are_compared_and_not_shown() {
    let config = "listen: 8080\nroutes: { /a: { reply: { status: 200, body: \"${env:BODY}\" } } }\n";
    let cli = Cli::with(TOLLGATE, config);
    let secret = cli.write("secret", "swordfish").display().to_string();
    cli.write("old.yaml", config);
    cli.write("tollgate.yaml", &config.replace("${env:BODY}", &format!("${{file:{secret}}}")));
    let ran = cli.run_with(&["diff", "--from", "old.yaml"], &[("BODY", "hunter2")]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "routes\n  ~ /a\n      reply.body: another secret\n"));
}

#[test]
fn what_is_in_force_is_asked_for() {
    let admin = format!("127.0.0.1:{}", free_port());
    let config = |answer: &str| {
        format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health, \"{admin}\": admin }}\nroutes: {{ /a: {{ reply: 200 {answer} \
             }} }}\n"
        )
    };
    let mut gateway = Gateway::start(TOLLGATE, &config("one"), &[]);
    let file = gateway.folder().join("tollgate.yaml");
    let diff = || Cli::new(TOLLGATE).run(&["diff", "-c", file.to_str().unwrap()]);
    assert_eq!((diff().code, diff().out.as_str()), (0, "nothing changes\n"));
    // Beside it: written in its place, it would come into force by itself.
    let other = gateway.folder().join("other.yaml");
    fs::write(&other, fs::read_to_string(&file).unwrap().replace("one", "two")).unwrap();
    let ran = Cli::new(TOLLGATE).run(&["diff", "-c", other.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "routes\n  ~ /a\n      reply.body: one -> two\n"));
    gateway.terminate();
    assert!(gateway.ended().success());
    let ran = diff();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no answer from"), "{}", ran.err);
}
