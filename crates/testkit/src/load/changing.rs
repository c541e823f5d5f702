//! A config that says something else with every step, and what stands around a gateway that has it.

use std::fmt::Write;
use std::net::SocketAddr;

use tempfile::TempDir;

use super::{Backends, Options, Target, Way};
use crate::gateway::Gateway;
use crate::pki::Authority;
use crate::port::free_port;

const NAME: &str = "shop.example";

/// The config as it is now. Each step changes one thing: routes, a policy, a service, a listener, a certificate, the number
/// of workers.
#[derive(Debug)]
pub struct Changing {
    /// Three of HTTP/1.1, and one of HTTP/2. The first of them and the last are always there.
    pub backends: Backends,
    authority: Authority,
    folder: TempDir,
    tls: SocketAddr,
    further: SocketAddr,
    steps: usize,
    /// How many routes there are beside those that the load takes.
    routes: usize,
    /// What a policy sets.
    header: usize,
    /// How many instances the service has.
    instances: usize,
    /// Whether there is another listener.
    is_open: bool,
    certificate: usize,
    workers: usize,
}

impl Default for Changing {
    fn default() -> Self {
        Self::new()
    }
}

impl Changing {
    /// The first config.
    ///
    /// # Panics
    /// When there is no place for its files, or no port.
    #[must_use]
    pub fn new() -> Self {
        let (authority, folder) = (Authority::new("Test CA"), tempfile::tempdir().expect("a folder"));
        for number in 0..2 {
            authority.server(&[NAME]).write(folder.path(), &number.to_string());
        }
        let [tls, further] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            backends: Backends::start(3),
            authority,
            folder,
            tls,
            further,
            steps: 0,
            routes: 0,
            header: 0,
            instances: 3,
            is_open: false,
            certificate: 0,
            workers: 2,
        }
    }

    /// Changes one thing; says which.
    pub fn step(&mut self) -> &'static str {
        let turn = self.steps % 6;
        self.steps += 1;
        match turn {
            0 => self.routes = (self.routes + 1) % 4,
            1 => self.header += 1,
            2 => self.instances = self.instances % 3 + 1,
            3 => self.is_open = !self.is_open,
            4 => self.certificate = 1 - self.certificate,
            _ => self.workers = self.workers % 3 + 1,
        }
        ["a route", "a policy", "a service", "a listener", "a certificate", "the workers"][turn]
    }

    /// The config for [`Gateway::start`] and [`Gateway::reload`]. WebSockets are at `/ws`, a download at `/slow`, streams at
    /// `/stream`.
    #[must_use]
    pub fn config(&self) -> String {
        let file = |kind: &str| self.folder.path().join(format!("{}.{kind}", self.certificate)).display().to_string();
        let further = if self.is_open { format!("  \"{}\": http\n", self.further) } else { String::new() };
        let instances: Vec<String> =
            (0..self.instances).map(|number| format!("\"{}\"", self.backends.address(number))).collect();
        let mut text = format!(
            "listen:\n  \"{{{{http}}}}\": http\n  \"{{{{health}}}}\": health\n  \"{tls}\": {{ tls: {{ cert: {cert}, key: {key} }} }}\n\
             {further}workers: {workers}\nlog: {{ access: off }}\n\
             services:\n  one: [{instances}]\n  two: {{ to: \"{two}\", protocol: http2 }}\n  live: \"{live}\"\n\
             routes:\n  /one/**: {{ to: one, headers: {{ response: {{ set: {{ X-N: n{header} }} }} }} }}\n  /two/**: two\n  \
             /ws: {{ to: live, upgrade: websocket }}\n  /slow: live\n  /stream: two\n",
            tls = self.tls,
            cert = file("pem"),
            key = file("key"),
            workers = self.workers,
            instances = instances.join(", "),
            two = self.backends.http2_address(),
            live = self.backends.address(0),
            header = self.header,
        );
        for number in 0..self.routes {
            let _ = writeln!(text, "  /further{number}: {{ reply: 204 }}");
        }
        text
    }

    /// Where load goes: every way, with TLS and without, to what is always there.
    #[must_use]
    pub fn targets(&self, gateway: &Gateway) -> Vec<Target> {
        let ways = [Way::Kept, Way::New, Way::Http2];
        let plain = ways.map(|way| Target::new(gateway.address(), way));
        let secure = ways.map(|way| Target::new(self.tls, way).over_tls(&self.authority, NAME));
        plain.into_iter().chain(secure).collect()
    }

    /// What is asked for: both services.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { paths: vec!["/one".to_owned(), "/two".to_owned()], ..Options::default() }
    }
}
