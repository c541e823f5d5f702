//! Stopping without a loss: no new connections, the requests in flight finish, then the rest is closed.
//!
//! What drains is drawn as a tree: all of the gateway, one worker, one listener. What is below something drains with it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// How far a [`Drain`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Everything is served.
    Serving,
    /// Connections end with their next answer, which says so: whoever is about to ask is not hung up on.
    Leaving,
    /// Idle connections close, busy ones after their answer.
    Draining,
    /// What is left is cut.
    Over,
}

/// Tells connections that they are to end.
#[derive(Debug, Default)]
pub struct Drain {
    stage: AtomicU8,
    bell: Notify,
    below: Mutex<Vec<Weak<Drain>>>,
}

impl Drain {
    /// One that goes on with any of these.
    #[must_use]
    pub fn below(above: &[&Arc<Self>]) -> Arc<Self> {
        let own = Arc::new(Self::default());
        for above in above {
            let mut below = above.below.lock().unwrap_or_else(PoisonError::into_inner);
            below.retain(|drain| drain.strong_count() > 0);
            below.push(Arc::downgrade(&own));
        }
        // Those that went on before they knew of it.
        above.iter().for_each(|above| own.go_to(above.stage()));
        own
    }

    /// Begins gently: connections end with their next answer.
    pub fn leave(&self) {
        self.go_to(Stage::Leaving);
    }

    /// Begins. Idle connections close, busy ones after their answer.
    pub fn begin(&self) {
        self.go_to(Stage::Draining);
    }

    /// Cuts what is left.
    pub fn end(&self) {
        self.go_to(Stage::Over);
    }

    fn go_to(&self, stage: Stage) {
        if self.stage.fetch_max(stage as u8, Ordering::AcqRel) < stage as u8 {
            self.bell.notify_waiters();
        }
        let below: Vec<Arc<Self>> = {
            let below = self.below.lock().unwrap_or_else(PoisonError::into_inner);
            below.iter().filter_map(Weak::upgrade).collect()
        };
        if stage > Stage::Serving {
            below.iter().for_each(|below| below.go_to(stage));
        }
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Serving,
            1 => Stage::Leaving,
            2 => Stage::Draining,
            _ => Stage::Over,
        }
    }

    /// Whether it began.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.stage() > Stage::Serving
    }

    /// Rung when it goes on. Registered when first polled (or enabled), for as long as the future lives.
    pub fn bell(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }

    /// Waits until it began.
    pub async fn begun(&self) {
        self.reached(Stage::Leaving).await;
    }

    /// Waits until it is that far.
    pub async fn reached(&self, stage: Stage) {
        loop {
            let mut bell = std::pin::pin!(self.bell());
            bell.as_mut().enable();
            if self.stage() >= stage {
                return;
            }
            bell.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_goes_on_with_either_of_those_above() {
        let (gateway, listener) = (Arc::new(Drain::default()), Arc::new(Drain::default()));
        let (one, other) = (Drain::below(&[&gateway, &listener]), Drain::below(&[&gateway]));
        listener.leave();
        assert_eq!((one.stage(), other.stage(), gateway.stage()), (Stage::Leaving, Stage::Serving, Stage::Serving));
        listener.end();
        gateway.begin();
        assert_eq!((one.stage(), other.stage()), (Stage::Over, Stage::Draining));
        assert_eq!(Drain::below(&[&other, &listener]).stage(), Stage::Over);
    }
}
