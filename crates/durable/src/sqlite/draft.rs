//! What a transaction is to change, before it is on the disk. However much ends at a time: each change costs what it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::memory::State;
use super::writer::Change;
use crate::{Entry, LeaseId, OnlyIf, Revision, Trouble, Written};

/// A transaction that is being put together.
pub(super) struct Draft<'s> {
    state: &'s State,
    pub(super) revision: Revision,
    /// What the keys that it touches will be.
    entries: BTreeMap<String, Option<Entry>>,
    /// The keys that it puts under leases.
    put: BTreeMap<LeaseId, BTreeSet<String>>,
    /// How many keys there will be.
    len: usize,
    pub(super) changes: Vec<crate::Change>,
    pub(super) leases: Vec<(LeaseId, Duration)>,
    pub(super) ended: BTreeSet<LeaseId>,
}

impl<'s> Draft<'s> {
    pub(super) fn new(state: &'s State) -> Self {
        Self {
            state,
            revision: state.revision,
            entries: BTreeMap::new(),
            put: BTreeMap::new(),
            len: state.entries.len(),
            changes: Vec::new(),
            leases: Vec::new(),
            ended: BTreeSet::new(),
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match self.entries.get(key) {
            Some(drafted) => drafted.as_ref(),
            None => self.state.entries.get(key),
        }
    }

    fn next(&mut self) -> Revision {
        self.revision = Revision(self.revision.0 + 1);
        self.revision
    }

    pub(super) fn take(&mut self, change: Change, now: Instant, most: usize) -> Result<Written, Trouble> {
        match change {
            Change::Put { key, value, lease, only_if } => self.put(key, value, lease, only_if, now, most),
            Change::Delete { key, only_if } => Ok(self.delete(key, only_if)),
            Change::Revoke(lease) => Ok(match self.is_live(lease, now) {
                true => {
                    self.end(lease);
                    Written::Done(self.revision)
                }
                false => Written::NoLease,
            }),
        }
    }

    fn is_live(&self, lease: LeaseId, now: Instant) -> bool {
        self.state.leases.get(&lease).is_some_and(|lease| lease.is_live(now)) && !self.ended.contains(&lease)
    }

    fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        lease: Option<LeaseId>,
        only_if: OnlyIf,
        now: Instant,
        most: usize,
    ) -> Result<Written, Trouble> {
        let there = self.entry(&key);
        if !only_if.holds(there) {
            return Ok(Written::Conflict(there.cloned()));
        }
        if lease.is_some_and(|lease| !self.is_live(lease, now)) {
            return Ok(Written::NoLease);
        }
        let (created, before) = (there.map(|entry| entry.created), there.and_then(|entry| entry.lease));
        if created.is_none() && self.len >= most {
            return Err(Trouble::Refused(format!("there are {most} keys already")));
        }
        let modified = self.next();
        if let Some(id) = lease
            && let Some(lease) = self.state.leases.get(&id).filter(|lease| !lease.is_kept)
        {
            self.leases.push((id, lease.ttl));
        }
        self.len += usize::from(created.is_none());
        if let Some(lease) = lease {
            self.put.entry(lease).or_default().insert(key.clone());
        }
        let entry = Entry { key: key.clone(), value, created: created.unwrap_or(modified), modified, lease };
        self.entries.insert(key, Some(entry.clone()));
        self.changes.push(crate::Change::Put(entry));
        before.into_iter().filter(|before| Some(*before) != lease).for_each(|before| self.let_go(before));
        Ok(Written::Done(modified))
    }

    fn delete(&mut self, key: String, only_if: OnlyIf) -> Written {
        let there = self.entry(&key);
        if !only_if.holds(there) {
            return Written::Conflict(there.cloned());
        }
        if let Some(lease) = there.map(|entry| entry.lease) {
            self.gone(key);
            lease.into_iter().for_each(|lease| self.let_go(lease));
        }
        Written::Done(self.revision)
    }

    /// A key is not this lease's any more: with its last one it ends, or leases without keys would pile up.
    fn let_go(&mut self, lease: LeaseId) {
        if self.keys(lease).next().is_none() {
            self.ended.insert(lease);
        }
    }

    /// The keys that are a lease's own: those that were so before, and those of this draft.
    fn keys(&self, lease: LeaseId) -> impl Iterator<Item = &String> {
        let before = self.state.leases.get(&lease).map(|lease| &lease.keys);
        let all = before.into_iter().chain(self.put.get(&lease)).flatten();
        all.filter(move |key| self.entry(key).is_some_and(|entry| entry.lease == Some(lease)))
    }

    fn gone(&mut self, key: String) {
        let revision = self.next();
        self.len -= 1;
        self.entries.insert(key.clone(), None);
        self.changes.push(crate::Change::Gone { key, revision });
    }

    /// A lease ends, and with it its keys.
    pub(super) fn end(&mut self, lease: LeaseId) {
        let keys: BTreeSet<String> = self.keys(lease).cloned().collect();
        keys.into_iter().for_each(|key| self.gone(key));
        self.ended.insert(lease);
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::clock::Clock;

    use super::super::Bounds;
    use super::super::memory::Memory;
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn memory() -> Memory {
        Memory::new(Clock::fake(std::time::UNIX_EPOCH), 1, Bounds { grace: TTL, most: 2 })
    }

    fn put(key: &str, lease: Option<LeaseId>) -> Change {
        Change::Put { key: key.to_owned(), value: Vec::new(), lease, only_if: OnlyIf::Always }
    }

    #[test]
    fn only_keys_that_are_there_take_room() {
        let memory = memory();
        let (lease, now) = (memory.grant(TTL, 1).unwrap(), memory.clock.now());
        let state = memory.state();
        let mut draft = Draft::new(&state);
        let full = Err(Trouble::Refused("there are 2 keys already".to_owned()));
        let mut takes = |change| draft.take(change, now, 2).map(drop);
        for _ in 0..3 {
            assert_eq!([takes(put("a", None)), takes(put("b", Some(lease)))], [Ok(()), Ok(())], "again is no more");
        }
        assert_eq!(takes(put("c", None)), full.clone());
        let delete = Change::Delete { key: "a".to_owned(), only_if: OnlyIf::Always };
        assert_eq!([takes(delete), takes(Change::Revoke(lease))], [Ok(()), Ok(())]);
        assert_eq!([takes(put("c", None)), takes(put("a", None)), takes(put("d", None))], [Ok(()), Ok(()), full]);
        assert_eq!(draft.changes.len(), 10);
    }

    #[test]
    fn a_lease_ends_with_its_last_key() {
        let memory = memory();
        let now = memory.clock.now();
        let (moved, left) = (memory.grant(TTL, 2).unwrap(), memory.grant(TTL, 2).unwrap());
        let state = memory.state();
        let mut draft = Draft::new(&state);
        let delete = |key: &str| Change::Delete { key: key.to_owned(), only_if: OnlyIf::Always };
        for change in [put("a", Some(moved)), put("b", Some(left)), put("a", Some(moved)), delete("b")] {
            draft.take(change, now, 2).unwrap();
        }
        assert_eq!(draft.ended, [left].into());
        assert_eq!(draft.take(put("b", Some(left)), now, 2), Ok(Written::NoLease), "whoever comes now needs another");
        draft.take(put("a", None), now, 2).unwrap();
        assert_eq!(draft.ended, [moved, left].into());
    }

    #[test]
    fn what_ends_together_costs_no_more_than_one_by_one() {
        const MANY: usize = 50_000;
        let memory = memory();
        let leases: Vec<LeaseId> = (0..MANY).filter_map(|_| memory.grant(TTL, MANY)).collect();
        let mut state = memory.state();
        for (n, lease) in leases.iter().enumerate() {
            let (created, modified, lease) = (Revision(1), Revision(1), Some(*lease));
            state.show(crate::Change::Put(Entry {
                key: format!("a/{n}"),
                value: Vec::new(),
                created,
                modified,
                lease,
            }));
        }
        let (clock, mut draft) = (Clock::real(), Draft::new(&state));
        let began = clock.now();
        leases.iter().for_each(|lease| draft.end(*lease));
        assert_eq!(draft.changes.len(), MANY);
        // It takes a tenth of a second; if each looked at what ended before it, minutes.
        assert!(clock.now().saturating_duration_since(began) < TTL);
    }
}
