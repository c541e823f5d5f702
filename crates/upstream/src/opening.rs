//! A connection that is being made and will be shared: one at a time per instance and worker, and whoever needs one waits
//! for it instead of making another.

use std::sync::Arc;

use tokio::sync::watch;

use crate::instance::Instance;
use crate::service::Refusal;

/// What became of it.
#[derive(Clone, Debug)]
enum Outcome {
    Unknown,
    /// There is a connection; whether it can be shared is another matter.
    Open,
    Refused(Refusal),
}

/// Somebody makes a connection; others may wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Opening(watch::Receiver<Outcome>);

/// Who makes it. Dropped, whoever waits looks again.
pub(crate) struct Begun {
    outcome: watch::Sender<Outcome>,
    instance: Arc<Instance>,
    worker: usize,
}

impl Begun {
    pub(crate) fn new(instance: Arc<Instance>, worker: usize) -> (Self, Opening) {
        let (outcome, waiting) = watch::channel(Outcome::Unknown);
        (Self { outcome, instance, worker }, Opening(waiting))
    }

    /// There is one.
    pub(crate) fn opened(self) {
        self.outcome.send_replace(Outcome::Open);
    }

    /// There is none, and the others need not try the same at once.
    pub(crate) fn refused(self, refusal: &Refusal) {
        self.outcome.send_replace(Outcome::Refused(refusal.clone()));
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.instance.end_opening(self.worker);
    }
}

impl Opening {
    /// Until something became of it; then it is time to look again.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn done(mut self) -> Result<(), Refusal> {
        match self.0.wait_for(|outcome| !matches!(outcome, Outcome::Unknown)).await.as_deref() {
            Ok(Outcome::Refused(refusal)) => Err(refusal.clone()),
            // An error: its maker gave up, with the request that it was for.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
