//! What is known of a service at a source that is asked again and again: shown, said when it gets old, and given up when it is too old.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tollgate_core::clock::Clock;
use tollgate_observe::Metrics;
use tollgate_observe::metrics::Followed;

use crate::merged::replace;
use crate::places::{Place, Places};
use crate::{Source, State, View};

/// Most instances of one service.
pub(crate) const MOST_INSTANCES: usize = 10_000;

/// What is known of a service; whoever follows a source keeps one.
#[derive(Debug)]
pub(crate) struct Kept {
    told: Told,
    places: Places,
    /// Whether there are any, and how many, for the log.
    count: usize,
    state: Standing,
    /// How long instances are used while the source does not answer; `None`: for as long as that is.
    hold: Option<Duration>,
    view: watch::Sender<Arc<View>>,
    clock: Clock,
}

/// How the source itself stands.
#[derive(Debug)]
enum Standing {
    Pending,
    Fresh,
    Failing { since: SystemTime, from: Instant, error: String, lapsed: bool },
}

/// A service that is asked for by a task, until this is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    view: watch::Receiver<Arc<View>>,
    task: AbortHandle,
}

impl Following {
    pub(crate) fn new(
        view: watch::Receiver<Arc<View>>,
        runtime: &Handle,
        asking: impl Future<Output = Infallible> + Send + 'static,
    ) -> Self {
        Self { view, task: runtime.spawn(asking).abort_handle() }
    }
}

impl Source for Following {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whom a source is told of: by its name in metrics, until this is dropped.
#[derive(Debug)]
pub(crate) struct Told {
    metrics: Arc<Metrics>,
    among: fn(&Metrics) -> &Followed,
    name: Arc<str>,
}

impl Told {
    pub(crate) fn new(metrics: Arc<Metrics>, among: fn(&Metrics) -> &Followed, name: &str) -> Self {
        among(&metrics).begin(name);
        Self { metrics, among, name: name.into() }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        (self.among)(&self.metrics).end(&self.name);
    }
}

impl Kept {
    /// Nothing yet, but what was known `before`.
    pub(crate) fn new(
        told: Told,
        mut places: Places,
        before: Vec<Place>,
        hold: Option<Duration>,
        clock: Clock,
    ) -> (Self, watch::Receiver<Arc<View>>) {
        let count = before.len();
        places.set(before);
        let (view, receiver) = watch::channel(Arc::new(places.view(State::Pending)));
        (Self { told, places, count, state: Standing::Pending, hold, view, clock }, receiver)
    }

    /// Waits for what the source says; meanwhile hosts are looked up, and instances lapse.
    pub(crate) async fn during<T>(&mut self, asked: impl Future<Output = T>) -> T {
        let mut asked = Box::pin(asked);
        loop {
            let left = self.left();
            let lapse = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                said = &mut asked => return said,
                () = self.places.changed() => {}
                () = lapse => self.lapse(),
            }
            self.show();
        }
    }

    /// The source says so.
    pub(crate) fn learn(&mut self, mut places: Vec<Place>) {
        let name = &*self.told.name;
        (self.told.among)(&self.told.metrics).asked(name, true);
        places.sort();
        places.dedup();
        if places.len() > MOST_INSTANCES {
            tracing::warn!(
                name,
                instances = places.len(),
                most = MOST_INSTANCES,
                "too many instances: the others are left out"
            );
            places.truncate(MOST_INSTANCES);
        }
        if let Standing::Failing { .. } = self.state {
            tracing::info!(name, instances = places.len(), "the source answers again");
        }
        self.count = places.len();
        if self.places.set(places) && !matches!(self.state, Standing::Pending) {
            tracing::info!(name, instances = self.count, "the source names other instances");
        }
        self.state = Standing::Fresh;
        self.show();
    }

    /// The source does not answer, or not well.
    pub(crate) fn fail(&mut self, why: &str) {
        let name = &*self.told.name;
        (self.told.among)(&self.told.metrics).asked(name, false);
        let error = format!("{name}: {why}");
        if let Standing::Failing { error: last, .. } = &mut self.state {
            *last = error;
        } else {
            // The first failure says it; the ones that follow it are told by the metrics.
            match self.count {
                0 => tracing::warn!(name, error = why, "asking failed: no instance is known; it is tried again"),
                kept => {
                    let seconds = self.hold.map(|hold| hold.as_secs());
                    tracing::warn!(
                        name,
                        error = why,
                        kept,
                        hold_seconds = seconds,
                        "asking failed, what was said last is kept"
                    );
                }
            }
            let (since, from) = (self.clock.unix(), self.clock.now());
            self.state = Standing::Failing { since, from, error, lapsed: false };
        }
        self.show();
    }

    /// How long instances are still used.
    fn left(&self) -> Option<Duration> {
        match (&self.state, self.hold) {
            (Standing::Failing { from, lapsed: false, .. }, Some(hold)) => {
                Some(hold.saturating_sub(self.clock.now().saturating_duration_since(*from)))
            }
            _ => None,
        }
    }

    fn lapse(&mut self) {
        if let Standing::Failing { lapsed, error, .. } = &mut self.state {
            *lapsed = true;
            tracing::error!(name = &*self.told.name, %error, dropped = self.count, "the source was silent for too long: its instances are not used any more");
        }
        self.count = 0;
        self.places.set(Vec::new());
    }

    fn show(&mut self) {
        let state = match &self.state {
            Standing::Pending => State::Pending,
            Standing::Fresh => State::Fresh,
            Standing::Failing { since, error, lapsed: false, .. } => {
                State::Stale { since: *since, error: error.clone() }
            }
            Standing::Failing { since, error, .. } => State::Lapsed { since: *since, error: error.clone() },
        };
        let view = self.places.view(state);
        self.view.send_if_modified(|shown| replace(shown, view));
    }
}
