//! Instances and changes as JSON, a piece at a time: there may be ten thousand of them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tollgate_core::body::BodyStream;
use tollgate_core::serde_json::{Map, Value, json};
use tollgate_registry::Load;
use tollgate_registry::directory::{Change, Registered};

/// About how much is made at a time.
const PIECE: usize = 32 * 1024;
/// So many renewals fit into the time to live: two may get lost.
const RENEWALS: u32 = 3;

/// An instance.
pub(super) fn instance(instance: &Registered) -> Value {
    let own = &instance.registration;
    json!({
        "service": &*own.service,
        "id": &*own.id,
        "address": &*own.address,
        "port": own.port,
        "ttl": period(own.ttl),
        "renew_every": period(own.ttl / RENEWALS),
        "zone": own.zone.as_deref(),
        "version": own.version.as_deref(),
        "weight": own.weight,
        "group": own.group,
        "tags": own.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(),
        "draining": instance.draining,
        "load": instance.load.as_ref().map(load),
        "revision": instance.revision,
        "since": time(instance.since),
        "expires": instance.expires.map(time),
    })
}

/// One change.
pub(super) fn change(change: &Change) -> Value {
    match change {
        Change::Put(put) => json!({ "change": "put", "revision": put.revision, "instance": instance(put) }),
        Change::Gone { service, id, revision } => {
            json!({ "change": "gone", "revision": revision, "service": &**service, "id": &**id })
        }
    }
}

/// As it was reported: what has a name of one's own stands below its kind.
fn load(load: &Load) -> Value {
    let mut told = Map::new();
    for (name, value) in load.fields() {
        match name.split_once('.') {
            Some((kind, own)) => {
                let below = told.entry(kind).or_insert_with(|| Value::Object(Map::new()));
                below.as_object_mut().into_iter().for_each(|below| drop(below.insert(own.to_owned(), value.into())));
            }
            None => drop(told.insert(name.to_owned(), value.into())),
        }
    }
    Value::Object(told)
}

/// A time as it is also read.
pub(super) fn period(time: Duration) -> String {
    if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// A text that is made while it is sent.
pub(super) struct Text(Box<dyn Iterator<Item = String> + Send>);

impl Text {
    pub(super) fn new(parts: impl Iterator<Item = String> + Send + 'static) -> Self {
        Self(Box::new(parts))
    }

    /// A list of instances, as an object in which it stands beside `head`. `before` stands before each line.
    pub(super) fn list(head: &str, instances: Vec<Arc<Registered>>, before: &'static str) -> Self {
        let begin = format!("{before}{{{head},\"instances\":[\n");
        let last = instances.len().saturating_sub(1);
        let lines = instances.into_iter().enumerate().map(move |(index, one)| {
            let comma = if index == last { "" } else { "," };
            format!("{before}{}{comma}\n", instance(&one))
        });
        Self::new(std::iter::once(begin).chain(lines).chain(std::iter::once(format!("{before}]}}\n"))))
    }

    /// What comes next.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let mut piece = String::new();
        while piece.len() < PIECE {
            match self.0.next() {
                Some(part) => piece.push_str(&part),
                None => break,
            }
        }
        (!piece.is_empty()).then(|| piece.into())
    }
}

impl BodyStream for Text {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(self.next().map(Ok))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text")
    }
}
