//! What a source names: addresses, and hosts that are looked up in turn, with weights of any size.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;

use crate::dns::Dns;
use crate::merged::merge;
use crate::{Endpoint, MOST_WEIGHT, Source, State, View};

/// Most hosts of one service that are looked up.
const MOST_HOSTS: usize = 256;

/// Where an instance listens, as a source says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// An IP address, or a host.
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// Its share relative to others' of its group. With 0 it gets next to nothing, as RFC 2782 has it.
    pub(crate) weight: u32,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) group: u8,
}

/// An address, or what leads to some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// With a dot at its end it is whole: no search list is applied.
    Name(Arc<str>),
}

/// Places, and what is known of their hosts.
#[derive(Debug)]
pub(crate) struct Places {
    dns: Arc<Dns>,
    places: Vec<Place>,
    hosts: BTreeMap<Arc<str>, Found>,
}

/// A host that is looked up.
#[derive(Debug)]
struct Found {
    /// Held so that it goes on being looked up.
    _source: Arc<dyn Source>,
    view: watch::Receiver<Arc<View>>,
}

impl Places {
    pub(crate) fn new(dns: Arc<Dns>) -> Self {
        Self { dns, places: Vec::new(), hosts: BTreeMap::new() }
    }

    /// From now on it is these; whether they are others. Hosts that stay are not looked up anew.
    pub(crate) fn set(&mut self, places: Vec<Place>) -> bool {
        if places == self.places {
            return false;
        }
        let mut before = std::mem::take(&mut self.hosts);
        for place in &places {
            let Host::Name(name) = &place.host else { continue };
            if !self.hosts.contains_key(name) {
                if self.hosts.len() == MOST_HOSTS {
                    tracing::warn!(%name, most = MOST_HOSTS, "too many hosts: the others are not looked up");
                    break;
                }
                let found = before.remove(name).unwrap_or_else(|| self.look_up(name));
                self.hosts.insert(Arc::clone(name), found);
            }
        }
        self.places = places;
        true
    }

    /// Of a host, only the addresses count here: the port and the weight are the place's.
    fn look_up(&self, name: &str) -> Found {
        let is_whole = name.ends_with('.');
        let source = if is_whole { self.dns.whole(name, 0, 1) } else { self.dns.source(name, 0, 1) };
        let view = source.watch();
        Found { _source: source, view }
    }

    /// Waits until a host has other addresses. May be dropped before, and called again.
    pub(crate) async fn changed(&mut self) {
        let mut all: Vec<_> = self.hosts.values_mut().map(|found| Box::pin(found.view.changed())).collect();
        poll_fn(|cx| {
            let is_any = all.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
            if is_any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// All instances, when the source itself stands so.
    pub(crate) fn view(&mut self, state: State) -> View {
        let seen: BTreeMap<Arc<str>, Arc<View>> =
            self.hosts.iter_mut().map(|(name, found)| (name.clone(), found.view.borrow_and_update().clone())).collect();
        let own = View { state, ..View::fresh(endpoints(&self.places, &seen)) };
        // Of hosts, only how they stand is missing still.
        let standing = seen.values().map(|view| View { endpoints: Vec::new(), state: view.state.clone() });
        merge(&standing.chain([own]).map(Arc::new).collect::<Vec<_>>())
    }
}

/// The weight of a host is shared by its addresses, and weights are brought to whole numbers that an [`Endpoint`] may have.
fn endpoints(places: &[Place], seen: &BTreeMap<Arc<str>, Arc<View>>) -> Vec<Endpoint> {
    let (mut found, mut shares) = (Vec::new(), BTreeMap::<u8, Vec<f64>>::new());
    for place in places {
        let addresses: Vec<IpAddr> = match &place.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => {
                let endpoints = seen.get(name).map(|view| &view.endpoints[..]).unwrap_or_default();
                endpoints.iter().filter_map(|endpoint| endpoint.address.ip()).collect()
            }
        };
        let share = f64::from(place.weight) / addresses.len().max(1) as f64;
        for address in addresses {
            let host = match &place.host {
                Host::Ip(_) => None,
                // As certificates have it: without the final dot.
                Host::Name(name) => Some(Arc::from(name.trim_end_matches('.'))),
            };
            let endpoint = Endpoint::new(SocketAddr::new(address, place.port), 0);
            found.push(Endpoint { host, zone: place.zone.clone(), group: place.group, ..endpoint });
            shares.entry(place.group).or_default().push(share);
        }
    }
    let mut weights: BTreeMap<u8, _> =
        shares.into_iter().map(|(group, shares)| (group, whole(&shares).into_iter())).collect();
    for endpoint in &mut found {
        endpoint.weight = weights.get_mut(&endpoint.group).and_then(Iterator::next).unwrap_or(1);
    }
    found
}

/// Shares as weights from 1 to [`MOST_WEIGHT`]: as they are if they are such, else in proportion. RFC 2782 has a weight of 0
/// mean "a very small chance" beside others, and nothing where all are 0.
fn whole(shares: &[f64]) -> Vec<u32> {
    let most = shares.iter().copied().fold(0.0, f64::max);
    let limit = f64::from(MOST_WEIGHT);
    if most == 0.0 {
        return vec![1; shares.len()];
    }
    let fits = |share: &f64| share.fract() == 0.0 && (1.0..=limit).contains(share);
    let factor = if shares.iter().all(fits) { 1.0 } else { limit / most };
    shares.iter().map(|share| (share * factor).round().max(1.0) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_where_they_can_be() {
        assert_eq!(whole(&[1.0, 3.0, 1000.0]), [1, 3, 1000]);
        assert_eq!(whole(&[0.0, 0.0]), [1, 1]);
        assert_eq!(whole(&[]), [] as [u32; 0]);
    }

    #[test]
    fn other_weights_keep_their_proportion() {
        assert_eq!(whole(&[65535.0, 32767.5]), [1000, 500]);
        assert_eq!(whole(&[0.5, 1.0]), [500, 1000]);
        assert_eq!(whole(&[0.0, 5.0]), [1, 1000], "a very small chance");
        assert_eq!(whole(&[1.0, 65535.0]), [1, 1000], "nobody is left out");
    }

    #[test]
    fn a_host_with_several_addresses_gets_its_share_once() {
        let place = |host, port| Place { host, port, weight: 10, zone: Some("a".into()), group: 2 };
        let name: Arc<str> = "two.internal.".into();
        let found = ["10.0.0.1:0", "10.0.0.2:0"].map(|at| Endpoint::new(at.parse::<SocketAddr>().unwrap(), 1));
        let seen = BTreeMap::from([(name.clone(), Arc::new(View::fresh(found)))]);
        let ip = Host::Ip("10.0.0.9".parse().unwrap());
        let shown: Vec<_> = endpoints(&[place(Host::Name(name), 80), place(ip, 81)], &seen)
            .into_iter()
            .map(|e| (e.address.to_string(), e.weight, e.host.as_deref().map(str::to_owned), e.zone, e.group))
            .collect();
        let two = || Some("two.internal".to_owned());
        let zone = || Some(Arc::from("a"));
        assert_eq!(
            shown,
            [
                ("10.0.0.1:80".to_owned(), 5, two(), zone(), 2),
                ("10.0.0.2:80".to_owned(), 5, two(), zone(), 2),
                ("10.0.0.9:81".to_owned(), 10, None, zone(), 2),
            ]
        );
    }
}
