//! A gate that one thread waits at until another opens it: order without sleeping.

use std::sync::{Arc, Condvar, Mutex};

use crate::deadline::PATIENCE;

/// Closed at first; once open it stays open. Copies are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through from now on.
    ///
    /// # Panics
    /// When a thread panicked while it held the gate.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Whether it is open by now.
    ///
    /// # Panics
    /// When a thread panicked while it held the gate.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Waits until the gate is open; false if that took longer than [`PATIENCE`].
    ///
    /// # Panics
    /// When a thread panicked while it held the gate.
    #[must_use]
    pub fn pass(&self) -> bool {
        let closed = self.0.0.lock().unwrap();
        let (open, _) = self.0.1.wait_timeout_while(closed, PATIENCE, |open| !*open).unwrap();
        *open
    }
}
