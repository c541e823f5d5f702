//! How many client connections there may be: of all clients together, of one listener, and from one address; and who is let in.
//!
//! Looked at when a connection begins and when it ends, never for a request.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tollgate_config::model::{Limits, Trust};
use tollgate_core::facts::ClientAddress;
use tollgate_lists::Access;
use tollgate_observe::metrics::{Closed, ListenerMetrics};

/// Parts of the table of addresses, each with a lock of its own.
const PARTS: usize = 64;

/// The connections of all workers together, and their limit.
#[derive(Debug)]
pub(crate) struct Crowd {
    open: AtomicUsize,
    most: AtomicUsize,
    left: Notify,
    addresses: Addresses,
}

/// A listener's part of the crowd.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) crowd: Arc<Crowd>,
    /// Counts those who are in, and those who are not let in.
    metrics: Arc<ListenerMetrics>,
    addresses: Addresses,
}

/// Whom a listener lets in, and how many.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Most connections of the listener; `None`: any number.
    pub connections: Option<u64>,
    /// Most connections of the listener from one address.
    pub connections_per_address: Option<u64>,
    /// From where it is connected to; `None`: from anywhere.
    pub access: Option<Arc<Access>>,
}

/// One of the crowd, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Member {
    entrance: Arc<Entrance>,
    /// It is in: the listener counts it.
    is_in: bool,
    /// The address that it is counted for, if it is: by all listeners together, and by its own.
    address: Option<IpAddr>,
    counted: Counted,
}

/// Who counts the connections of an address.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    by_all: bool,
    by_listener: bool,
}

impl Crowd {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let (open, most) = (AtomicUsize::new(0), AtomicUsize::new(most));
        Arc::new(Self { open, most, left: Notify::new(), addresses: Addresses::default() })
    }

    /// Admits so many from now on; who is in stays.
    pub(crate) fn admit(&self, most: usize) {
        self.most.store(most, Ordering::Release);
        self.left.notify_waiters();
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Acquire)
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) {
        while self.open.load(Ordering::Acquire) >= self.most() {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.open.load(Ordering::Acquire) >= self.most() {
                left.await;
            }
        }
    }
}

impl Entrance {
    pub(crate) fn new(crowd: &Arc<Crowd>, metrics: Arc<ListenerMetrics>) -> Arc<Self> {
        Arc::new(Self { crowd: Arc::clone(crowd), metrics, addresses: Addresses::default() })
    }

    /// Joins the crowd, whether there is room or not.
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        self.crowd.open.fetch_add(1, Ordering::AcqRel);
        self.member()
    }

    /// Joins the crowd once there is room.
    pub(crate) async fn join_in_turn(self: &Arc<Self>) -> Member {
        loop {
            let joined = |open| (open < self.crowd.most()).then_some(open + 1);
            if self.crowd.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, joined).is_ok() {
                return self.member();
            }
            self.crowd.room().await;
        }
    }

    fn member(self: &Arc<Self>) -> Member {
        Member { entrance: Arc::clone(self), is_in: false, address: None, counted: Counted::default() }
    }
}

impl Member {
    /// Comes in at its listener.
    ///
    /// # Errors
    /// The listener has as many connections as it may.
    pub(crate) fn enter(&mut self, admission: &Admission) -> Result<(), Closed> {
        self.is_in = self.entrance.metrics.enter(admission.connections.unwrap_or(u64::MAX));
        if self.is_in { Ok(()) } else { Err(self.refused(Closed::ListenerLimit)) }
    }

    /// It is this client: whether that is let in, and whether there is room for one more of its address. Proxies of `trust`, who speak
    /// for many, and Unix sockets are not counted. `limits`: those of all listeners together; `None`: it is of none that they hold for.
    ///
    /// # Errors
    /// It is not, or there is none.
    pub(crate) fn is_of(
        &mut self,
        client: ClientAddress,
        admission: &Admission,
        trust: &Trust,
        limits: Option<&Limits>,
    ) -> Result<(), Closed> {
        if admission.access.as_ref().is_some_and(|access| !access.lets_in(client)) {
            return Err(self.refused(Closed::Denied));
        }
        let all = limits.and_then(|limits| limits.connections_per_address.as_ref()).map(|most| most.get());
        let own = admission.connections_per_address;
        let Some(address) = client.ip().filter(|_| all.is_some() || own.is_some()) else { return Ok(()) };
        if trust.is_proxy(client) {
            return Ok(());
        }
        // What it was counted for before, if it was, nobody is there for any more.
        self.leave_address();
        self.address = Some(counted_as(address));
        let has_room = |addresses: &Addresses, most: Option<u64>| {
            most.map(|most| addresses.enter(counted_as(address), most)).unwrap_or_default()
        };
        self.counted.by_all = has_room(&self.entrance.crowd.addresses, all);
        self.counted.by_listener = has_room(&self.entrance.addresses, own);
        let is_full = (all.is_some() && !self.counted.by_all) || (own.is_some() && !self.counted.by_listener);
        if is_full { Err(self.refused(Closed::AddressLimit)) } else { Ok(()) }
    }

    fn refused(&self, why: Closed) -> Closed {
        self.entrance.metrics.refused(why);
        why
    }

    fn leave_address(&mut self) {
        let (Some(address), counted) = (self.address.take(), std::mem::take(&mut self.counted)) else { return };
        if counted.by_all {
            self.entrance.crowd.addresses.leave(address);
        }
        if counted.by_listener {
            self.entrance.addresses.leave(address);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave_address();
        if self.is_in {
            self.entrance.metrics.leave();
        }
        self.entrance.crowd.open.fetch_sub(1, Ordering::AcqRel);
        self.entrance.crowd.left.notify_waiters();
    }
}

/// Who has one address of IPv6 usually has all of its /64.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

/// How many connections each address has. Only those that have some are in it: it is never larger than the crowd.
#[derive(Debug)]
struct Addresses {
    /// Chosen anew by each process, so that nobody can choose addresses that meet in one part.
    hasher: RandomState,
    parts: [Mutex<HashMap<IpAddr, u64>>; PARTS],
}

impl Default for Addresses {
    fn default() -> Self {
        Self { hasher: RandomState::new(), parts: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Addresses {
    /// Counts one more, unless there are `most`.
    fn enter(&self, address: IpAddr, most: u64) -> bool {
        let mut part = self.part(address);
        let count = part.entry(address).or_default();
        let fits = *count < most;
        *count += u64::from(fits);
        fits
    }

    fn leave(&self, address: IpAddr) {
        let mut part = self.part(address);
        if let Some(count) = part.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                part.remove(&address);
            }
        }
    }

    fn part(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        let at = usize::try_from(self.hasher.hash_one(address) % PARTS as u64).unwrap_or(0);
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(addresses: &Addresses) -> usize {
        addresses.parts.iter().map(|part| part.lock().unwrap().len()).sum()
    }

    #[test]
    fn an_address_has_so_many_and_no_more() {
        let (addresses, ip) = (Addresses::default(), "192.0.2.1".parse().unwrap());
        assert!(addresses.enter(ip, 2) && addresses.enter(ip, 2));
        assert!(!addresses.enter(ip, 2));
        assert!(addresses.enter("192.0.2.2".parse().unwrap(), 2), "another one is not concerned");
        addresses.leave(ip);
        assert!(addresses.enter(ip, 2));
    }

    #[test]
    fn who_has_no_connection_takes_no_room() {
        let addresses = Addresses::default();
        let all = (0..1000_u32).map(|n| IpAddr::from(n.to_be_bytes()));
        all.clone().for_each(|ip| assert!(addresses.enter(ip, 1)));
        assert_eq!(held(&addresses), 1000);
        all.for_each(|ip| addresses.leave(ip));
        assert_eq!(held(&addresses), 0);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let counted = |text: &str| counted_as(text.parse().unwrap());
        assert_eq!(counted("2001:db8:0:1:a:b:c:d"), counted("2001:db8:0:1::7"));
        assert_ne!(counted("2001:db8:0:1::7"), counted("2001:db8:0:2::7"));
        assert_eq!(counted("::ffff:192.0.2.1"), counted("192.0.2.1"));
        assert_ne!(counted("192.0.2.1"), counted("192.0.2.2"));
    }
}
