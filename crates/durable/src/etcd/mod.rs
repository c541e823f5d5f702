//! etcd, of version 3.4 or later, by its JSON gateway (`/v3/…`): one node, or several of which most must be there.
//!
//! What lies there, below the prefix (`/tollgate/` if nothing else is said), so that one etcd may serve several clusters and others:
//!
//! | Key | What |
//! |---|---|
//! | `PREFIX` `KEY` | a key of the store as its user calls it, its value as it is |
//! | `PREFIX` `WATCHED` `~mark` | no value: put when a watch of the keys that begin with `WATCHED` must know that it has seen everything |
//!
//! - [`client`] finds an endpoint that answers. A read, and what may be done twice, goes to the next one if need be, all within [`ALL`].
//! - A change is a read, by which an endpoint is found that works, and a transaction that holds only if the key is as it was read. Revisions
//!   never come twice: so a change that nobody knows the fate of is tried again, and is made once; but not one that makes a new key, which
//!   another may have deleted meanwhile: see [`mod@write`].
//! - [`watch`] says what it must not say unless it is certain: that nothing has changed.

mod client;
mod lines;
mod read;
#[cfg(test)]
mod tests;
mod watch;
mod wire;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;

use self::client::{Ask, Client, Failure};
use self::watch::Watching;
use self::wire::{Lease, Message, decoded};
use crate::{
    Durable, Entry, LeaseId, Listing, OnlyIf, Outcome, Revision, Trouble, Watch, Written, whole, within_bounds,
};

/// What all keys begin with, if nothing else is said.
pub const PREFIX: &str = "/tollgate/";
/// How long one endpoint may take to answer.
const TRY: Duration = Duration::from_secs(1);
/// How long a question may take in all, whoever is asked. An operation is one or two, a listing one for some hundred keys.
const ALL: Duration = Duration::from_secs(4);
/// Most bytes of an answer that holds a few keys, or none.
const SMALL: usize = 2 * 1024 * 1024;
/// What the keys end with that are no user's.
const MARK: &str = "~mark";

/// How etcd is reached.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// Its members: `http://HOST:PORT` or `https://HOST:PORT`, without a path.
    pub endpoints: Vec<String>,
    /// As whom we come; without it, without a name.
    pub credentials: Option<EtcdCredentials>,
    /// What all our keys begin with; a slash is added where there is none at its end.
    pub prefix: String,
}

/// A user of etcd, and the password.
#[derive(Clone)]
pub struct EtcdCredentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for EtcdCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.user)
    }
}

/// Keys in etcd. Cheap to copy.
#[derive(Clone, Debug)]
pub struct Etcd(Arc<Client>);

impl Etcd {
    /// Nothing is asked yet. `caller` speaks TLS to the endpoints that want it; watches need its [`Caller::open`], and are asked on a runtime
    /// of tokio with its timers.
    ///
    /// # Errors
    /// When there is no endpoint, or one is none; in words.
    pub fn new(settings: EtcdSettings, caller: Arc<dyn Caller>, clock: Clock) -> Result<Self, String> {
        Ok(Self(Arc::new(Client::new(settings, caller, clock)?)))
    }

    /// Asks each of the endpoints how it is: one after the other, at most a second each.
    pub async fn members(&self) -> Vec<EtcdMember> {
        let mut members = Vec::new();
        for endpoint in 0..self.0.endpoints() {
            let asked = self.0.at(endpoint, &Ask::read("/v3/maintenance/status", &json!({}))).await;
            let status = asked.and_then(|body| decoded::<wire::Status>(&body));
            members.push(EtcdMember {
                endpoint: self.0.endpoint(endpoint).to_owned(),
                status: status.map_err(Trouble::from).map(|status| EtcdStatus {
                    is_leader: status.leader != 0 && status.leader == status.header.member_id,
                    version: status.version,
                    bytes: status.db_size,
                }),
            });
        }
        members
    }
}

impl Durable for Etcd {
    fn get<'a>(&'a self, key: &'a str) -> Outcome<'a, Option<Entry>> {
        Box::pin(async move { Ok(self.0.read(key).await?.entry) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Outcome<'a, Listing> {
        Box::pin(async move { Ok(self.0.list(prefix).await?) })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
        only_if: OnlyIf,
    ) -> Outcome<'a, Written> {
        Box::pin(async move {
            fits(key, &value)?;
            Ok(self.0.put(key, &value, lease, only_if).await?)
        })
    }

    fn delete<'a>(&'a self, key: &'a str, only_if: OnlyIf) -> Outcome<'a, Written> {
        Box::pin(async move {
            fits(key, &[])?;
            Ok(self.0.delete(key, only_if).await?)
        })
    }

    fn grant(&self, ttl: Duration) -> Outcome<'_, LeaseId> {
        let request = json!({ "TTL": whole(ttl).as_secs().to_string() });
        Box::pin(async move {
            // If one is granted that nobody hears of, it ends by itself.
            let granted: Lease = decoded(&self.0.ask(&Ask::read("/v3/lease/grant", &request)).await?.body)?;
            Ok(LeaseId(granted.id))
        })
    }

    fn renew(&self, lease: LeaseId) -> Outcome<'_, Option<Duration>> {
        let request = json!({ "ID": lease.0.to_string() });
        Box::pin(async move {
            let answer = self.0.ask(&Ask::read("/v3/lease/keepalive", &request)).await?;
            let line = answer.body.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let renewed = decoded::<Message<Lease>>(line)?.result()?;
            Ok((renewed.ttl > 0).then(|| Duration::from_secs(renewed.ttl)))
        })
    }

    fn revoke(&self, lease: LeaseId) -> Outcome<'_, bool> {
        let request = json!({ "ID": lease.0.to_string() });
        Box::pin(async move {
            let mut was_unsure = false;
            match self.0.ask_noting(&Ask::read("/v3/lease/revoke", &request), &mut was_unsure).await {
                Ok(_) => Ok(true),
                // One of the endpoints that did not answer in time may have revoked it.
                Err(Failure::NoLease) => Ok(was_unsure),
                Err(failure) => Err(failure.into()),
            }
        })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Box<dyn Watch> {
        Box::new(Watching::new(Arc::clone(&self.0), prefix, after))
    }
}

/// A member of etcd, as it says of itself.
#[derive(Clone, Debug)]
pub struct EtcdMember {
    /// Where it was asked.
    pub endpoint: String,
    /// What it says.
    pub status: Result<EtcdStatus, Trouble>,
}

/// What a member says of itself.
#[derive(Clone, Debug)]
pub struct EtcdStatus {
    /// It leads.
    pub is_leader: bool,
    /// Its version.
    pub version: String,
    /// How large its database is.
    pub bytes: u64,
}

/// Whether etcd takes this from a user.
fn fits(key: &str, value: &[u8]) -> Result<(), Trouble> {
    if key.ends_with(MARK) {
        return Err(Trouble::Refused(format!("a key that ends with `{MARK}` is nobody's")));
    }
    within_bounds(key, value)
}
