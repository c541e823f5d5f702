//! M1: the admin API shows and changes the running gateway, for those with its token, and the audit log remembers it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;
use tollgate_testkit::{Gateway, RawClient, Response, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const LISTEN: &str =
    "listen: { \"{{http}}\": http, \"{{health}}\": health, \"{{admin}}\": { kind: admin, hosts: [admin.example] } }\n";

/// A gateway with an admin listener.
struct Bench {
    gateway: Gateway,
    admin: SocketAddr,
}

impl Bench {
    fn start(sections: &str) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let values = [("admin", admin.to_string())];
        Self { gateway: Gateway::start(TOLLGATE, &format!("{LISTEN}{sections}\n"), &values), admin }
    }

    fn write(&self, sections: &str) {
        self.gateway.write_config(&format!("{LISTEN}{sections}\n"), &[("admin", self.admin.to_string())]);
    }

    fn token(&self) -> String {
        fs::read_to_string(self.gateway.folder().join("data/admin.token")).unwrap().trim().to_owned()
    }

    /// What is answered to a request with these further lines in its head.
    fn ask(&self, request: &str, host: &str, lines: &str) -> Response {
        let head =
            format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{lines}\r\n");
        RawClient::connect(self.admin).call(&head)
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask(&format!("GET {path}"), &self.admin.to_string(), &self.authorization());
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
        answer.json()
    }

    fn authorization(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token())
    }

    /// Runs a command in the folder of the config.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(TOLLGATE).args(arguments).current_dir(self.gateway.folder()).output().unwrap()
    }

    fn ready(&self) -> u16 {
        self.gateway.health("/health/ready").status
    }

    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.gateway.folder().join("data/audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// They need to know where it listens, and nothing else.
#[test]
fn a_gateway_is_asked_also_while_its_config_is_wrong_or_its_secrets_are_elsewhere() {
    let bench = Bench::start("routes: { /: { reply: 200 } }");
    let wrong = [
        "routes: { /: { reply: nonsense } }",
        "auth: { idp: { issuer: \"https://idp.example\", audience: a, introspection: { client: c, secret: \"${env:TOLLGATE_NOT_SET}\" } } }\n\
         routes: { /: { reply: 200, auth: idp } }",
    ];
    for sections in wrong {
        bench.write(sections);
        let status = bench.run(&["status"]);
        assert!(status.status.success() && said(&status).contains("listener"), "{}", said(&status));
        for command in ["drain", "undrain"] {
            let ran = bench.run(&[command]);
            assert!(ran.status.success(), "{}", said(&ran));
        }
        let reloaded = bench.run(&["reload"]);
        assert_eq!(reloaded.status.code(), Some(2));
        assert!(said(&reloaded).contains("refused: the config before stays in force"), "{}", said(&reloaded));
        assert!(bench.run(&["audit", "verify"]).status.success());
    }
}

#[test]
fn the_token_is_made_for_its_owner_alone_and_appears_nowhere_else() {
    let bench = Bench::start("routes: { /a: { reply: 204 } }");
    let file = bench.gateway.folder().join("data/admin.token");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(bench.get("/v1/status")["ready"], true);
    assert!(!bench.gateway.log().contains(&bench.token()));
}

#[test]
fn nobody_is_let_in_without_the_token_by_another_name_or_from_another_page() {
    let bench = Bench::start("routes: { /a: { reply: 204 } }");
    let (own, token) = (bench.admin.to_string(), bench.authorization());
    let slug = |answer: &Response| answer.json()["type"].as_str().unwrap().rsplit_once("admin/").unwrap().1.to_owned();
    for lines in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic YTpi\r\n", &format!("{token}{token}")] {
        let answer = bench.ask("POST /v1/drain", &own, lines);
        assert_eq!((answer.status, slug(&answer).as_str()), (401, "unauthorized"), "{lines}");
        assert!(answer.one("WWW-Authenticate").is_some_and(|value| value.starts_with("Bearer")));
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
        let answer = bench.ask("POST /v1/drain", host, &token);
        assert_eq!((answer.status, slug(&answer).as_str()), (421, "wrong-host"), "{host}");
    }
    for origin in ["http://evil.example", "null"] {
        let answer = bench.ask("POST /v1/drain", &own, &format!("{token}Origin: {origin}\r\n"));
        assert_eq!((answer.status, slug(&answer).as_str()), (403, "foreign-origin"), "{origin}");
    }
    assert_eq!(bench.ready(), 200);
    for host in ["localhost:1", "admin.example", "[::1]", own.as_str()] {
        assert_eq!(bench.ask("GET /v1/status", host, &token).status, 200, "{host}");
    }
    let same = format!("{token}Origin: http://{own}\r\n");
    assert_eq!(bench.ask("GET /v1/status", &own, &same).status, 200);
    assert_eq!(bench.ask("GET /v1/nothing", &own, "").status, 404);
    assert_eq!(bench.ask("GET /v1/reload", &own, "").status, 405);
}

#[test]
fn a_token_that_others_can_read_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("listen: {{ \"127.0.0.1:{}\": admin }}\nroutes: {{ /a: {{ reply: 204 }} }}\n", free_port());
    fs::write(folder.path().join("tollgate.yaml"), config).unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let token = folder.path().join("data/admin.token");
    fs::write(&token, "x".repeat(43)).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(TOLLGATE).arg("run").current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("can be read by others (mode 0644)") && !said(&output).contains("xxxxx"));
}

#[test]
fn everything_that_is_described_is_served() {
    let bench = Bench::start("services: { s: 127.0.0.1:1 }\nregistry: {}\nroutes: { /a: { reply: 204 }, /b: s }");
    let document = bench.get("/v1/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for path in ["/v1/reload", "/v1/drain", "/v1/undrain"] {
        assert!(paths[path]["post"].is_object(), "{path}");
    }
    // One instance is there only once it has registered.
    let is_shown = |path: &str, operations: &Value| operations["get"].is_object() && !path.ends_with("{id}");
    for (path, _) in paths.iter().filter(|(path, operations)| is_shown(path, operations)) {
        bench.get(&path.replace("{service}", "orders"));
    }
    let running = bench.get("/v1/config/running");
    assert_eq!(
        (&running["revision"], &running["config"]["services"]["s"]["to"][0]["address"]),
        (&1.into(), &"127.0.0.1:1".into())
    );
    assert_eq!(bench.get("/v1/routes")["routes"].as_array().unwrap().len(), 2);
    assert_eq!(bench.get("/v1/services")["services"][0]["name"], "s");
    assert!(bench.get("/v1/connections")["connections"]["open"].as_u64().is_some_and(|open| open > 0));
}

#[test]
fn a_reload_is_asked_for_and_answered_with_what_came_of_it() {
    let bench = Bench::start("routes: { /a: { reply: 200 one } }");
    let unchanged = bench.run(&["reload"]);
    assert!(
        unchanged.status.success() && said(&unchanged).contains("revision 1 stays in force"),
        "{}",
        said(&unchanged)
    );
    bench.write("routes: { /a: { reply: 200 two } }\nservices: { unused: 127.0.0.1:1 }");
    let done = bench.run(&["reload"]);
    // That the files changed may have been noticed before.
    assert!(done.status.success() && said(&done).contains("revision 2"), "{}", said(&done));
    assert_eq!(bench.gateway.client().get("/a").text(), "two");
    bench.write("routes: { /a: { reply: 700 } }");
    let (url, token) = (format!("http://{}", bench.admin), "data/admin.token");
    let refused = bench.run(&["reload", "--url", &url, "--token-file", token]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("`700` is no status") && said(&refused).contains("the config before stays in force")
    );
    let config = bench.get("/v1/config");
    assert_eq!(config["running"]["revision"], 2);
    assert!(config["refused"]["report"].as_str().is_some_and(|report| report.contains("`700` is no status")));
    assert!(config["history"].as_array().unwrap().iter().any(|event| event["what"] == "refused"));
    fs::write(bench.gateway.folder().join("other.token"), "y".repeat(43)).unwrap();
    let other = bench.gateway.folder().join("other.token");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let wrong = bench.run(&["reload", "--url", &url, "--token-file", "other.token"]);
    assert!(wrong.status.code() == Some(1) && said(&wrong).contains("does not take this token"), "{}", said(&wrong));
}

#[test]
fn a_node_is_taken_out_and_put_back_while_it_serves() {
    let mut bench = Bench::start("routes: { /a: { reply: 204 } }");
    let drained = bench.run(&["drain"]);
    assert!(drained.status.success() && bench.ready() == 503, "{}", said(&drained));
    assert_eq!(bench.gateway.client().get("/a").status, 204);
    bench.gateway.upgrade();
    assert_eq!((bench.ready(), bench.gateway.client().get("/a").status), (503, 204), "an upgrade does not put it back");
    assert!(bench.run(&["undrain"]).status.success());
    assert_eq!(bench.ready(), 200);
}

#[test]
fn the_audit_log_remembers_who_did_what_and_shows_what_was_changed_in_it() {
    let bench = Bench::start("routes: { /a: { reply: 200 one } }");
    assert!(bench.run(&["drain"]).status.success());
    bench.write("routes: { /a: { reply: 700 } }");
    wait_until("the files are read again", || bench.audit().len() == 3);
    let (lines, path) = (bench.audit(), bench.gateway.folder().join("data/audit.log"));
    let told: Vec<_> =
        lines.iter().map(|line| (line["what"].as_str().unwrap(), line["by"].as_str().unwrap())).collect();
    assert_eq!(told, [("started", "gateway"), ("drained", "token"), ("config refused", "files")]);
    assert_eq!((&lines[1]["from"], &lines[2]["revision"]), (&"127.0.0.1".into(), &1.into()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let verified = bench.run(&["audit", "verify", "data/audit.log"]);
    assert!(
        verified.status.success() && said(&verified).contains("3 lines as they were written"),
        "{}",
        said(&verified)
    );
    let text = fs::read_to_string(&path).unwrap();
    fs::write(bench.gateway.folder().join("copy"), text.replace("127.0.0.1", "127.0.0.2")).unwrap();
    let changed = bench.run(&["audit", "verify", "copy"]);
    assert!(
        changed.status.code() == Some(1) && said(&changed).contains("copy:2: this line was changed"),
        "{}",
        said(&changed)
    );
}

#[test]
fn nothing_is_written_without_an_admin_listener() {
    let gateway = Gateway::start(
        TOLLGATE,
        "listen: { \"{{http}}\": http, \"{{health}}\": health }\nroutes: { /a: { reply: 204 } }\n",
        &[],
    );
    assert!(!gateway.folder().join("data").exists());
}
