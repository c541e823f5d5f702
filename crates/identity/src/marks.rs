//! For tests: a store of marks, as many as there is room for, and of answers. They do not end.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tollgate_core::cache::{CacheStore, StoreError};
use tollgate_core::policy::BoxFuture;

#[derive(Debug)]
pub(crate) struct Marks {
    room: usize,
    all: Mutex<HashSet<Vec<u8>>>,
    answers: Mutex<HashMap<Vec<u8>, Bytes>>,
}

impl Marks {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, all: Mutex::default(), answers: Mutex::default() }
    }
}

impl CacheStore for Marks {
    fn get(&self, key: &[u8]) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        let mark = self.all.lock().unwrap().contains(key).then(Bytes::new);
        Box::pin(ready(Ok(mark.or_else(|| self.answers.lock().unwrap().get(key).cloned()))))
    }

    fn put(&self, _: &[u8], _: Bytes, _: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        unreachable!("nothing is replaced")
    }

    fn add(&self, key: &[u8], _: Bytes, lasts: Duration) -> BoxFuture<'static, Result<bool, StoreError>> {
        let mut all = self.all.lock().unwrap();
        assert!(!lasts.is_zero() && lasts <= Duration::from_secs(120), "{lasts:?}");
        let added = match all.contains(key) {
            true => Ok(false),
            false if all.len() < self.room => Ok(all.insert(key.to_vec())),
            false => Err(StoreError("full".to_owned())),
        };
        Box::pin(ready(added))
    }

    fn keep(&self, key: &[u8], value: Bytes, _: Duration) {
        self.answers.lock().unwrap().insert(key.to_vec(), value);
    }

    fn remove(&self, _: &[u8]) -> BoxFuture<'static, Result<(), StoreError>> {
        unreachable!("no mark is taken back")
    }
}
