//! R4: instances from Consul and from Kubernetes. Neither can be run here: what stands in for them was written after their published
//! APIs (testkit: `consul.rs`, `kubernetes.rs`).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "instances.rs"]
mod instances;

use std::fs;

use instances::{answering, everywhere, set, state};
use tollgate_testkit::stand_in::Asked;
use tollgate_testkit::{Authority, Consul, Gateway, Peer, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn config(source: &str, service: &str) -> String {
    format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         {source}\nservices: {{ s: {{ {service} }} }}\nroutes: {{ /**: s }}\n"
    )
}

fn passing(host: &str, port: u16) -> serde_json::Value {
    Consul::instance(host, port, "passing", &["v2", "eu"])
}

fn indexes(asked: &[Asked]) -> Vec<Option<&str>> {
    asked.iter().map(|asked| asked.parameter("index")).collect()
}

#[test]
fn instances_in_consul_are_followed() {
    let (_backend, port) = everywhere();
    let consul = Consul::start(Some("s3cret"));
    consul.set("orders", &[passing("127.0.0.1", port)]);
    let source = format!("consul: {{ url: \"http://{}\", token: \"${{env:CONSUL_TOKEN}}\" }}", consul.address());
    let text = config(&source, "consul: { service: orders, tags: [v2, eu] }");
    let gateway = Gateway::start_with(TOLLGATE, &text, &[], &[("CONSUL_TOKEN", "s3cret")]);
    // Asked before the first request is taken.
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    assert_eq!(state(&gateway), ("fresh".to_owned(), vec![format!("127.0.0.1:{port}")]));
    // Of another service, nobody is told.
    consul.set("stock", &[passing("127.0.0.9", port)]);
    let others = [
        Consul::instance("127.0.0.3", port, "critical", &["v2", "eu"]),
        Consul::instance("127.0.0.4", port, "warning", &["v2", "eu"]),
        Consul::instance("127.0.0.5", port, "passing", &["v2"]),
    ];
    consul.set("orders", &[&[passing("127.0.0.1", port), passing("127.0.0.2", port)], &others[..]].concat());
    wait_until("the new instance", || answering(&gateway) == set(&["127.0.0.1", "127.0.0.2"]));
    consul.set("orders", &[passing("127.0.0.2", port)]);
    wait_until("one is gone", || answering(&gateway) == set(&["127.0.0.2"]));
    wait_until("it waits for the next change", || indexes(&consul.asked()).len() >= 4);
    let asked = consul.asked();
    assert_eq!(indexes(&asked), [None, Some("10"), Some("30"), Some("40")]);
    assert!(asked.iter().all(|asked| asked.path == "/v1/health/service/orders" && asked.query["tag"] == ["v2", "eu"]));
    consul.set("orders", &[]);
    wait_until("there is none", || gateway.client().get("/a").status == 503);
    assert_eq!(state(&gateway), ("fresh".to_owned(), vec![]));
}

#[test]
fn without_consul_instances_are_held_and_then_lapse() {
    let (_backend, port) = everywhere();
    let mut consul = Consul::start(None);
    consul.set("orders", &[passing("127.0.0.1", port)]);
    let source = format!("consul: {{ url: \"http://{}\", hold: 3s }}", consul.address());
    let gateway = Gateway::start(TOLLGATE, &config(&source, "consul: orders"), &[]);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    consul.stop();
    wait_until("the failure shows", || state(&gateway).0 == "stale");
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]), "what was said last is kept");
    gateway.await_metric("tollgate_source_stale{source=\"consul orders\"}", |stale| stale == 1.0);
    wait_until("they lapse", || gateway.client().get("/a").status == 503);
    assert_eq!(state(&gateway), ("lapsed".to_owned(), vec![]));
    let status = gateway.status();
    assert!(
        status["services"][0]["error"].as_str().is_some_and(|error| error.starts_with("consul orders: ")),
        "{status}"
    );
    assert!(status["services"][0]["stale_seconds"].as_u64().is_some_and(|seconds| seconds >= 3), "{status}");
    assert!(gateway.log().contains("its instances are not used any more"), "{}", gateway.log());
    gateway.await_metric("tollgate_source_failures_total{source=\"consul orders\"}", |failures| failures >= 2.0);
    consul.set("orders", &[passing("127.0.0.2", port)]);
    consul.resume();
    wait_until("it is back", || gateway.client().get("/a").status == 200);
    assert_eq!(answering(&gateway), set(&["127.0.0.2"]));
    assert_eq!(state(&gateway).0, "fresh");
    gateway.await_metric("tollgate_source_stale{source=\"consul orders\"}", |stale| stale == 0.0);
}

#[test]
fn an_index_that_goes_back_is_followed() {
    let (_backend, port) = everywhere();
    let consul = Consul::start(None);
    consul.set("orders", &[passing("127.0.0.1", port)]);
    let source = format!("consul: \"http://{}\"", consul.address());
    let gateway = Gateway::start(TOLLGATE, &config(&source, "consul: orders"), &[]);
    wait_until("it waits for a change", || indexes(&consul.asked()).last() == Some(&Some("10")));
    consul.restore();
    // Nothing is waited for that is newer than what there was before, and what comes then is followed.
    wait_until("it begins anew", || indexes(&consul.asked()).ends_with(&[Some("10"), None, Some("1")]));
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    consul.set("orders", &[passing("127.0.0.2", port)]);
    wait_until("the other instance", || answering(&gateway) == set(&["127.0.0.2"]));
}

#[test]
fn consul_is_asked_under_tls_with_a_certificate_of_ones_own() {
    let (_backend, port) = everywhere();
    let consul = Consul::start(None);
    consul.set("orders", &[passing("127.0.0.1", port)]);
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("consul");
    let ca = authority.write(folder.path(), "ca.pem").display().to_string();
    let (server, server_key) = authority.server(&["consul.internal"]).write(folder.path(), "server");
    let (cert, key) = authority.client("gateway").write(folder.path(), "own");
    let (cert, key) = (cert.display(), key.display());
    let tls = free_port();
    let _proxy = Peer::nginx(&format!(
        "server {{ listen 127.0.0.1:{tls} ssl; ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {ca};\n\
         ssl_verify_client on; location / {{ proxy_pass http://{}; }} }}",
        server.display(),
        server_key.display(),
        consul.address()
    ));
    let names = tollgate_testkit::NameServer::start("127.0.0.1 consul.internal\n");
    let source = |own: &str| {
        format!(
            "dns: {{ servers: [\"{}\"] }}\nconsul: {{ url: \"https://consul.internal:{tls}\", ca: {ca}{own} }}",
            names.address()
        )
    };
    let own = format!(", cert: {cert}, key: {key}");
    let gateway = Gateway::start(TOLLGATE, &config(&source(&own), "consul: orders"), &[]);
    wait_until("it is asked", || gateway.client().get("/a").status == 200);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    let gateway = Gateway::start(TOLLGATE, &config(&source(""), "consul: orders"), &[]);
    assert_eq!(gateway.client().get("/a").status, 503, "nobody is let in without a certificate");
    assert_eq!(state(&gateway).0, "stale");
}

#[test]
fn other_settings_take_no_instance_away_before_they_find_some() {
    let (_backend, port) = everywhere();
    let consul = Consul::start(None);
    consul.set("orders", &[passing("127.0.0.1", port)]);
    let text = |address: &str, service: &str| config(&format!("consul: \"http://{address}\""), service);
    let here = consul.address().to_string();
    let gateway = Gateway::start(TOLLGATE, &text(&here, "consul: orders"), &[]);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    // Nobody is there.
    gateway.reload(&text("127.0.0.1:1", "consul: orders"), &[]);
    wait_until("the failure shows", || state(&gateway).0 == "stale");
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    // Addresses in the file are instances at once.
    gateway.reload(&text("127.0.0.1:1", &format!("to: \"127.0.0.7:{port}\"")), &[]);
    wait_until("the one in the file", || answering(&gateway) == set(&["127.0.0.7"]));
    gateway.reload(&text(&here, "consul: orders"), &[]);
    wait_until("it is asked", || answering(&gateway) == set(&["127.0.0.1"]));
}

#[cfg(feature = "kubernetes")]
mod kubernetes {
    use std::os::unix::fs::PermissionsExt;

    use tollgate_testkit::{Kubernetes, RawClient};

    use super::*;

    /// A gateway that follows `shop/orders` with the token in `file`.
    fn gateway(server: &Kubernetes, file: &std::path::Path) -> Gateway {
        let url = format!("url: \"http://{}\"", server.address());
        let source = format!("kubernetes: {{ {url}, token_file: {}, hold: 3s }}", file.display());
        Gateway::start(TOLLGATE, &config(&source, "kubernetes: { service: shop/orders, port: http }"), &[])
    }

    fn token(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, text).unwrap();
        (folder, file)
    }

    fn watches(server: &Kubernetes) -> usize {
        server.asked().iter().filter(|asked| asked.parameter("watch").is_some()).count()
    }

    #[test]
    fn instances_in_kubernetes_are_followed() {
        let (_backend, port) = everywhere();
        let server = Kubernetes::start("t1");
        server.slice("shop", "orders", "orders-a", port, &[("127.0.0.1", true), ("127.0.0.9", false)]);
        server.slice("shop", "orders", "orders-b", port, &[("127.0.0.2", true)]);
        // More than one page; and an endpoint may be in two slices.
        server.slice("shop", "orders", "orders-c", port, &[("127.0.0.3", true), ("127.0.0.1", true)]);
        server.slice("shop", "stock", "stock-a", port, &[("127.0.0.8", true)]);
        server.slice("other", "orders", "orders-z", port, &[("127.0.0.8", true)]);
        let (_folder, file) = token("t1\n");
        let gateway = gateway(&server, &file);
        assert_eq!(answering(&gateway), set(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]));
        wait_until("it watches", || watches(&server) == 1);
        server.slice("shop", "orders", "orders-d", port, &[("127.0.0.4", true)]);
        wait_until("the new one", || answering(&gateway).contains("127.0.0.4"));
        server.slice("shop", "orders", "orders-b", port, &[("127.0.0.2", false)]);
        server.remove("shop", "orders-c");
        wait_until("those that stay", || answering(&gateway) == set(&["127.0.0.1", "127.0.0.4"]));
        assert_eq!(watches(&server), 1, "all that came by one watch");
        assert_eq!(state(&gateway).0, "fresh");
    }

    #[test]
    fn what_is_not_known_any_more_is_listed_again() {
        let (_backend, port) = everywhere();
        let server = Kubernetes::start("t1");
        server.slice("shop", "orders", "orders-a", port, &[("127.0.0.1", true)]);
        let (_folder, file) = token("t1");
        let gateway = gateway(&server, &file);
        assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
        wait_until("it watches", || watches(&server) == 1);
        server.compact();
        wait_until("it watches again", || watches(&server) == 2);
        let lists = server.asked().iter().filter(|asked| asked.parameter("limit").is_some()).count();
        assert_eq!(lists, 2);
        server.slice("shop", "orders", "orders-a", port, &[("127.0.0.2", true)]);
        wait_until("the other one", || answering(&gateway) == set(&["127.0.0.2"]));
        gateway.await_metric("tollgate_source_failures_total{source=\"kubernetes shop/orders\"}", |count| count == 0.0);
    }

    #[test]
    fn without_its_api_server_instances_are_held_and_then_lapse() {
        let (_backend, port) = everywhere();
        let mut server = Kubernetes::start("t1");
        server.slice("shop", "orders", "orders-a", port, &[("127.0.0.1", true)]);
        let (_folder, file) = token("t1");
        let gateway = gateway(&server, &file);
        assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
        wait_until("it watches", || watches(&server) == 1);
        server.stop();
        wait_until("the failure shows", || state(&gateway).0 == "stale");
        assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
        wait_until("they lapse", || gateway.client().get("/a").status == 503);
        assert_eq!(state(&gateway), ("lapsed".to_owned(), vec![]));
        // Meanwhile the token was replaced.
        server.token("t2");
        server.slice("shop", "orders", "orders-a", port, &[("127.0.0.2", true)]);
        server.resume();
        wait_until("it is refused", || {
            gateway.status()["services"][0]["error"].as_str().is_some_and(|error| error.contains("401: Unauthorized"))
        });
        fs::write(&file, "t2").unwrap();
        wait_until("it is back", || gateway.client().get("/a").status == 200);
        assert_eq!(answering(&gateway), set(&["127.0.0.2"]));
        assert_eq!(state(&gateway).0, "fresh");
    }

    /// How a process gets a file system of its own: as whoever we are, or as root.
    fn own_space() -> &'static str {
        let works = |how: &&str| {
            let tried = std::process::Command::new("sh").arg("-c").arg(format!("{how} true")).output();
            tried.is_ok_and(|tried| tried.status.success())
        };
        let ways = ["unshare --map-root-user --mount", "unshare --mount"];
        let found = ways.into_iter().find(works);
        found.expect(
            "this machine forbids both `unshare --map-root-user --mount` (see `user.max_user_namespaces` and \
             `kernel.apparmor_restrict_unprivileged_userns`) and, as root with CAP_SYS_ADMIN, `unshare --mount`: nothing can be made to look \
             like a pod",
        )
    }

    /// In a space of its own, in which the files of its service account are where a pod has them.
    #[test]
    fn a_gateway_in_a_cluster_need_not_be_told_anything() {
        let (_backend, port) = everywhere();
        let (server, authority, folder) =
            (Kubernetes::start("t1"), Authority::new("cluster"), tempfile::tempdir().unwrap());
        server.slice("shop", "orders", "orders-a", port, &[("127.0.0.1", true)]);
        authority.write(folder.path(), "ca.crt");
        fs::write(folder.path().join("token"), "t1\n").unwrap();
        let (cert, key) = authority.server(&["127.0.0.1"]).write(folder.path(), "server");
        let https = free_port();
        let _front = Peer::nginx(&format!(
            "server {{ listen 127.0.0.1:{https} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
             location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_buffering off; }} }}",
            cert.display(),
            key.display(),
            server.address()
        ));
        wait_until("the API server's TLS", || RawClient::is_accepted(([127, 0, 0, 1], https).into()));
        let pod = folder.path().join("pod");
        let (account, space) = ("/run/secrets/kubernetes.io/serviceaccount", own_space());
        let script = format!(
            "#!/bin/sh\nexec {space} sh -ec 'mount -t tmpfs none /run; mkdir -p {account}; \
             cp {0}/ca.crt {0}/token {account}/; exec {TOLLGATE} \"$@\"' sh \"$@\"\n",
            folder.path().display()
        );
        fs::write(&pod, script).unwrap();
        fs::set_permissions(&pod, fs::Permissions::from_mode(0o755)).unwrap();
        let text = config("", "kubernetes: { service: shop/orders, port: http }");
        let environment = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", &https.to_string())];
        let gateway = Gateway::start_with(pod.to_str().unwrap(), &text, &[], &environment);
        assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
        wait_until("it watches", || watches(&server) == 1);
        server.slice("shop", "orders", "orders-a", port, &[("127.0.0.2", true)]);
        wait_until("the other one", || answering(&gateway) == set(&["127.0.0.2"]));
    }

    #[test]
    fn a_gateway_outside_of_a_cluster_must_be_told_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tollgate.yaml");
        let text = "listen: \"127.0.0.1:0\"\nservices: { s: { kubernetes: shop/orders } }\nroutes: { /**: s }\n";
        fs::write(&file, text.replace("127.0.0.1:0", &format!("127.0.0.1:{}", free_port()))).unwrap();
        let run = |command: &str| {
            let mut tollgate = std::process::Command::new(TOLLGATE);
            tollgate.env_remove("KUBERNETES_SERVICE_HOST").arg(command).arg("-c").arg(&file);
            let ran = tollgate.output().unwrap();
            (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
        };
        assert!(run("check").0, "it may be looked at elsewhere");
        let (is_fine, said) = run("run");
        assert!(!is_fine && said.contains("nobody knows where Kubernetes is"), "{said}");
    }
}

#[cfg(not(feature = "kubernetes"))]
#[test]
fn a_build_without_kubernetes_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollgate.yaml");
    fs::write(&file, "listen: 8080\nservices: { s: { kubernetes: shop/orders } }\nroutes: { /**: s }\n").unwrap();
    let ran = std::process::Command::new(TOLLGATE).arg("check").arg("-c").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && said.contains("this build of Tollgate cannot ask Kubernetes"), "{said}");
}
