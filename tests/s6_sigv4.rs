//! S6: requests that are signed as AWS has it, by the library that AWS's own tools are made of.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "python.rs"]
mod python;

use std::collections::HashMap;

use serde_json::Value;
use tollgate_testkit::{Gateway, Recorder, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const SECRET: &str = "not/a+secret/of/anybodyEXAMPLEKEY0123456";

#[test]
fn what_botocore_signs_is_taken_and_what_was_changed_is_not() {
    let backend = Recorder::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\n\
        auth: { aws: { sigv4: { AKIDEXAMPLE: { secret: \"${env:SECRET}\", name: shop, scopes: [read] } }, regions: [eu-central-1], \
        services: [execute-api, s3], largest: 16KiB } }\n\
        routes: { /api/own: { serve: introspect, auth: aws }, /api/**: { to: \"{{backend}}\", auth: aws, allow: 'consumer == \"shop\" && \"read\" in scopes' } }\n";
    let values = [("backend", backend.address().to_string())];
    let gateway = Gateway::start_with(TOLLGATE, config, &values, &[("SECRET", SECRET)]);
    let said = python::output("sigv4_client.py", &[&gateway.address().to_string(), "AKIDEXAMPLE", SECRET]);
    let outcomes: HashMap<String, (u64, String)> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            (text("name"), (one["status"].as_u64().unwrap(), text("problem")))
        })
        .collect();
    let expected = [
        ("get", 200, ""),
        ("get with query", 200, ""),
        ("odd path", 200, ""),
        ("s3 get", 200, ""),
        ("s3 put", 200, ""),
        ("post with its hash", 200, ""),
        ("presigned", 200, ""),
        ("another body", 401, "sigv4/body"),
        ("the gateway itself", 200, ""),
        ("another body for the gateway itself", 401, "sigv4/body"),
        ("a body whose hash is not told", 200, ""),
        ("another body whose hash is not told", 401, "sigv4/signature"),
        ("a large body whose hash is not told", 413, "http/body-too-large"),
        ("a stranger's body whose hash is not told", 401, "sigv4/unknown-key"),
        ("wrong secret", 401, "sigv4/signature"),
        ("unknown key", 401, "sigv4/unknown-key"),
        ("a session", 401, "sigv4/unknown-key"),
        ("other region", 401, "sigv4/scope"),
        ("other service", 401, "sigv4/scope"),
        ("other path", 401, "sigv4/signature"),
        ("other query", 401, "sigv4/signature"),
        ("more said to AWS", 400, "sigv4/malformed"),
        ("old", 401, "sigv4/scope"),
        ("unsigned body", 401, "sigv4/body"),
    ];
    for (name, status, problem) in expected {
        let outcome = outcomes.get(name).map(|(status, problem)| (*status, problem.as_str()));
        assert_eq!(outcome, Some((status, problem)), "{name}");
    }
    assert_eq!(outcomes.len(), expected.len());
    // A body that is not the one that was signed does not come to its end.
    let all: String = backend.recorded().iter().map(|c| String::from_utf8_lossy(&c.bytes).into_owned()).collect();
    assert!(!all.contains("something else!\r\n0\r\n"), "{all}");
    wait_until("all is logged", || gateway.access_log().len() >= expected.len());
    let told = [gateway.log(), gateway.status().to_string(), gateway.health("/metrics").text()].concat();
    assert!(!told.contains(SECRET), "the secret is told");
}
