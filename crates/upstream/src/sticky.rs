//! Clients that stay with an instance: a cookie names it. What it says is a MAC (HMAC-SHA-256) of the service's name and the instance's
//! address: nobody without the key can make one, and nobody can tell from it where the instance is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use tollgate_core::facts::Address;
use tollgate_registry::Endpoint;

use crate::instance::Instance;
use crate::service::{Ask, Instances, Service};

/// Bytes of the MAC: half of it is more than anybody guesses.
const MAC: usize = 16;
/// Fewest bytes of a secret.
const SHORTEST_SECRET: usize = 32;

/// Names instances for cookies.
#[derive(Clone)]
pub struct Sticky {
    /// The first one signs, all are believed.
    keys: Arc<[hmac::Key]>,
}

/// Which instance a cookie means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home {
    at: u32,
    /// Signed with the first key.
    is_newest: bool,
}

/// What cookies say, and whom they mean.
pub(crate) type Homes = HashMap<String, Home>;

impl Sticky {
    /// Of these secrets the first one signs, all are believed. `None`: there is none, or one is shorter than 32 bytes.
    #[must_use]
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Option<Self> {
        let key = |secret: &[u8]| (secret.len() >= SHORTEST_SECRET).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret));
        let keys = secrets.into_iter().map(key).collect::<Option<Arc<[_]>>>()?;
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// What cookies say of an instance, newest key first.
    fn names(&self, service: &str, address: &Address) -> impl Iterator<Item = String> {
        let told = format!("tollgate sticky\0{service}\0{address}");
        self.keys.iter().map(move |key| BASE64URL_NOPAD.encode(&hmac::sign(key, told.as_bytes()).as_ref()[..MAC]))
    }

    /// The names of all instances with a weight.
    pub(crate) fn homes(&self, service: &str, endpoints: &[Endpoint]) -> Homes {
        let weighty = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.weight > 0);
        let homes = weighty.flat_map(|(at, endpoint)| {
            let names = self.names(service, &endpoint.address).enumerate();
            names.map(move |(nth, name)| (name, Home { at: at as u32, is_newest: nth == 0 }))
        });
        homes.collect()
    }
}

impl Instances {
    /// The instance that this cookie means.
    pub(crate) fn home(&self, ask: &Ask<'_>) -> Option<&Arc<Instance>> {
        self.list.get(self.named(ask.key?)?.at as usize)
    }

    fn named(&self, cookie: &[u8]) -> Option<Home> {
        self.homes.as_ref()?.get(str::from_utf8(cookie).ok()?).copied()
    }
}

impl Service {
    /// What a client that came with this cookie and was served by this instance is to keep from now on; `None`: what it has, or nothing.
    #[must_use]
    pub fn stays(&self, cookie: Option<&[u8]>, served_by: &Address, tried: &[Address], now: Instant) -> Option<String> {
        let sticky = self.balancing.sticky.as_ref()?;
        let instances = self.instances.load();
        if let Some(home) = cookie.and_then(|cookie| instances.named(cookie)).filter(|home| home.is_newest)
            && let Some(instance) = instances.list.get(home.at as usize)
        {
            // One that only had no room will have it again.
            let is_there = !instance.stands.is_out(now) && !tried.contains(&instance.address);
            if is_there || instance.address == *served_by {
                return None;
            }
        }
        sticky.names(self.name(), served_by).next()
    }
}

impl std::fmt::Debug for Sticky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sticky").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    const OLD: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NEW: &[u8] = b"fedcba9876543210fedcba9876543210";

    fn endpoints() -> Vec<Endpoint> {
        (1..=3).map(|n| Endpoint::new(SocketAddr::from(([10, 0, 0, n], 80)), u32::from(n != 3))).collect()
    }

    fn name(secrets: &[&[u8]], service: &str, at: usize) -> String {
        let sticky = Sticky::new(secrets.iter().copied()).unwrap();
        sticky.names(service, &endpoints()[at].address).next().unwrap()
    }

    #[test]
    fn a_name_says_nothing_of_the_address_and_is_good_for_its_service_only() {
        let homes = Sticky::new([OLD]).unwrap().homes("s", &endpoints());
        assert_eq!(homes.len(), 2, "one without a weight is nobody's home");
        let own = name(&[OLD], "s", 1);
        assert_eq!(homes[&own].at, 1);
        assert_eq!(own.len(), 22);
        assert!(!homes.contains_key(&name(&[OLD], "t", 1)));
        assert!(!homes.contains_key(&name(&[NEW], "s", 1)), "another key");
    }

    #[test]
    fn a_key_is_replaced_without_anybody_moving() {
        let homes = Sticky::new([NEW, OLD]).unwrap().homes("s", &endpoints());
        assert!(!homes[&name(&[OLD], "s", 1)].is_newest, "it is believed, and renewed");
        assert!(homes[&name(&[NEW, OLD], "s", 1)].is_newest);
    }

    #[test]
    fn short_secrets_are_none() {
        assert!(Sticky::new([]).is_none() && Sticky::new([OLD, b"short"]).is_none());
    }

    proptest! {
        #[test]
        fn what_nobody_signed_means_nobody(cookie in "[A-Za-z0-9_-]{0,30}", at in 0_usize..22, with in "[A-Za-z0-9_-]") {
            let homes = Sticky::new([OLD]).unwrap().homes("s", &endpoints());
            prop_assert!(!homes.contains_key(&cookie));
            let mut forged = name(&[OLD], "s", 0);
            let before = forged.clone();
            forged.replace_range(at..=at, &with);
            prop_assert_eq!(homes.contains_key(&forged), forged == before);
        }
    }
}
