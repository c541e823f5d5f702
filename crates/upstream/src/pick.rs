//! Which instance takes an attempt: the service's way of balancing, over those that take part and have room.

use std::sync::Arc;

use crate::balance::PickCx;
use crate::instance::Instance;
use crate::service::{Ask, Instances};

impl Instances {
    /// The first that can be had of these.
    pub(crate) fn pick(&self, ask: &Ask<'_>, wants: &[Wants]) -> Option<&Arc<Instance>> {
        let chosen =
            wants.iter().find_map(|wants| self.balance.pick(&Choice { list: &self.list, ask, wants: *wants }))?;
        self.list.get(chosen)
    }
}

/// Which instances will do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// One that takes part and did not fail this request before, with room.
    Fresh,
    /// One that takes part, with room.
    In,
    /// One that takes part, with room or without.
    InAtAll,
    /// Any that did not fail this request before, with room.
    FreshOfAll,
    /// Any with room.
    OfAll,
}

/// What a balancer sees of the instances.
struct Choice<'a> {
    list: &'a [Arc<Instance>],
    ask: &'a Ask<'a>,
    wants: Wants,
}

impl PickCx for Choice<'_> {
    fn available(&self, endpoint: usize) -> bool {
        let Some(instance) = self.list.get(endpoint) else { return false };
        let is_in = || !instance.stands.is_out(self.ask.now);
        let is_fresh = || !self.ask.tried.contains(&instance.address);
        let has_room = || instance.has_room(self.ask.worker);
        match self.wants {
            Wants::Fresh => is_in() && has_room() && is_fresh(),
            Wants::In => is_in() && has_room(),
            Wants::InAtAll => is_in(),
            Wants::FreshOfAll => has_room() && is_fresh(),
            Wants::OfAll => has_room(),
        }
    }

    fn in_flight(&self, endpoint: usize) -> u64 {
        self.list.get(endpoint).map_or(0, |instance| instance.in_flight().into())
    }

    fn is_retry(&self) -> bool {
        // Nor does merely looking take a turn.
        !self.ask.tried.is_empty() || self.wants == Wants::InAtAll
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn hash_key(&self) -> Option<&[u8]> {
        self.ask.key
    }
}
