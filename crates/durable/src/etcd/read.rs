//! Reading: what a quorum vouches for.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::json;

use super::client::{Ask, Asked, Client, Failure};
use super::wire::{KeyValue, Range, decoded};
use super::{MARK, SMALL};
use crate::{Entry, Listing, Revision};

/// Most keys of one answer.
const PAGE: usize = 512;
/// The same if that was too much: with the longest values, it fits into [`LARGE`].
const SMALL_PAGE: usize = 32;
/// Most bytes of an answer with many keys.
const LARGE: usize = 16 * 1024 * 1024;
/// Most keys of a listing.
const MOST_KEYS: usize = 1_000_000;
/// So often a listing begins anew whose revision is forgotten meanwhile.
const TRIES: usize = 3;

/// What lies under a key, and who said so.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Option<Entry>,
    pub(super) revision: Revision,
    pub(super) endpoint: usize,
}

/// Where the store stood, at some time after `began`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stood {
    pub(super) revision: Revision,
    pub(super) began: Instant,
    /// Who said so.
    pub(super) endpoint: usize,
}

impl Client {
    /// What lies under a key.
    pub(super) async fn read(&self, key: &str) -> Result<Found, Failure> {
        let Asked { body, endpoint, .. } =
            self.ask(&Ask::read("/v3/kv/range", &json!({ "key": self.key(key) }))).await?;
        let range: Range = decoded(&body)?;
        let entry = range.kvs.into_iter().next().map(|found| found.entry(key.to_owned()));
        Ok(Found { entry, revision: Revision(range.header.revision), endpoint })
    }

    /// How far the store has come, as a quorum has it. `first` is asked before all others, and each for so long.
    pub(super) async fn stands(&self, first: usize, key: &str, each: Duration) -> Result<Stood, Failure> {
        // Without `serializable`, a range is read after all that was written before it was asked for.
        let ask = Ask::read("/v3/kv/range", &json!({ "key": self.key(key), "count_only": true })).within(each);
        let Asked { body, endpoint, began } = self.ask_from(first, &ask, &mut false).await?;
        let range: Range = decoded(&body)?;
        Ok(Stood { revision: Revision(range.header.revision), began, endpoint })
    }

    /// All keys that begin so, as of one revision.
    pub(super) async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        let mut tries = 1;
        loop {
            match self.listed(prefix).await {
                Err(Failure::Compacted) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    async fn listed(&self, prefix: &str) -> Result<Listing, Failure> {
        let start = format!("{}{prefix}", self.prefix).into_bytes();
        let end = after_prefix(&start);
        let mut page = self.page(&start, &end, None).await?;
        let (revision, mut entries) = (Revision(page.header.revision), Vec::new());
        loop {
            let last = page.kvs.last().map(|last| last.key.clone());
            entries.extend(page.kvs.into_iter().filter_map(|found| self.ours(found)));
            let Some(mut next) = last.filter(|_| page.more) else { break };
            if entries.len() > MOST_KEYS {
                return Err(Failure::Refused(format!("there are more than {MOST_KEYS} keys below `{prefix}`")));
            }
            next.push(0);
            page = self.page(&next, &end, Some(revision)).await?;
        }
        Ok(Listing { entries, revision })
    }

    /// The first keys from here on.
    async fn page(&self, start: &[u8], end: &[u8], at: Option<Revision>) -> Result<Range, Failure> {
        let limited = |limit: usize| {
            let mut request = json!({
                "key": BASE64.encode(if start.is_empty() { b"\0" } else { start }),
                "range_end": BASE64.encode(end),
                "limit": limit.to_string(),
            });
            if let Some(Revision(revision)) = at {
                request["revision"] = json!(revision.to_string());
            }
            Ask::read("/v3/kv/range", &request).up_to(LARGE)
        };
        match self.ask(&limited(PAGE)).await {
            Ok(answer) => decoded(&answer.body),
            // Perhaps it is too much for one answer.
            Err(Failure::Unavailable(_)) => decoded(&self.ask(&limited(SMALL_PAGE)).await?.body),
            Err(failure) => Err(failure),
        }
    }

    /// An entry of a user; what is no text was never put by us.
    pub(super) fn ours(&self, found: KeyValue) -> Option<Entry> {
        let key = self.our_key(&found.key)?;
        Some(found.entry(key))
    }

    /// A key as its user calls it.
    pub(super) fn our_key(&self, key: &[u8]) -> Option<String> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        (!key.ends_with(MARK)).then(|| key.to_owned())
    }
}

const _: () = assert!(SMALL_PAGE * crate::MOST_VALUE * 4 / 3 + SMALL < LARGE, "a page of long values fits");

/// The first key after all that begin so, as etcd wants it: `\0` is the end of all.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let Some(at) = prefix.iter().rposition(|byte| *byte < 0xff) else { return vec![0] };
    let mut end = prefix[..=at].to_vec();
    end[at] += 1;
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_begin_so() {
        assert_eq!(after_prefix(b"a/"), b"a0");
        assert_eq!(after_prefix(b"a\xff\xff"), b"b");
        assert_eq!(after_prefix(b"\xff"), b"\0");
        assert_eq!(after_prefix(b""), b"\0");
    }
}
