//! What etcd's gateway sends: JSON as protobuf has it. Numbers of 64 bits come as text, bytes in base 64, and what is zero or empty is
//! left out.

use data_encoding::BASE64;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

use super::client::Failure;
use crate::{Entry, LeaseId, Revision};

/// The head of every answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    pub(super) revision: u64,
    #[serde(deserialize_with = "number")]
    pub(super) member_id: u64,
}

/// What lies under a key; or of one that is gone, only when.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    #[serde(deserialize_with = "bytes")]
    pub(super) key: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    pub(super) value: Vec<u8>,
    #[serde(deserialize_with = "number")]
    pub(super) create_revision: u64,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: u64,
    #[serde(deserialize_with = "signed")]
    pub(super) lease: i64,
}

impl KeyValue {
    /// With its key as the user of the store calls it.
    pub(super) fn entry(self, key: String) -> Entry {
        Entry {
            key,
            value: self.value,
            created: Revision(self.create_revision),
            modified: Revision(self.mod_revision),
            lease: (self.lease != 0).then_some(LeaseId(self.lease)),
        }
    }
}

/// Keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub(super) header: Header,
    pub(super) kvs: Vec<KeyValue>,
    pub(super) more: bool,
}

/// What came of a transaction.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Txn {
    pub(super) header: Header,
    pub(super) succeeded: bool,
    pub(super) responses: Vec<TxnResponse>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnResponse {
    pub(super) response_range: Range,
}

/// A lease that was granted or renewed; without a time, it has ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lease {
    #[serde(rename = "ID", deserialize_with = "signed")]
    pub(super) id: i64,
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: u64,
}

/// How a member is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) header: Header,
    pub(super) version: String,
    #[serde(deserialize_with = "number")]
    pub(super) leader: u64,
    #[serde(rename = "dbSize", deserialize_with = "number")]
    pub(super) db_size: u64,
}

/// Who may come in with what.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Authenticated {
    pub(super) token: String,
}

/// What a watch is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Watched {
    pub(super) header: Header,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) cancel_reason: String,
    #[serde(deserialize_with = "number")]
    pub(super) compact_revision: u64,
    /// More of the same follows.
    pub(super) fragment: bool,
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: EventKind,
    pub(super) kv: KeyValue,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum EventKind {
    #[default]
    Put,
    Delete,
}

/// One of several answers to a call.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(super) struct Message<T> {
    #[serde(default = "none")]
    result: Option<T>,
    error: Option<Refusal>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> Message<T> {
    /// What it brings.
    pub(super) fn result(self) -> Result<T, Failure> {
        match (self.result, self.error) {
            (Some(result), None) => Ok(result),
            (_, Some(refusal)) => Err(refusal.failure()),
            (None, None) => Err(Failure::Unavailable("etcd sent neither a result nor an error".to_owned())),
        }
    }
}

/// Why it did not do it. The gateway of each version has its own names for this.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    message: String,
    error: String,
    #[serde(alias = "grpc_code")]
    code: u32,
}

// Codes of gRPC.
const RESOURCE_EXHAUSTED: u32 = 8;
const PERMISSION_DENIED: u32 = 7;
const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const FAILED_PRECONDITION: u32 = 9;
const OUT_OF_RANGE: u32 = 11;
const UNAUTHENTICATED: u32 = 16;

impl Refusal {
    /// What it means for whoever asked. Texts of etcd tell what a code leaves open.
    pub(super) fn failure(self) -> Failure {
        let text = if self.message.is_empty() { self.error } else { self.message };
        let text = text.trim_start_matches("etcdserver: ").to_owned();
        let says = |part: &str| text.contains(part);
        match self.code {
            _ if says("invalid auth token") || says("revision of auth store is old") => Failure::Token,
            UNAUTHENTICATED => Failure::Token,
            NOT_FOUND if says("lease not found") => Failure::NoLease,
            OUT_OF_RANGE if says("compacted") => Failure::Compacted,
            FAILED_PRECONDITION if says("authentication is not enabled") => Failure::NoAuthentication,
            RESOURCE_EXHAUSTED if says("too many requests") => Failure::Unavailable(text),
            RESOURCE_EXHAUSTED | PERMISSION_DENIED | INVALID_ARGUMENT | FAILED_PRECONDITION | NOT_FOUND => {
                Failure::Refused(text)
            }
            _ => Failure::Unavailable(text),
        }
    }
}

/// What the end of a watch means, told in the words of Go's gRPC: `rpc error: code = PermissionDenied desc = …`.
pub(super) fn cancelled(reason: &str) -> Failure {
    let (code, text) = reason.split_once(" desc = ").unwrap_or(("", reason));
    let code = match code.rsplit(' ').next() {
        Some("InvalidArgument") => INVALID_ARGUMENT,
        Some("PermissionDenied") => PERMISSION_DENIED,
        Some("Unauthenticated") => UNAUTHENTICATED,
        Some("OutOfRange") => OUT_OF_RANGE,
        _ if text.contains("permission denied") => PERMISSION_DENIED,
        _ if text.contains("compacted") => OUT_OF_RANGE,
        _ => 0,
    };
    Refusal { message: text.to_owned(), error: String::new(), code }.failure()
}

/// What JSON says.
pub(super) fn decoded<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::Unavailable(format!("it answers what etcd would not: {error}")))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number<T> {
    Plain(T),
    Text(String),
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Number::<u64>::deserialize(from)? {
        Number::Plain(number) => Ok(number),
        Number::Text(text) => text.parse().map_err(Error::custom),
    }
}

fn signed<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    match Number::<i64>::deserialize(from)? {
        Number::Plain(number) => Ok(number),
        Number::Text(text) => text.parse().map_err(Error::custom),
    }
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(from)?.as_bytes()).map_err(Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(json: &str) -> Failure {
        decoded::<Refusal>(json.as_bytes()).unwrap().failure()
    }

    #[test]
    fn what_is_left_out_is_zero_and_numbers_come_either_way() {
        let range: Range = decoded(br#"{"header":{"revision":"7"},"kvs":[{"key":"YQ==","mod_revision":5}]}"#).unwrap();
        assert_eq!(range.header.revision, 7);
        let entry = range.kvs.into_iter().next().unwrap().entry("a".to_owned());
        let (created, modified) = (Revision(0), Revision(5));
        assert_eq!(entry, Entry { key: "a".to_owned(), value: Vec::new(), created, modified, lease: None });
    }

    #[test]
    fn refusals_are_told_apart_whatever_the_version_calls_their_parts() {
        let no_leader = Failure::Unavailable("no leader".to_owned());
        assert_eq!(
            failure(r#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#),
            no_leader
        );
        assert_eq!(failure(r#"{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}"#), no_leader);
        assert_eq!(failure(r#"{"code":14,"message":"etcdserver: no leader","details":[]}"#), no_leader);
        assert_eq!(failure(r#"{"code":16,"message":"etcdserver: invalid auth token"}"#), Failure::Token);
        assert_eq!(failure(r#"{"code":3,"message":"etcdserver: revision of auth store is old"}"#), Failure::Token);
        let no_room = Failure::Refused("mvcc: database space exceeded".to_owned());
        assert_eq!(failure(r#"{"code":8,"message":"etcdserver: mvcc: database space exceeded"}"#), no_room);
        let busy = Failure::Unavailable("too many requests".to_owned());
        assert_eq!(failure(r#"{"code":8,"message":"etcdserver: too many requests"}"#), busy);
    }

    #[test]
    fn the_end_of_a_watch_has_its_reason_in_its_words() {
        let denied = Failure::Refused("permission denied".to_owned());
        assert_eq!(cancelled("rpc error: code = PermissionDenied desc = etcdserver: permission denied"), denied);
        assert_eq!(cancelled("etcdserver: permission denied"), denied);
        let nobody = Failure::Refused("user name is empty".to_owned());
        assert_eq!(cancelled("rpc error: code = InvalidArgument desc = etcdserver: user name is empty"), nobody);
        assert_eq!(
            cancelled("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"),
            Failure::Token
        );
        assert_eq!(cancelled("etcdserver: mvcc: required revision has been compacted"), Failure::Compacted);
        assert_eq!(cancelled(""), Failure::Unavailable(String::new()));
    }

    #[test]
    fn what_is_no_answer_of_etcd_is_no_answer() {
        for text in ["", "{", "<html>", r#"{"kvs":[{"key":"?"}]}"#, r#"{"header":{"revision":"-1"}}"#] {
            assert!(matches!(decoded::<Range>(text.as_bytes()), Err(Failure::Unavailable(_))), "{text}");
        }
        assert!(matches!(decoded::<Message<Range>>(b"{}").unwrap().result(), Err(Failure::Unavailable(_))));
    }
}
