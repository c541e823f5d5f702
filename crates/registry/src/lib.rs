//! Where instances come from: sources behind one trait. A service names a source, the source shows the instances it
//! has now and every later change; nobody who uses them needs to know where they come from.

#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tollgate_core::facts::Address;

mod backoff;
pub mod consul;
pub mod directory;
pub mod dns;
mod fixed;
mod kept;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod load;
mod merged;
mod placed;
mod places;
pub mod registered;
pub mod said;

pub use fixed::Fixed;
pub use load::Load;
pub use merged::Merged;
pub use placed::Placed;

/// The highest weight of an [`Endpoint`].
pub const MOST_WEIGHT: u32 = 1000;

/// Where one instance of a service listens, and how much of its traffic it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address to connect to.
    pub address: Address,
    /// Its share relative to the others', 0 to 1000. 0 takes no traffic, not even alone.
    pub weight: u32,
    /// The name by which it was found, if it was by one: its certificate should be for that.
    pub host: Option<Arc<str>>,
    /// The zone (rack, data centre, region) it runs in, if that is said.
    pub zone: Option<Arc<str>>,
    /// Its priority group: 0 is asked first, a higher one only for what those before it cannot take.
    pub group: u8,
    /// What it reports of its load, if it does so to its source.
    pub load: Option<Load>,
}

impl Endpoint {
    /// An address that nobody looked up.
    #[must_use]
    pub fn new(address: impl Into<Address>, weight: u32) -> Self {
        Self { address: address.into(), weight, host: None, zone: None, group: 0, load: None }
    }
}

/// What a source knows at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The instances, sorted by address, each address once.
    pub endpoints: Vec<Endpoint>,
    /// Whether that is what the source says now.
    pub state: State,
}

/// How far a [`View`] can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The source was not heard yet: there are no endpoints so far, or those that were known before it.
    Pending,
    /// As the source says.
    Fresh,
    /// The source does not answer, or says that there is nothing: the endpoints are the last ones it gave, and none
    /// if it never gave any.
    Stale {
        /// Since when it fails, without a success in between.
        since: SystemTime,
        /// What went wrong last, in words for a person.
        error: String,
    },
    /// The source has not answered for so long that what it said counts no more: it has no endpoints, and whoever used some
    /// must not go on.
    Lapsed {
        /// Since when it fails.
        since: SystemTime,
        /// What went wrong last, in words for a person.
        error: String,
    },
}

/// Who is told of changes.
pub type Follower = dyn Fn(&View) + Send + Sync;

/// A source of instances: fixed addresses, DNS and what else keeps a list of them.
pub trait Source: Debug + Send + Sync {
    /// Has the follower told what is known now and every later change, each before whoever made the change is answered: until it is
    /// dropped. To be called where the source's own tasks run. `false`: this source answers nobody, and tells nobody; see
    /// [`Self::watch`].
    fn tell(&self, _follower: &Arc<Follower>) -> bool {
        false
    }

    /// What the source knows, and a way to wait for changes. The first value is there at once, be it
    /// [`State::Pending`]. Once the source is dropped, a receiver shows the last view for ever.
    fn watch(&self) -> watch::Receiver<Arc<View>>;
}

impl View {
    /// A view as the source says, brought into order; of an address named twice the weights are added, in the group that is
    /// asked first.
    pub fn fresh(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let mut endpoints: Vec<_> = endpoints.into_iter().collect();
        endpoints.sort_by(|a, b| (&a.address, a.group, &a.host).cmp(&(&b.address, b.group, &b.host)));
        endpoints.dedup_by(|next, kept| {
            let same = next.address == kept.address;
            if same && next.group == kept.group {
                kept.weight = kept.weight.saturating_add(next.weight);
            }
            same
        });
        Self { endpoints, state: State::Fresh }
    }

    /// Before the source was heard.
    pub fn pending() -> Self {
        Self { endpoints: Vec::new(), state: State::Pending }
    }
}
