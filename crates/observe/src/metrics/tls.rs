//! What is counted of TLS files: once per change, by whoever watches them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::table::lock;

/// The files of listeners and services, by what they belong to: `listener 443`, `service orders`. Bounded by the config.
#[derive(Debug, Default)]
pub struct TlsFiles {
    owners: Mutex<BTreeMap<Box<str>, Owner>>,
    expiries: Mutex<BTreeMap<Box<str>, f64>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owner {
    pub(super) renewed: u64,
    pub(super) failed: u64,
    pub(super) is_stale: bool,
}

impl TlsFiles {
    /// Files are watched from now on.
    pub fn watched(&self, owner: &str) {
        lock(&self.owners).entry(owner.into()).or_default();
    }

    /// Only these have files from now on, and only these files are shown.
    pub fn keep(&self, is_owner: impl Fn(&str) -> bool, is_shown: impl Fn(&str) -> bool) {
        lock(&self.owners).retain(|owner, _| is_owner(owner));
        lock(&self.expiries).retain(|file, _| is_shown(file));
    }

    /// Changed files were read and are in force.
    pub fn renewed(&self, owner: &str) {
        let mut owners = lock(&self.owners);
        let owner = owners.entry(owner.into()).or_default();
        owner.renewed += 1;
        owner.is_stale = false;
    }

    /// Changed files are not right; those before stay in force.
    pub fn failed(&self, owner: &str) {
        let mut owners = lock(&self.owners);
        let owner = owners.entry(owner.into()).or_default();
        owner.failed += 1;
        owner.is_stale = true;
    }

    /// A certificate that is in force is good until then.
    pub fn expires(&self, file: &str, at: SystemTime) {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        lock(&self.expiries).insert(file.into(), at);
    }

    pub(super) fn owners(&self) -> BTreeMap<Box<str>, Owner> {
        lock(&self.owners).clone()
    }

    pub(super) fn expiries(&self) -> BTreeMap<Box<str>, f64> {
        lock(&self.expiries).clone()
    }
}
