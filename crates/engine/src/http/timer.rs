//! One timer per connection, which hardly ever moves.
//!
//! The deadline is a field. The timer is armed for the first deadline there is and left alone; when it fires early, it
//! looks at the field and sleeps on. It is moved forward only for a deadline before the one it is armed for, so that a
//! busy connection touches the timer wheel about once per deadline's length instead of once per request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// A connection's timer.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it fires; kept here, since asking it takes a lock.
    armed: Option<Instant>,
}

impl Timer {
    /// Ready once `deadline` has passed; until then the task is woken when it may have.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let must_arm = self.armed.is_none_or(|armed| deadline < armed);
        if !must_arm && !self.has_fired() {
            return Poll::Pending;
        }
        if must_arm {
            self.arm(deadline);
        }
        loop {
            let Some(sleep) = self.sleep.as_mut() else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // It fired, at or after the time it was armed for.
            match self.armed {
                Some(armed) if armed >= deadline => {
                    self.armed = None;
                    return Poll::Ready(());
                }
                _ => self.arm(deadline),
            }
        }
    }

    fn arm(&mut self, deadline: Instant) {
        self.armed = Some(deadline);
        match self.sleep.as_mut() {
            Some(sleep) => sleep.as_mut().reset(deadline.into()),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline.into()))),
        }
    }

    fn has_fired(&self) -> bool {
        self.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed())
    }
}
