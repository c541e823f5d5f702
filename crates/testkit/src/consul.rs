//! Stands in for Consul, which cannot be installed where tests run: `/v1/health/service/NAME` with blocking queries, written after the
//! published reference of its HTTP API. What Consul does beyond that, it does not.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::deadline::Deadline;
use crate::stand_in::{Asked, StandIn, answer};

/// An agent of Consul.
#[derive(Debug)]
pub struct Consul {
    server: StandIn,
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    index: u64,
    /// With the index at which it was last changed.
    services: BTreeMap<String, (u64, Vec<Value>)>,
    token: Option<String>,
    asked: Vec<Asked>,
}

impl Consul {
    /// Starts one that knows nothing. `token`: what it must be shown.
    #[must_use]
    pub fn start(token: Option<&str>) -> Self {
        let known = Arc::new(Known::default());
        known.state.lock().unwrap().token = token.map(str::to_owned);
        let own = Arc::clone(&known);
        let server = StandIn::start(Arc::new(move |asked, stream, is_over| own.answer(asked, stream, is_over)));
        Self { server, known }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// An instance: at this address, with a check that stands so.
    #[must_use]
    pub fn instance(address: &str, port: u16, check: &str, tags: &[&str]) -> Value {
        json!({
            "Node": { "ID": "1", "Node": "n1", "Address": "192.0.2.1", "Datacenter": "dc1", "Meta": {} },
            "Service": {
                "ID": format!("{address}:{port}"), "Service": "any", "Tags": tags, "Address": address, "Port": port,
                "Meta": {}, "Weights": { "Passing": 1, "Warning": 1 },
            },
            "Checks": [{ "Node": "n1", "CheckID": "c", "Status": check }],
        })
    }

    /// From now on the service has these instances.
    pub fn set(&self, service: &str, instances: &[Value]) {
        let mut state = self.known.state.lock().unwrap();
        state.index += 10;
        let index = state.index;
        state.services.insert(service.to_owned(), (index, instances.to_vec()));
        self.known.changed.notify_all();
    }

    /// As if it were restored from a snapshot: indexes begin anew, instances stay.
    pub fn restore(&self) {
        let mut state = self.known.state.lock().unwrap();
        state.index = 1;
        state.services.values_mut().for_each(|(index, _)| *index = 1);
        self.known.changed.notify_all();
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.known.state.lock().unwrap().asked.clone()
    }

    /// Ends it; its address stays, and what it knows.
    pub fn stop(&mut self) {
        self.server.stop();
        self.known.changed.notify_all();
    }

    /// Starts it again.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

impl Known {
    fn answer(&self, asked: &Asked, stream: &mut TcpStream, is_over: &AtomicBool) {
        let mut state = self.state.lock().unwrap();
        state.asked.push(asked.clone());
        if state.token.as_deref() != asked.fields.get("x-consul-token").map(String::as_str) {
            return answer(stream, 403, &[], "ACL not found");
        }
        let Some(service) = asked.path.strip_prefix("/v1/health/service/") else {
            return answer(stream, 404, &[], "");
        };
        let after: u64 = asked.parameter("index").map_or(0, |index| index.parse().expect("an index"));
        let wait = asked.parameter("wait").map_or(300_000, |wait| {
            wait.strip_suffix("ms").and_then(|wait| wait.parse().ok()).expect("a time to wait in ms")
        });
        let until = Deadline::after(Duration::from_millis(wait));
        let mut before = state.index;
        loop {
            let (index, instances) = state.services.get(service).cloned().unwrap_or((state.index.max(1), Vec::new()));
            // Waited for: something newer, or that the store is replaced.
            if after == 0 || index > after || state.index < before || until.left().is_none() {
                let shown: Vec<Value> = instances.into_iter().filter(|one| is_wanted(one, asked)).collect();
                let fields = [
                    ("X-Consul-Index", index.to_string()),
                    ("X-Consul-KnownLeader", "true".to_owned()),
                    ("X-Consul-LastContact", "0".to_owned()),
                ];
                drop(state);
                return answer(stream, 200, &fields, &Value::Array(shown).to_string());
            }
            if is_over.load(Ordering::SeqCst) {
                return;
            }
            before = state.index;
            let left = until.left().unwrap_or_default().min(Duration::from_millis(200));
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

fn is_wanted(instance: &Value, asked: &Asked) -> bool {
    let has =
        |tag: &String| instance["Service"]["Tags"].as_array().is_some_and(|tags| tags.iter().any(|own| own == tag));
    let passes = instance["Checks"].as_array().is_some_and(|all| all.iter().all(|check| check["Status"] == "passing"));
    (asked.parameter("passing").is_none() || passes) && asked.query.get("tag").is_none_or(|tags| tags.iter().all(has))
}
