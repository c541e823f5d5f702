//! What a quorum says of how far the store has come, and what is done while the link has not come so far.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_core::clock::Clock;
use tollgate_core::policy::BoxFuture;

use super::super::client::{Client, Failure};
use super::super::read::Stood;
use super::sleep_until;
use crate::Revision;

/// How long one member may take to say how far the store has come: so that another can within a second.
const QUICK: Duration = Duration::from_millis(500);
/// How long the link may take to come as far: most often it is there at once. Half as long again, at most, by chance: of several who wait,
/// one puts a mark, which all of them see.
const GRACE: Duration = Duration::from_millis(100);

/// How long the link may bring nothing although a mark was put.
const BEHIND: Duration = Duration::from_millis(700);
/// How long it may bring other things before the mark. Whichever member goes on, goes on from there.
const FAR_BEHIND: Duration = Duration::from_secs(5);

/// Where it is.
pub(super) enum Check {
    /// Nothing is asked before.
    Rest(Instant),
    /// A quorum is asked; `shown` was shown before that.
    Reading { shown: Revision, asking: BoxFuture<'static, Result<Stood, Failure>> },
    /// It said so; the link may take until then to come as far.
    Behind { stood: Stood, until: Instant },
    /// A mark is being put.
    Marking { stood: Stood, putting: BoxFuture<'static, Result<(), Failure>> },
    /// It was put.
    Marked { stood: Stood, since: Instant },
}

/// What came of it.
pub(super) enum Checked {
    /// It is time to ask.
    Due,
    /// So it was said.
    Stood(Stood),
    /// The store was farther once: somebody has put back a copy of it, or begun anew.
    WentBack,
    /// The link has not come so far.
    StillBehind(Stood),
    /// A mark was put.
    Marked(Stood),
    /// And the link shows nothing.
    Stuck,
    /// Nobody could say, or do.
    Failed(Failure),
}

impl Check {
    /// Asks how far the store has come.
    pub(super) fn read(client: &Arc<Client>, at: usize, mark: &str, shown: Revision) -> Self {
        let (client, mark) = (Arc::clone(client), mark.to_owned());
        Self::Reading { shown, asking: Box::pin(async move { client.stands(at, &mark, QUICK).await }) }
    }

    /// Waits for the link to come so far.
    pub(super) fn behind(stood: Stood, now: Instant) -> Self {
        let chance = RandomState::new().hash_one(0u8) % 50;
        Self::Behind { stood, until: now + GRACE + Duration::from_millis(chance) }
    }

    /// Puts a mark, by the member that answered.
    pub(super) fn mark(client: &Arc<Client>, stood: Stood, mark: &str) -> Self {
        let (client, mark) = (Arc::clone(client), mark.to_owned());
        Self::Marking { stood, putting: Box::pin(async move { client.put_mark(&mark, stood.endpoint).await }) }
    }

    /// What a quorum said, as long as the link has not come so far.
    pub(super) fn stood(&self) -> Option<Stood> {
        match self {
            Self::Rest(_) | Self::Reading { .. } => None,
            Self::Behind { stood, .. } | Self::Marking { stood, .. } | Self::Marked { stood, .. } => Some(*stood),
        }
    }

    /// What comes next. `heard`: when the link brought something. May be dropped, and called again; what it returned is to be taken into
    /// account first.
    pub(super) async fn next(&mut self, clock: &Clock, heard: Instant) -> Checked {
        match self {
            Self::Rest(until) => {
                sleep_until(*until, clock).await;
                Checked::Due
            }
            Self::Reading { shown, asking } => match asking.await {
                Ok(stood) if stood.revision < *shown => Checked::WentBack,
                Ok(stood) => Checked::Stood(stood),
                Err(failure) => Checked::Failed(failure),
            },
            Self::Behind { stood, until } => {
                sleep_until(*until, clock).await;
                Checked::StillBehind(*stood)
            }
            Self::Marking { stood, putting } => {
                let stood = *stood;
                putting.await.map_or_else(Checked::Failed, |()| Checked::Marked(stood))
            }
            // As long as it brings anything, it may have much to bring before the mark.
            Self::Marked { since, .. } => {
                sleep_until(((*since).max(heard) + BEHIND).min(*since + FAR_BEHIND), clock).await;
                Checked::Stuck
            }
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rest(_) => "Rest",
            Self::Reading { .. } => "Reading",
            Self::Behind { .. } => "Behind",
            Self::Marking { .. } => "Marking",
            Self::Marked { .. } => "Marked",
        })
    }
}
