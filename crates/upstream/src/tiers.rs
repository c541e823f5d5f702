//! Whom the requests of a service go to first: its priority groups one after the other, and in each the gateway's own zone before the
//! others, as long as those asked first are well enough to take them all.
//!
//! A group takes as many of the requests as 1.4 × the part of its weight that is well, and the next group what it cannot take; when
//! all groups together are not well enough, they share in proportion. A zone takes as many of its group's as 1.4 × its part of
//! the group's weight that is well × the number of zones: what it could carry if every zone had an equal part of the requests.
//!
//! Worked out when instances come, go, or are left out or used again; a pick only draws a tier, where there are several.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_registry::Endpoint;

use crate::arranging::Balancing;
use crate::balance::{Balance, Candidate};

/// How much more than its fair share whoever is well can take.
const OVERPROVISIONED: f64 = 1.4;
/// All requests.
const ALL: u32 = 1 << 16;
/// Where fewer than one in so many of a tier take part, the balancer chooses among those alone: it would look for them for long.
const FEW: usize = 8;

/// The tiers of a service, in the order in which they are asked.
#[derive(Clone, Debug)]
pub(crate) struct Tiers {
    list: Box<[Tier]>,
    endpoints: Arc<[Endpoint]>,
    weights: Arc<[u32]>,
}

/// Instances that are asked alike.
#[derive(Clone, Debug)]
pub(crate) struct Tier {
    /// Chooses among the members.
    pub(crate) balance: Arc<dyn Balance>,
    /// Their positions in the list of the service.
    pub(crate) members: Arc<[u32]>,
    /// Whom it chooses from.
    pub(crate) takes: Takes,
    /// What it means that it was chosen.
    pub(crate) place: Place,
    /// Requests, of [`ALL`], that begin with this tier or one before it.
    until: u32,
}

/// Whom a tier chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Those that take part.
    Well,
    /// All, as if nothing were known of them: too few are well.
    All,
}

/// Where a tier stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is asked first.
    First,
    /// In the group that is asked first, but not in the gateway's zone.
    OtherZone,
    /// In a group that is asked for what those before it cannot take.
    LaterGroup,
}

/// What is known when tiers are worked out.
pub(crate) struct Scene<'s> {
    pub(crate) endpoints: &'s Arc<[Endpoint]>,
    /// What each counts now, by position.
    pub(crate) weights: &'s Arc<[u32]>,
    /// Whether it takes part.
    pub(crate) is_in: &'s dyn Fn(usize) -> bool,
    pub(crate) balancing: &'s Balancing,
}

/// A tier that is being made.
struct Draft {
    members: Vec<u32>,
    takes: Takes,
    place: Place,
    share: f64,
}

impl Tiers {
    /// Works them out; what chooses as it did `before` is the same, and goes on where it was.
    pub(crate) fn new(scene: &Scene<'_>, before: Option<&Self>) -> Self {
        let (mut list, mut sum) = (Vec::new(), 0.0);
        for (nth, draft) in drafts(scene).into_iter().enumerate() {
            sum += draft.share;
            let until = (sum * f64::from(ALL)).round() as u32;
            let (members, balance) = scene.balance(&draft, before, nth);
            list.push(Tier { balance, members, takes: draft.takes, place: draft.place, until });
        }
        Self { list: list.into(), endpoints: Arc::clone(scene.endpoints), weights: Arc::clone(scene.weights) }
    }

    /// The same for these endpoints, which differ in nothing that tiers go by.
    pub(crate) fn of(&self, endpoints: &Arc<[Endpoint]>) -> Self {
        Self { endpoints: Arc::clone(endpoints), ..self.clone() }
    }

    /// The tiers, beginning with the one that is drawn.
    pub(crate) fn drawn(&self, random: impl FnOnce() -> u64) -> impl Iterator<Item = &Tier> {
        let first = if self.list.len() < 2 { 0 } else { self.at((random() >> 48) as u32) };
        let others = self.list.iter().enumerate().filter(move |(nth, _)| *nth != first).map(|(_, tier)| tier);
        self.list.get(first).into_iter().chain(others)
    }

    /// Whether both lead to the same instances, as often.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Tier, &Tier)| {
            Arc::ptr_eq(&one.balance, &other.balance)
                && (one.takes, one.place, one.until) == (other.takes, other.place, other.until)
        };
        self.list.len() == other.list.len() && self.list.iter().zip(&other.list).all(is_same)
    }

    fn at(&self, point: u32) -> usize {
        // Rounding may leave a little at the end.
        self.list.iter().position(|tier| point < tier.until).unwrap_or(0)
    }
}

impl Scene<'_> {
    fn weight(&self, members: &[u32]) -> u64 {
        members.iter().map(|member| u64::from(self.weights[*member as usize])).sum()
    }

    fn weight_in(&self, members: &[u32]) -> u64 {
        let well = members.iter().filter(|member| (self.is_in)(**member as usize));
        well.map(|member| u64::from(self.weights[*member as usize])).sum()
    }

    /// Who chooses among the members of a tier, and who they are.
    fn balance(&self, draft: &Draft, before: Option<&Tiers>, nth: usize) -> (Arc<[u32]>, Arc<dyn Balance>) {
        let well: Vec<u32> = draft.members.iter().copied().filter(|member| (self.is_in)(*member as usize)).collect();
        let is_few = draft.takes == Takes::Well && !well.is_empty() && well.len() * FEW < draft.members.len();
        let members = if is_few { &well } else { &draft.members };
        let old = before.and_then(|before| before.list.get(nth));
        let is_same = |before: &&Tiers| {
            Arc::ptr_eq(&before.endpoints, self.endpoints) && Arc::ptr_eq(&before.weights, self.weights)
        };
        let known =
            before.filter(is_same).and_then(|before| before.list.iter().find(|tier| *tier.members == **members));
        if let Some(known) = known {
            return (Arc::clone(&known.members), Arc::clone(&known.balance));
        }
        let candidate = |member: &u32| {
            let at = *member as usize;
            Candidate { address: &self.endpoints[at].address, weight: self.weights[at] }
        };
        let candidates: Vec<Candidate<'_>> = members.iter().map(candidate).collect();
        let turn = old.map_or(0, |old| old.balance.turn());
        (members.as_slice().into(), self.balancing.algorithm.build(&candidates, turn))
    }
}

/// All tiers, without who chooses.
fn drafts(scene: &Scene<'_>) -> Vec<Draft> {
    let mut groups: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    for (at, endpoint) in scene.endpoints.iter().enumerate().filter(|(at, _)| scene.weights[*at] > 0) {
        groups.entry(endpoint.group).or_default().push(at as u32);
    }
    let groups: Vec<Vec<u32>> = groups.into_values().collect();
    let well: Vec<f64> =
        groups.iter().map(|members| scene.weight_in(members) as f64 / scene.weight(members) as f64).collect();
    let shares = shares(&well);
    let can_take_all = well.iter().map(|well| (well * OVERPROVISIONED).min(1.0)).sum::<f64>() >= 1.0;
    let panic = f64::from(scene.balancing.panic) / 10_000.0;
    let mut drafts = Vec::new();
    for (nth, members) in groups.into_iter().enumerate() {
        let takes = if !can_take_all && well[nth] < panic { Takes::All } else { Takes::Well };
        let (own, others, stays) = zones(scene, members, takes);
        let has_own = !own.is_empty();
        for (members, part, is_own) in [(own, stays, true), (others, 1.0 - stays, !has_own)] {
            let place = match (nth, is_own) {
                (0, true) => Place::First,
                (0, false) => Place::OtherZone,
                _ => Place::LaterGroup,
            };
            if !members.is_empty() {
                drafts.push(Draft { members, takes, place, share: shares[nth] * part });
            }
        }
    }
    drafts
}

/// The part of the requests that each group takes; `well` is the part of each one's weight that is well.
fn shares(well: &[f64]) -> Vec<f64> {
    let can: Vec<f64> = well.iter().map(|well| (well * OVERPROVISIONED).min(1.0)).collect();
    let sum: f64 = can.iter().sum();
    if sum <= 0.0 {
        // Nobody is well: where there is a choice, it is the first group's.
        return (0..well.len()).map(|nth| if nth == 0 { 1.0 } else { 0.0 }).collect();
    }
    let mut left = 1.0;
    let part = |can: &f64| {
        let part = if sum < 1.0 { can / sum } else { can.min(left) };
        left = (left - part).max(0.0);
        part
    };
    can.iter().map(part).collect()
}

/// Members of a group in the gateway's zone, those that are not, and the part of its requests that stays in the zone.
fn zones(scene: &Scene<'_>, members: Vec<u32>, takes: Takes) -> (Vec<u32>, Vec<u32>, f64) {
    let Some(own) = &scene.balancing.zone else { return (Vec::new(), members, 0.0) };
    let zone = |member: &u32| scene.endpoints[*member as usize].zone.as_ref();
    let count = members.iter().map(zone).collect::<BTreeSet<_>>().len();
    let (here, elsewhere): (Vec<u32>, Vec<u32>) = members.iter().partition(|member| zone(member) == Some(own));
    if here.is_empty() || elsewhere.is_empty() {
        return (Vec::new(), members, 0.0);
    }
    let counted = |members: &[u32]| match takes {
        Takes::All => scene.weight(members),
        Takes::Well => scene.weight_in(members),
    };
    let (of_here, of_all) = (counted(&here) as f64, counted(&members) as f64);
    let stays = if of_all > 0.0 { (OVERPROVISIONED * count as f64 * of_here / of_all).min(1.0) } else { 1.0 };
    (here, elsewhere, stays)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    /// Instances as `(group, zone, weight, is in)`.
    type Written = (u8, &'static str, u32, bool);

    fn tiers(written: &[Written], zone: Option<&str>, panic: u32) -> Tiers {
        let endpoint = |(n, (group, zone, weight, _)): (usize, &Written)| {
            let zone = (!zone.is_empty()).then(|| Arc::from(*zone));
            Endpoint { group: *group, zone, ..Endpoint::new(SocketAddr::from(([10, 0, 0, n as u8], 80)), *weight) }
        };
        let endpoints: Arc<[Endpoint]> = written.iter().enumerate().map(endpoint).collect();
        let weights: Arc<[u32]> = written.iter().map(|(_, _, weight, _)| *weight).collect();
        let balancing = Balancing { zone: zone.map(Arc::from), panic, ..Balancing::default() };
        let is_in = |at: usize| written[at].3;
        Tiers::new(&Scene { endpoints: &endpoints, weights: &weights, is_in: &is_in, balancing: &balancing }, None)
    }

    /// Each tier's members and its part of the requests, in percent.
    fn shown(tiers: &Tiers) -> Vec<(Vec<u32>, u32)> {
        let mut before = 0;
        let part = |tier: &Tier| {
            let part = tier.until - before;
            before = tier.until;
            (tier.members.to_vec(), (f64::from(part) * 100.0 / f64::from(ALL)).round() as u32)
        };
        tiers.list.iter().map(part).collect()
    }

    #[test]
    fn a_later_group_gets_what_the_first_cannot_take() {
        let written = |well: usize| -> Vec<Written> {
            (0..10).map(|n| (0, "", 1, n < well)).chain([(1, "", 1, true), (1, "", 1, true)]).collect()
        };
        let share = |well| shown(&tiers(&written(well), None, 0)).iter().map(|(_, share)| *share).collect::<Vec<_>>();
        assert_eq!(share(10), [100, 0]);
        assert_eq!(share(8), [100, 0], "1.4 × 80 % is enough");
        assert_eq!(share(5), [70, 30]);
        assert_eq!(share(0), [0, 100]);
    }

    #[test]
    fn groups_that_are_not_well_enough_together_share_in_proportion() {
        let written = [(0, "", 1, true), (0, "", 3, false), (1, "", 1, true), (1, "", 9, false)];
        assert_eq!(shown(&tiers(&written, None, 0)), [(vec![0, 1], 71), (vec![2, 3], 29)]);
        let nobody = [(0, "", 1, false), (1, "", 1, false)];
        assert_eq!(shown(&tiers(&nobody, None, 0)), [(vec![0], 100), (vec![1], 0)]);
    }

    #[test]
    fn the_own_zone_comes_first_while_it_can_take_its_part() {
        let zones = |a: usize, b: usize| -> Vec<Written> {
            (0..4).map(|n| (0, "a", 1, n < a)).chain((0..4).map(|n| (0, "b", 1, n < b))).collect()
        };
        let stays = |written: &[Written]| shown(&tiers(written, Some("a"), 0))[0].1;
        assert_eq!(stays(&zones(4, 4)), 100);
        assert_eq!(stays(&zones(3, 4)), 100);
        assert_eq!(stays(&zones(1, 4)), 56, "1.4 × 2 × 1/5");
        assert_eq!(stays(&zones(0, 4)), 0);
        assert_eq!(stays(&zones(2, 2)), 100, "the other zone is no better");
        let small = [(0, "a", 1, true), (0, "b", 1, true), (0, "b", 8, true)];
        assert_eq!(stays(&small), 28, "one zone of two, with a tenth of the weight");
        assert_eq!(shown(&tiers(&zones(4, 4), Some("c"), 0)).len(), 1, "a zone without instances");
        assert_eq!(shown(&tiers(&zones(4, 4), None, 0)).len(), 1, "no zone");
    }

    #[test]
    fn in_panic_all_are_used_and_only_then() {
        let written = |well: usize| -> Vec<Written> { (0..10).map(|n| (0, "", 1, n < well)).collect() };
        let takes = |well, panic| tiers(&written(well), None, panic).list[0].takes;
        assert_eq!((takes(5, 5000), takes(4, 5000), takes(0, 5000)), (Takes::Well, Takes::All, Takes::All));
        assert_eq!((takes(1, 0), takes(0, 0)), (Takes::Well, Takes::Well));
        let helped: Vec<Written> = written(4).into_iter().chain([(1, "", 1, true)]).collect();
        let tiers = tiers(&helped, None, 5000);
        assert_eq!(tiers.list[0].takes, Takes::Well, "the next group takes the rest");
    }

    #[test]
    fn where_few_are_left_they_are_not_searched_for() {
        let written: Vec<Written> = (0..20).map(|n| (0, "", 1, n == 7)).collect();
        assert_eq!(shown(&tiers(&written, None, 0)), [(vec![7], 100)]);
        let more: Vec<Written> = (0..20).map(|n| (0, "", 1, n < 7)).collect();
        assert_eq!(tiers(&more, None, 0).list[0].members.len(), 20);
    }

    #[test]
    fn what_chooses_goes_on_where_it_was() {
        let endpoints: Arc<[Endpoint]> =
            (0..3).map(|n| Endpoint::new(SocketAddr::from(([10, 0, 0, n], 80)), 1)).collect();
        let (weights, balancing): (Arc<[u32]>, _) = ([1, 1, 1].into(), Balancing::default());
        let scene = Scene { endpoints: &endpoints, weights: &weights, is_in: &|_| true, balancing: &balancing };
        let one = Tiers::new(&scene, None);
        let other = Tiers::new(&Scene { is_in: &|at| at > 0, ..scene }, Some(&one));
        assert!(Arc::ptr_eq(&one.list[0].balance, &other.list[0].balance));
        assert!(one.is_same(&other));
    }

    proptest! {
        #[test]
        fn all_requests_go_somewhere_and_nobody_is_in_two_tiers(
            written in prop::collection::vec(
                (0_u8..3, prop::sample::select(vec!["", "a", "b"]), 0_u32..4, any::<bool>()), 1..30),
            panic in 0_u32..=10_000,
        ) {
            let tiers = tiers(&written, Some("a"), panic);
            let members: Vec<u32> = tiers.list.iter().flat_map(|tier| tier.members.iter().copied()).collect();
            let unique: BTreeSet<u32> = members.iter().copied().collect();
            prop_assert_eq!(unique.len(), members.len());
            prop_assert!(members.iter().all(|member| written[*member as usize].2 > 0));
            if let Some(last) = tiers.list.last() {
                prop_assert!(last.until.abs_diff(ALL) <= 1, "{}", last.until);
            }
            // Whoever gets requests has somebody to serve them, unless nobody has.
            let somebody = written.iter().any(|(.., weight, is_in)| *weight > 0 && *is_in);
            let mut before = 0;
            for tier in &tiers.list {
                let well = tier.members.iter().any(|member| written[*member as usize].3);
                prop_assert!(tier.until == before || well || !somebody || tier.takes == Takes::All);
                before = tier.until;
            }
        }
    }
}
