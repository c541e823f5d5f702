//! How many client connections there may be: of all clients together, and from one address.
//!
//! Looked at when a connection begins and when it ends, never for a request.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tollgate_core::facts::ClientAddress;

use crate::deployment::Rules;

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

/// One of the crowd, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Member {
    crowd: Arc<Crowd>,
    /// The address that it is counted for, if it is.
    address: Option<IpAddr>,
}

/// There are as many connections from that address as there may be.
#[derive(Debug)]
pub(crate) struct TooMany;

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

    /// Joins, whether there is room or not.
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        self.open.fetch_add(1, Ordering::AcqRel);
        Member { crowd: Arc::clone(self), address: None }
    }

    /// Joins once there is room.
    pub(crate) async fn join_in_turn(self: &Arc<Self>) -> Member {
        loop {
            let joined = |open| (open < self.most()).then_some(open + 1);
            if self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, joined).is_ok() {
                return Member { crowd: Arc::clone(self), address: None };
            }
            self.room().await;
        }
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

impl Member {
    /// Counts it for the address of its client; proxies of `trust`, who speak for many, and Unix sockets are not counted.
    ///
    /// # Errors
    /// That address has as many connections as the limits allow.
    pub(crate) fn count_for(&mut self, client: ClientAddress, rules: &Rules) -> Result<(), TooMany> {
        let (Some(most), Some(address)) = (&rules.limits.connections_per_address, client.ip()) else { return Ok(()) };
        if rules.trust.is_proxy(client) {
            return Ok(());
        }
        let address = counted_as(address);
        if !self.crowd.addresses.enter(address, most.get()) {
            return Err(TooMany);
        }
        if let Some(before) = self.address.replace(address) {
            self.crowd.addresses.leave(before);
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.crowd.addresses.leave(address);
        }
        self.crowd.open.fetch_sub(1, Ordering::AcqRel);
        self.crowd.left.notify_waiters();
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
