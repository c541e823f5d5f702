//! S10: requests with message signatures and digests (RFC 9421, 9530), by an independent library.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "python.rs"]
mod python;

use std::collections::HashMap;
use std::process::Command;

use serde_json::Value;
use tollgate_testkit::{Gateway, Recorder};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const SECRET: &str = "0123456789abcdef0123456789abcdef0123";

#[test]
fn what_a_partner_signs_is_taken_and_what_was_changed_is_not() {
    let (backend, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let (private, public) = (folder.path().join("key.pem"), folder.path().join("public.pem"));
    let openssl = |arguments: &[&str]| assert!(Command::new("openssl").args(arguments).status().unwrap().success());
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", private.to_str().unwrap()]);
    openssl(&["pkey", "-in", private.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()]);
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n\
         auth: {{ partners: {{ signature: {{ partner: {{ algorithm: ed25519, key: \"${{file:{}}}\", name: shop, scopes: [read] }}, \
         shared: {{ algorithm: hmac-sha256, secret: \"${{env:SECRET}}\", name: shop, scopes: [read] }} }} }}, \
         once: {{ signature: {{ partner: {{ algorithm: ed25519, key: \"${{file:{0}}}\" }} }}, nonce: required }} }}\n\
         routes: {{ /once/**: {{ to: \"{{{{backend}}}}\", auth: once }}, /api/**: {{ to: \"{{{{backend}}}}\", auth: partners, allow: 'consumer == \"shop\" && \"read\" in scopes' }} }}\n",
        public.display()
    );
    let values = [("backend", backend.address().to_string())];
    let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[("SECRET", SECRET)]);
    let said =
        python::output("signature_client.py", &[&gateway.address().to_string(), private.to_str().unwrap(), SECRET]);
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
        ("post", 200, ""),
        ("shared secret", 200, ""),
        ("with a nonce", 200, ""),
        ("the same nonce again", 401, "signature/replayed"),
        ("another nonce", 200, ""),
        ("the same nonce of another key", 200, ""),
        ("another body with a nonce", 400, "digest/mismatch"),
        ("none where one is needed", 401, "signature/coverage"),
        ("one where one is needed", 200, ""),
        ("another body", 400, "digest/mismatch"),
        ("another path", 401, "signature/invalid"),
        ("another query", 401, "signature/invalid"),
        ("a stranger", 401, "signature/invalid"),
        ("an unknown key", 401, "signature/unknown-key"),
        ("too little", 401, "signature/coverage"),
        ("old", 401, "signature/expired"),
        ("no signature", 401, "auth/missing"),
        ("no digest", 400, "signature/malformed"),
    ];
    for (name, status, problem) in expected {
        let outcome = outcomes.get(name).map(|(status, problem)| (*status, problem.as_str()));
        assert_eq!(outcome, Some((status, problem)), "{name}");
    }
    assert_eq!(outcomes.len(), expected.len());
    let all: String = backend.recorded().iter().map(|c| String::from_utf8_lossy(&c.bytes).into_owned()).collect();
    assert!(!all.contains("something else!\r\n0\r\n"), "{all}");
    assert!(!gateway.log().contains(SECRET), "the secret is told");
}
