//! Entries that end by themselves and that all workers see: marks of what may be used once, sessions, answers. A port.
//!
//! Not for what is looked at with every request: each look may be a question to another machine.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::policy::BoxFuture;

/// Keeps entries for a while. What uses one puts a word of its own before its keys.
///
/// A store that others could look into or write to has to see to it that neither is of use to them: values are given as they are.
pub trait CacheStore: fmt::Debug + Send + Sync + 'static {
    /// What is kept under this key and has not ended.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn get(&self, key: &[u8]) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>>;

    /// Keeps it, in place of what was there.
    ///
    /// # Errors
    /// The store cannot be asked, or is full: no entry is forgotten before its time, since it may be a mark.
    fn put(&self, key: &[u8], value: Bytes, lasts: Duration) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Keeps it unless something is there already; whether it did. Of all who come at the same time, for one.
    ///
    /// # Errors
    /// The store cannot be asked, or is full.
    fn add(&self, key: &[u8], value: Bytes, lasts: Duration) -> BoxFuture<'static, Result<bool, StoreError>>;

    /// Keeps it, in place of what was there, as well as may be: it is the first to go where another entry needs its room, and nobody
    /// is told whether it was kept. For what can be found out again.
    fn keep(&self, key: &[u8], value: Bytes, lasts: Duration);

    /// Forgets it.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn remove(&self, key: &[u8]) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// Why a store is of no use now, in words for our log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}
