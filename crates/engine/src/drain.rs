//! Stopping without a loss: no new connections, the requests in flight finish, then the rest is closed.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells all workers and their connections that the gateway is stopping.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
    bell: Notify,
}

impl Drain {
    /// Begins. Idle connections close, busy ones after their answer.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    /// Whether it began.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Rung when it begins. Registered when first polled (or enabled), for as long as the future lives.
    pub fn bell(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }

    /// Waits until it began.
    pub async fn begun(&self) {
        let mut bell = std::pin::pin!(self.bell());
        bell.as_mut().enable();
        if !self.is_begun() {
            bell.await;
        }
    }
}
