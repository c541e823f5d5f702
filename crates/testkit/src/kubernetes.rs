//! Stands in for the API server of Kubernetes, which cannot be run in tests: EndpointSlices listed in pages and watched, written after
//! the published reference of the API. What an API server does beyond that, it does not.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::deadline::Deadline;
use crate::stand_in::{Asked, StandIn, answer};

/// Most slices of one page, whatever is asked for.
const PAGE: usize = 2;
/// How often a watch in which nothing happens says so.
const BOOKMARKS: Duration = Duration::from_millis(500);

/// An API server.
#[derive(Debug)]
pub struct Kubernetes {
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
    version: u64,
    /// By namespace and name.
    slices: BTreeMap<(String, String), Value>,
    /// What changed: the version, the namespace, and the event.
    history: Vec<(u64, String, Value)>,
    /// Up to this version the history is forgotten.
    forgotten: u64,
    token: String,
    asked: Vec<Asked>,
}

impl Kubernetes {
    /// Starts one that knows nothing and must be shown this token.
    #[must_use]
    pub fn start(token: &str) -> Self {
        let known = Arc::new(Known::default());
        {
            let mut state = known.state.lock().unwrap();
            token.clone_into(&mut state.token);
            state.version = 100;
        }
        let own = Arc::clone(&known);
        let server = StandIn::start(Arc::new(move |asked, stream, is_over| own.answer(asked, stream, is_over)));
        Self { server, known }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// From now on there is this slice of a service, with one port `http`. Addresses, and whether each is ready.
    pub fn slice(&self, namespace: &str, service: &str, name: &str, port: u16, addresses: &[(&str, bool)]) {
        let endpoint = |(address, ready): &(&str, bool)| json!({ "addresses": [address], "conditions": { "ready": ready, "serving": ready, "terminating": false } });
        let mut state = self.known.state.lock().unwrap();
        state.version += 1;
        let slice = json!({
            "metadata": {
                "name": name, "namespace": namespace, "resourceVersion": state.version.to_string(),
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": port, "protocol": "TCP" }],
            "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        });
        let before = state.slices.insert((namespace.to_owned(), name.to_owned()), slice.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let event = (state.version, namespace.to_owned(), json!({ "type": kind, "object": slice }));
        state.history.push(event);
        self.known.changed.notify_all();
    }

    /// The slice is gone.
    ///
    /// # Panics
    /// When there was none.
    pub fn remove(&self, namespace: &str, name: &str) {
        let mut state = self.known.state.lock().unwrap();
        state.version += 1;
        let mut slice = state.slices.remove(&(namespace.to_owned(), name.to_owned())).expect("the slice");
        slice["metadata"]["resourceVersion"] = state.version.to_string().into();
        let event = (state.version, namespace.to_owned(), json!({ "type": "DELETED", "object": slice }));
        state.history.push(event);
        self.known.changed.notify_all();
    }

    /// Forgets what changed so far, and ends all watches: who asks for that is told 410.
    pub fn compact(&self) {
        let mut state = self.known.state.lock().unwrap();
        state.version += 1;
        state.forgotten = state.version;
        state.history.clear();
        self.known.changed.notify_all();
    }

    /// From now on it must be shown another token.
    pub fn token(&self, token: &str) {
        token.clone_into(&mut self.known.state.lock().unwrap().token);
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
        let is_known = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(asked.clone());
            asked.fields.get("authorization") == Some(&format!("Bearer {}", state.token))
        };
        if !is_known {
            return refuse(stream, 401, "Unauthorized");
        }
        let namespace = asked.path.strip_prefix("/apis/discovery.k8s.io/v1/namespaces/");
        let Some(namespace) = namespace.and_then(|rest| rest.strip_suffix("/endpointslices")) else {
            return refuse(stream, 404, "the server could not find the requested resource");
        };
        let selector = asked.parameter("labelSelector").unwrap_or_default();
        let service = selector.strip_prefix("kubernetes.io/service-name=").expect("a selector of a service");
        match asked.parameter("watch") {
            Some("true") => self.watch(asked, namespace, service, stream, is_over),
            _ => self.list(asked, namespace, service, stream),
        }
    }

    fn list(&self, asked: &Asked, namespace: &str, service: &str, stream: &mut TcpStream) {
        let state = self.state.lock().unwrap();
        let of = state.slices.iter().filter(|((of, _), slice)| of == namespace && is_of(slice, service));
        let all: Vec<&Value> = of.map(|(_, slice)| slice).collect();
        let from: usize = asked.parameter("continue").map_or(0, |from| from.parse().expect("a place to go on"));
        let limit: usize = asked.parameter("limit").map_or(usize::MAX, |limit| limit.parse().expect("a limit"));
        let end = from.saturating_add(limit.min(PAGE)).min(all.len());
        let go_on = if end < all.len() { end.to_string() } else { String::new() };
        let list = json!({
            "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "resourceVersion": state.version.to_string(), "continue": go_on },
            "items": &all[from.min(end)..end],
        });
        answer(stream, 200, &[], &list.to_string());
    }

    fn watch(&self, asked: &Asked, namespace: &str, service: &str, stream: &mut TcpStream, is_over: &AtomicBool) {
        let number = |name: &str| asked.parameter(name).expect(name).parse::<u64>().expect("a number");
        let (mut from, until) =
            (number("resourceVersion"), Deadline::after(Duration::from_secs(number("timeoutSeconds"))));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut tell = |text: &str| stream.write_all(text.as_bytes()).is_ok();
        let chunk = |event: &Value| format!("{:x}\r\n{event}\n\r\n", event.to_string().len() + 1);
        if !tell(head) {
            return;
        }
        let mut state = self.state.lock().unwrap();
        loop {
            if from < state.forgotten {
                let why = format!("too old resource version: {from} ({})", state.version);
                let event = json!({ "type": "ERROR", "object": { "kind": "Status", "code": 410, "reason": "Expired", "message": why } });
                tell(&format!("{}0\r\n\r\n", chunk(&event)));
                return;
            }
            let new = state
                .history
                .iter()
                .filter(|(version, of, event)| *version > from && of == namespace && is_of(&event["object"], service));
            let new: Vec<String> = new.map(|(_, _, event)| chunk(event)).collect();
            let is_quiet = new.is_empty();
            from = state.version;
            let bookmark = json!({ "type": "BOOKMARK", "object": {
                "kind": "EndpointSlice", "metadata": { "resourceVersion": from.to_string() } } });
            let text = if is_quiet { chunk(&bookmark) } else { new.concat() };
            if is_over.load(Ordering::SeqCst) || !tell(&text) {
                return;
            }
            if until.left().is_none() {
                tell("0\r\n\r\n");
                return;
            }
            state = self.changed.wait_timeout(state, BOOKMARKS).unwrap().0;
        }
    }
}

fn is_of(slice: &Value, service: &str) -> bool {
    slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
}

fn refuse(stream: &mut TcpStream, code: u16, message: &str) {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code });
    answer(stream, code, &[], &status.to_string());
}
