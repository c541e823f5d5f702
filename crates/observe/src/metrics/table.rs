//! Named things, found again by name, bounded in number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands in a label for all that found no place.
pub(crate) const OTHER: &str = "(other)";

/// Locks, whatever happened to the last holder: what these locks guard is never half written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded map whose entries survive reloads: same key, same entry. When it is full, entries that nobody holds
/// any more (routes of old plans) make room; if there are none, all further keys share one entry.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    most: usize,
    entries: Mutex<BTreeMap<K, Arc<T>>>,
    other: Arc<T>,
}

impl<K: Ord + Clone, T> Table<K, T> {
    pub(crate) fn new(most: usize, other: T) -> Self {
        Self { most, entries: Mutex::default(), other: Arc::new(other) }
    }

    pub(crate) fn get(&self, key: &K, make: impl FnOnce() -> T) -> Arc<T> {
        let mut entries = lock(&self.entries);
        if let Some(found) = entries.get(key) {
            return found.clone();
        }
        if entries.len() >= self.most {
            entries.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        if entries.len() >= self.most {
            return self.other.clone();
        }
        entries.entry(key.clone()).or_insert_with(|| Arc::new(make())).clone()
    }

    /// All entries in the order of their keys, the shared one last.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        lock(&self.entries).values().chain([&self.other]).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gives_the_same_entry() {
        let table = Table::new(2, 0);
        assert!(Arc::ptr_eq(&table.get(&"a", || 1), &table.get(&"a", || 2)));
    }

    #[test]
    fn a_full_table_drops_what_nobody_holds_and_then_shares() {
        let table = Table::new(2, 0);
        let held = table.get(&"a", || 1);
        drop(table.get(&"b", || 2));
        let third = table.get(&"c", || 3);
        assert_eq!((*third, *table.get(&"d", || 4)), (3, 0));
        assert_eq!(*table.get(&"a", || 9), *held);
    }
}
