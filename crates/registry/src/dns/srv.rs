//! The SRV records of one name, and the task that keeps them and their hosts up to date (RFC 2782).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tollgate_observe::Metrics;

use super::Dns;
use super::lookup::{Lookup, LookupError, Record};
use crate::backoff::{Backoff, spread};
use crate::kept::{Following, Kept, Told};
use crate::places::{Host, Place, Places};
use crate::{Source, View};

/// Most records of one name: each may be a host to look up.
const MOST_RECORDS: usize = 256;

type Records = Arc<Mutex<Vec<Record>>>;

/// What SRV records of a name say.
#[derive(Debug)]
pub(super) struct Srv {
    following: Following,
    records: Records,
}

impl Srv {
    /// Begins to look the name up, until it is dropped. `known`: the records that it has until then.
    pub(super) fn start(dns: &Arc<Dns>, name: &str, known: Vec<Record>) -> Arc<Self> {
        let told = Told::new(Arc::clone(&dns.metrics), Metrics::names, name);
        let (kept, view) = Kept::new(told, Places::new(Arc::clone(dns)), places(&known), None, dns.clock.clone());
        let records: Records = Arc::new(Mutex::new(known));
        let asking = follow(kept, Arc::clone(&dns.lookup), name.to_owned(), Arc::clone(&records));
        Arc::new(Self { following: Following::new(view, &dns.runtime, asking), records })
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source for Srv {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.following.watch()
    }
}

/// Looks up, tells, waits.
async fn follow(mut kept: Kept, lookup: Arc<Lookup>, name: String, records: Records) -> Infallible {
    let (mut failures, mut wait) = (Backoff::default(), Duration::ZERO);
    loop {
        let asked = async {
            tokio::time::sleep(wait).await;
            lookup.services(&name).await
        };
        let looked = kept.during(asked).await;
        wait = spread(learn(&mut kept, looked, &mut failures, &records));
    }
}

/// Takes in how a look-up ended, and says when to look again.
fn learn(
    kept: &mut Kept,
    looked: Result<(Vec<Record>, Duration), LookupError>,
    failures: &mut Backoff,
    records: &Records,
) -> Duration {
    let looked = match looked {
        Ok((found, _)) if found.len() > MOST_RECORDS => Err(format!("more than {MOST_RECORDS} SRV records")),
        Ok(looked) => Ok(looked),
        Err(error) => Err(error.to_string()),
    };
    match looked {
        Ok((found, ttl)) => {
            failures.succeeded();
            kept.learn(places(&found));
            *records.lock().unwrap_or_else(PoisonError::into_inner) = found;
            ttl
        }
        Err(why) => {
            kept.fail(&why);
            failures.failed()
        }
    }
}

/// The lowest priority is the first group, the next one the second, however far apart their numbers are.
fn places(records: &[Record]) -> Vec<Place> {
    let priorities: BTreeSet<u16> = records.iter().map(|record| record.priority).collect();
    let place = |record: &Record| {
        let rank = priorities.range(..record.priority).count();
        Place {
            host: Host::Name(record.target.as_str().into()),
            port: record.port,
            weight: record.weight.into(),
            zone: None,
            group: u8::try_from(rank).unwrap_or(u8::MAX),
        }
    };
    records.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_become_groups() {
        let record = |priority, port| Record { priority, weight: 5, port, target: "a.internal.".into() };
        let places = places(&[record(20, 1), record(10, 2), record(20, 3), record(65535, 4)]);
        let groups: Vec<_> = places.iter().map(|place| (place.port, place.group, place.weight)).collect();
        assert_eq!(groups, [(1, 1, 5), (2, 0, 5), (3, 1, 5), (4, 2, 5)]);
    }
}
