//! Certificates made by openssl, gateways that ask for them, and curl to show them.

use std::path::PathBuf;
use std::process::Command;

use data_encoding::BASE64;
use serde_json::Value;
use tempfile::TempDir;
use tollgate_testkit::{Gateway, Recorder, Response};

/// Authorities and what they sign, in a folder.
pub(crate) struct House(pub(crate) TempDir);

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl House {
    pub(crate) fn new() -> Self {
        let house = Self(tempfile::tempdir().unwrap());
        for authority in ["ca", "other"] {
            let subject = format!("/CN={authority}");
            house.make(authority, &["-subj", &subject, "-addext", "keyUsage=critical,keyCertSign"]);
        }
        house.signed("server", "ca", "/CN=shop.example", &["subjectAltName=DNS:shop.example"]);
        house
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    pub(crate) fn make(&self, name: &str, more: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        command
            .arg("-keyout")
            .arg(self.file(&format!("{name}.key")))
            .arg("-out")
            .arg(self.file(&format!("{name}.pem")));
        run(command.args(more));
    }

    /// A certificate of this authority, with these extensions.
    pub(crate) fn signed(&self, name: &str, by: &str, subject: &str, extensions: &[&str]) {
        let (ca, key) = (self.text(&format!("{by}.pem")), self.text(&format!("{by}.key")));
        let mut more = vec!["-CA", &ca, "-CAkey", &key, "-subj", subject, "-utf8"];
        more.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        more.extend(extensions.iter().flat_map(|extension| ["-addext", extension]));
        self.make(name, &more);
    }

    /// For a client of the authority `ca`.
    pub(crate) fn client(&self, name: &str, subject: &str, names: &str) {
        let names = format!("subjectAltName={names}");
        let extensions = [names.as_str(), "extendedKeyUsage=clientAuth", "keyUsage=critical,digitalSignature"];
        self.signed(name, "ca", subject, if names.ends_with('=') { &extensions[1..] } else { &extensions });
    }

    /// A certificate as it is in a handshake.
    pub(crate) fn der(&self, name: &str) -> Vec<u8> {
        let output =
            Command::new("openssl").args(["x509", "-outform", "DER", "-in", &self.text(name)]).output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// As `Client-Cert` has it (RFC 9440 §2.1).
    pub(crate) fn forwarded(&self, name: &str) -> String {
        format!(":{}:", BASE64.encode(&self.der(name)))
    }

    /// A listener that asks clients for certificates, which they may come without.
    pub(crate) fn listener(&self) -> String {
        let tls = "{ tls: { cert: PKI/server.pem, key: PKI/server.key, client: { ca: PKI/ca.pem, required: false } } }";
        tls.replace("PKI", &self.0.path().display().to_string())
    }

    /// A gateway that listens so, with these sections, before a service that answers.
    pub(crate) fn gateway(&self, listener: &str, sections: &str) -> (Gateway, Recorder) {
        let backend = Recorder::start();
        let config =
            format!("listen: {{ \"{{{{http}}}}\": {listener}, \"{{{{health}}}}\": health }}\nworkers: 1\n{sections}\n");
        let config = config.replace("PKI", &self.0.path().display().to_string());
        let gateway = Gateway::start(crate::TOLLGATE, &config, &[("backend", backend.address().to_string())]);
        (gateway, backend)
    }
}

/// What the gateway answers to somebody with this certificate.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) slug: String,
    pub(crate) head: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn outcome(&self) -> &str {
        if self.status == 200 || self.status == 204 { "ok" } else { &self.slug }
    }
}

pub(crate) fn slug(text: &str) -> String {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:tollgate:problem:").to_owned()
}

pub(crate) fn curl(house: &House, gateway: &Gateway, target: &str, certificate: Option<&str>, more: &[&str]) -> Answer {
    let address = gateway.address();
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-D", "-", "--cacert", &house.text("ca.pem"), "--resolve"]);
    command.arg(format!("shop.example:{}:{}", address.port(), address.ip())).args(more);
    if let Some(name) = certificate {
        command.args(["--cert", &house.text(&format!("{name}.pem")), "--key", &house.text(&format!("{name}.key"))]);
    }
    let said = run(command.arg(format!("https://shop.example:{}{target}", address.port())));
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, slug: slug(body), head: head.to_owned() }
}

pub(crate) fn plain(gateway: &Gateway, target: &str, fields: &str) -> Response {
    gateway.client().call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\n{fields}\r\n"))
}

pub(crate) fn outcome(response: &Response) -> String {
    if response.status == 200 || response.status == 204 { "ok".to_owned() } else { slug(&response.text()) }
}
