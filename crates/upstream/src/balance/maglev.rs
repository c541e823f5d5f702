//! A table after Maglev (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 2016, §3.4): every endpoint
//! has an order of its own in which it would like the places of the table, all take turns, and each takes the first that is free.
//! A key belongs to whoever has its place. Shares are exact to a place, and one that comes or goes moves little more than its own
//! share. Gateways with the same endpoints agree without talking to each other.
//!
//! An endpoint that cannot be chosen keeps its places: its keys go elsewhere, each by a further hash of its own, so that they spread over
//! all others; and nobody else's key moves.
//!
//! With a bound, no endpoint gets more than so much of its fair share of what is in flight (Mirrokni et al., "Consistent Hashing with
//! Bounded Loads", 2016): keys beyond it go on as if it could not be chosen.

use twox_hash::XxHash3_64;

use super::{Balance, Candidate, PickCx};

/// Sizes of tables: primes, so that every step leads through all places (§3.4).
const SIZES: [usize; 3] = [65_537, 262_147, 1_000_003];
/// Places that an endpoint should have, of mean weight: enough for shares within a percent.
const PLACES: usize = 100;
/// How often a key is hashed anew before all are looked at.
const HASHES: u64 = 64;

/// Sends equal keys to the same endpoint.
#[derive(Debug)]
pub struct Maglev {
    /// Whose each place is.
    table: Box<[u32]>,
    weights: Box<[u64]>,
    total: u64,
    /// How much of its fair share an endpoint gets at most, in percent.
    bound: Option<u32>,
}

impl Maglev {
    /// Fills the table.
    pub(super) fn new(candidates: &[Candidate<'_>], bound: Option<u32>) -> Self {
        let weights: Box<[u64]> = candidates.iter().map(|candidate| candidate.weight.into()).collect();
        let total = weights.iter().sum();
        Self { table: filled(candidates, &weights, total), weights, total, bound }
    }

    /// Whether one more request keeps to the bound: at most `bound` × (all in flight, with this one) × its part of the weights,
    /// rounded up.
    fn is_below(&self, cx: &dyn PickCx, endpoint: usize) -> bool {
        let Some(bound) = self.bound else { return true };
        let own = u128::from(cx.in_flight(endpoint)) * 100 * u128::from(self.total);
        own < u128::from(bound) * u128::from(cx.total_in_flight() + 1) * u128::from(self.weights[endpoint])
    }
}

impl Balance for Maglev {
    fn pick(&self, cx: &dyn PickCx) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        let own;
        let key = match cx.hash_key() {
            Some(key) => key,
            None => {
                own = cx.random().to_le_bytes();
                &own[..]
            }
        };
        let mut crowded = None;
        for n in 0..HASHES {
            let place = XxHash3_64::oneshot_with_seed(n, key) % self.table.len() as u64;
            let owner = self.table[place as usize] as usize;
            if cx.available(owner) {
                if self.is_below(cx, owner) {
                    return Some(owner);
                }
                crowded = crowded.or(Some(owner));
            }
        }
        if crowded.is_some() || cx.is_choosy() {
            return crowded;
        }
        let (count, start) = (self.weights.len(), XxHash3_64::oneshot(key) as usize);
        let mut all = (0..count).map(|step| (start % count + step) % count);
        all.find(|endpoint| self.weights[*endpoint] > 0 && cx.available(*endpoint))
    }
}

/// A table in which each has as many places as its weight says.
fn filled(candidates: &[Candidate<'_>], weights: &[u64], total: u64) -> Box<[u32]> {
    if total == 0 {
        return Box::default();
    }
    let wanted = weights.iter().filter(|weight| **weight > 0).count() * PLACES;
    let size = SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(SIZES[SIZES.len() - 1]);
    let mut order: Vec<usize> = (0..candidates.len()).filter(|one| weights[*one] > 0).collect();
    // Whatever the order in which they were named.
    order.sort_unstable_by_key(|one| candidates[*one].address);
    let mut wishes: Vec<Wishes> = candidates.iter().map(|candidate| Wishes::new(candidate, size)).collect();
    let mut table = vec![u32::MAX; size].into_boxed_slice();
    for taker in turns(&order, weights, total, size) {
        let wishes = &mut wishes[taker as usize];
        // There are as many turns as places, and every endpoint's wishes lead through all of them.
        while table[wishes.place] != u32::MAX {
            wishes.next(size);
        }
        table[wishes.place] = taker;
    }
    table
}

/// The order in which an endpoint would like the places.
struct Wishes {
    place: usize,
    step: usize,
}

impl Wishes {
    fn new(candidate: &Candidate<'_>, size: usize) -> Self {
        let name = candidate.address.to_string();
        let hash = |seed| XxHash3_64::oneshot_with_seed(seed, name.as_bytes());
        Self { place: (hash(1) % size as u64) as usize, step: (hash(2) % (size as u64 - 1)) as usize + 1 }
    }

    fn next(&mut self, size: usize) {
        self.place = (self.place + self.step) % size;
    }
}

/// Who takes a place, one after the other, `size` of them: each as often as its weight says and at even distances.
fn turns(order: &[usize], weights: &[u64], total: u64, size: usize) -> Vec<u32> {
    let quotas = quotas(order, weights, total, size);
    let at = |quota: usize, turn: usize| (2 * turn + 1) * size / (2 * quota);
    // Sorted by counting: a comparison for each of a million would take its time.
    let mut begins = vec![0_u32; size + 1];
    for quota in &quotas {
        (0..*quota).for_each(|turn| begins[at(*quota, turn) + 1] += 1);
    }
    for point in 0..size {
        begins[point + 1] += begins[point];
    }
    let mut turns = vec![0; size];
    for (one, quota) in order.iter().zip(&quotas) {
        for turn in 0..*quota {
            let begin = &mut begins[at(*quota, turn)];
            turns[*begin as usize] = *one as u32;
            *begin += 1;
        }
    }
    turns
}

/// How many places each gets, `size` in all; at least one, as long as there are any.
fn quotas(order: &[usize], weights: &[u64], total: u64, size: usize) -> Vec<usize> {
    let (mut quotas, mut given, mut summed) = (Vec::with_capacity(order.len()), 0, 0);
    for (nth, one) in order.iter().enumerate() {
        summed += weights[*one];
        let end = (u128::from(summed) * size as u128 / u128::from(total)) as usize;
        // Those behind want one each, too.
        let most = size.saturating_sub(order.len() - nth - 1).max(given);
        let quota = end.saturating_sub(given).max(1).min(most - given);
        quotas.push(quota);
        given += quota;
    }
    // Only ones that were made up to one can push the last beyond its end, never short of it.
    if let Some(last) = quotas.last_mut() {
        *last += size - given;
    }
    quotas
}
