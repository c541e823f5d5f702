//! What is counted of those who are asked again and again where instances are: host names, and services at other sources.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::table::lock;
use super::{MOST_NAMES, OTHER};

/// Those who are asked, by their names.
#[derive(Debug, Default)]
pub struct Followed(Mutex<BTreeMap<Box<str>, Asked>>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) failures: u64,
    pub(super) is_stale: bool,
    /// Who asks.
    users: u32,
}

impl Followed {
    /// Somebody asks from now on; see [`Followed::end`].
    pub fn begin(&self, name: &str) {
        let mut names = lock(&self.0);
        if names.contains_key(name) || names.len() < MOST_NAMES {
            names.entry(name.into()).or_default().users += 1;
        }
    }

    /// A question ended. After one that failed, what is known is an earlier answer.
    pub fn asked(&self, name: &str, ok: bool) {
        let mut names = lock(&self.0);
        let key = if names.contains_key(name) || names.len() < MOST_NAMES { name } else { OTHER };
        let entry = names.entry(key.into()).or_default();
        entry.failures += u64::from(!ok);
        entry.is_stale = !ok;
    }

    /// One of those who asked does so no more; with the last one the counters go.
    pub fn end(&self, name: &str) {
        let mut names = lock(&self.0);
        let Some(entry) = names.get_mut(name) else { return };
        entry.users = entry.users.saturating_sub(1);
        if entry.users == 0 {
            names.remove(name);
        }
    }

    pub(super) fn all(&self) -> BTreeMap<Box<str>, Asked> {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_can_be_forgotten() {
        let names = Followed::default();
        for n in 0..MOST_NAMES + 10 {
            names.asked(&format!("host-{n}"), false);
        }
        assert_eq!(names.all().len(), MOST_NAMES + 1);
        assert_eq!(names.all()[OTHER].failures, 10);
        names.begin("host-3");
        names.begin("host-3");
        names.end("host-3");
        assert_eq!(names.all()["host-3"].failures, 1, "another one has taken the name over");
        names.end("host-3");
        assert!(!names.all().contains_key("host-3"));
    }
}
