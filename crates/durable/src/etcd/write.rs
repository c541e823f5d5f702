//! Changes: a read, then a transaction that holds only if the key is as it was read.
//!
//! An endpoint that does not answer may make a change later, long after everybody forgot it: it was paused. Therefore:
//! - Every change is bound to the revision at which the key was put last, which never comes again. Of all tries of a change one is made at
//!   most, and none after a later change of the key.
//! - But that a key is absent may come again. What makes a new key is tried once, with an endpoint that answered just now.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::client::{Ask, Client, Failure};
use super::read::Found;
use super::wire::{Txn, decoded};
use crate::{LeaseId, OnlyIf, Revision, Written};

/// So often a change without a condition is tried while others change the same key.
const RACES: usize = 64;

impl Client {
    pub(super) async fn put(
        &self,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
        only_if: OnlyIf,
    ) -> Result<Written, Failure> {
        let lease = lease.map_or(0, |lease| lease.0).to_string();
        let put = json!({ "request_put": { "key": self.key(key), "value": BASE64.encode(value), "lease": lease } });
        self.change(key, only_if, &put).await
    }

    pub(super) async fn delete(&self, key: &str, only_if: OnlyIf) -> Result<Written, Failure> {
        let Found { entry, revision, .. } = self.read(key).await?;
        match (entry, only_if) {
            (None, OnlyIf::Always | OnlyIf::Absent) => Ok(Written::Done(revision)),
            (entry @ Some(_), OnlyIf::Absent) => Ok(Written::Conflict(entry)),
            _ => self.change(key, only_if, &json!({ "request_delete_range": { "key": self.key(key) } })).await,
        }
    }

    /// A value that is nobody's, put whatever lies there: it does no harm twice.
    pub(super) async fn put_mark(&self, key: &str, first: usize) -> Result<(), Failure> {
        let ask = Ask::read("/v3/kv/put", &json!({ "key": self.key(key) }));
        self.ask_from(first, &ask, &mut false).await.map(drop)
    }

    async fn change(&self, key: &str, only_if: OnlyIf, operation: &Value) -> Result<Written, Failure> {
        for _ in 0..RACES {
            let Found { entry, endpoint, .. } = self.read(key).await?;
            if !only_if.holds(entry.as_ref()) {
                return Ok(Written::Conflict(entry));
            }
            let was = entry.map_or(Revision(0), |entry| entry.modified);
            match self.changed(key, was, operation, endpoint).await {
                Ok(Written::Conflict(_)) if only_if == OnlyIf::Always => {}
                Err(Failure::NoLease) => return Ok(Written::NoLease),
                other => return other,
            }
        }
        Err(Failure::Unavailable(format!("others change `{key}` all the time")))
    }

    /// Makes the change if the key was put last at `was`; 0: if it is absent.
    async fn changed(&self, key: &str, was: Revision, operation: &Value, first: usize) -> Result<Written, Failure> {
        let request = json!({
            "compare": [{ "key": self.key(key), "target": "MOD", "result": "EQUAL", "mod_revision": was.0.to_string() }],
            "success": [operation],
            "failure": [{ "request_range": { "key": self.key(key) } }],
        });
        let (ask, mut is_unsure) = (Ask::change("/v3/kv/txn", &request), false);
        let body = if was == Revision(0) {
            let made = self.at(first, &ask).await;
            if let Err(Failure::Unavailable(_)) = &made {
                is_unsure = true;
                self.pass_over(first);
            }
            made
        } else {
            self.ask_from(first, &ask, &mut is_unsure).await.map(|answer| answer.body)
        };
        let body = body.map_err(|failure| if is_unsure { unknown(failure) } else { failure })?;
        let txn: Txn = decoded(&body).map_err(unknown)?;
        if txn.succeeded {
            return Ok(Written::Done(Revision(txn.header.revision)));
        }
        if is_unsure {
            return Err(unknown(Failure::Unavailable(format!("`{key}` was changed, perhaps by this"))));
        }
        let found = txn.responses.into_iter().flat_map(|response| response.response_range.kvs).next();
        Ok(Written::Conflict(found.map(|found| found.entry(key.to_owned()))))
    }
}

/// An endpoint may have made it, and did not say so.
fn unknown(failure: Failure) -> Failure {
    match failure {
        Failure::Unavailable(why) => Failure::Unavailable(format!("{why}; whether the change was made is not known")),
        other => other,
    }
}
