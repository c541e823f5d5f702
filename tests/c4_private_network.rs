//! C4: only the gateway reaches the services: networks apart, and an address that services can tell it by. Clients, gateway and
//! service each have a network namespace of their own, as docs/private-network.md draws it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tollgate_testkit::wait_until;

/// Three namespaces and the two networks between them; gone with the test.
struct Networks {
    prefix: String,
}

impl Networks {
    fn new() -> Self {
        let networks = Self { prefix: format!("tg{}", std::process::id()) };
        let [client, gateway, service] = ["c", "g", "s"].map(|name| networks.name(name));
        for name in [&client, &gateway, &service] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        networks.join(&client, "front", "10.77.1.2/24", "10.77.1.1/24");
        networks.join(&service, "back", "10.77.2.2/24", "10.77.2.1/24");
        ip(&format!("-n {gateway} addr add 10.77.2.5/24 dev back"));
        // They know the way, should anybody let them pass.
        ip(&format!("-n {client} route add default via 10.77.1.1"));
        ip(&format!("-n {service} route add default via 10.77.2.1"));
        networks
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A cable from a namespace to the gateway's.
    fn join(&self, from: &str, device: &str, there: &str, here: &str) {
        let gateway = self.name("g");
        ip(&format!("-n {from} link add leg type veth peer name {device} netns {gateway}"));
        ip(&format!("-n {from} addr add {there} dev leg"));
        ip(&format!("-n {gateway} addr add {here} dev {device}"));
        ip(&format!("-n {from} link set leg up"));
        ip(&format!("-n {gateway} link set {device} up"));
    }

    fn command(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.args(["netns", "exec", &self.name(name), program]);
        command
    }

    /// What curl says in a namespace.
    fn curl(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(name, "curl");
        command.args(["-sS", "--max-time", "3", "-o", "/dev/null", "-w", "%{http_code}"]).args(arguments);
        command.output().unwrap()
    }

    fn status(&self, name: &str, url: &str) -> String {
        String::from_utf8(self.curl(name, &[url]).stdout).unwrap()
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in ["c", "g", "s"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(name)]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(arguments: &str) {
    let mut command = Command::new("ip");
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    let output = command.args(arguments.split(' ')).output().expect("`./test` installs ip");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {told}(network namespaces need root)");
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn service(networks: &Networks, folder: &Path) -> Running {
    let at = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}}\n\
         http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
         uwsgi_temp_path {at}; scgi_temp_path {at};\n\
         server {{ listen 10.77.2.2:8080; location / {{ allow 10.77.2.5; deny all; root {at}; }} }} }}\n"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    std::fs::create_dir(folder.join("orders")).unwrap();
    std::fs::write(folder.join("orders/1"), "one").unwrap();
    let mut command = networks.command("s", "nginx");
    Running(command.arg("-c").arg(folder.join("nginx.conf")).stderr(Stdio::null()).spawn().unwrap())
}

fn gateway(networks: &Networks, folder: &Path, source: &str) -> Running {
    let config = format!(
        "listen: {{ \"10.77.1.1:8080\": http, \"127.0.0.1:9900\": health }}\nlog: {{ access: off }}\n\
         services: {{ orders: {{ to: \"10.77.2.2:8080\"{source} }} }}\nroutes: {{ /orders/**: orders }}\n"
    );
    std::fs::write(folder.join("tollgate.yaml"), config).unwrap();
    let mut command = networks.command("g", env!("CARGO_BIN_EXE_tollgate"));
    let child = command.args(["run", "-c"]).arg(folder.join("tollgate.yaml")).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the gateway is ready", || networks.status("g", "http://127.0.0.1:9900/health/ready") == "200");
    Running(child)
}

#[test]
fn clients_reach_the_service_through_the_gateway_and_not_otherwise() {
    let (networks, folder) = (Networks::new(), tempfile::tempdir().unwrap());
    let _service = service(&networks, folder.path());
    wait_until("the service listens", || networks.status("g", "http://10.77.2.2:8080/orders/1") != "000");
    {
        let _gateway = gateway(&networks, folder.path(), ", source_address: 10.77.2.5");
        assert_eq!(networks.status("c", "http://10.77.1.1:8080/orders/1"), "200");
        // The gateway is no router, though the client knows the way.
        assert_eq!(networks.status("c", "http://10.77.2.2:8080/orders/1"), "000", "around the gateway");
        assert_eq!(
            networks.status("c", "http://10.77.1.1:9900/metrics"),
            "000",
            "the health listener is not for clients"
        );
    }
    // Without it, the system takes the first address of that leg, which the service does not know.
    let _gateway = gateway(&networks, folder.path(), "");
    assert_eq!(networks.status("c", "http://10.77.1.1:8080/orders/1"), "403");
}

#[test]
fn an_address_that_is_not_this_machines_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = "listen: \"127.0.0.1:1\"\nservices: { orders: { to: \"10.77.2.2:8080\", source_address: 192.0.2.77 } }\n\
        routes: { /**: orders }\n";
    std::fs::write(folder.path().join("tollgate.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(["run", "-c"]).arg(folder.path().join("tollgate.yaml")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("192.0.2.77") && told.contains("tollgate.yaml:2:"), "{told}");
}
