//! Lets requests pass while there are fewer than the limit; all others wait in line, or are refused.
//!
//! Workers meet in atomics while there is room, and in a lock for a few instructions when there is none.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use tollgate_core::clock::Clock;
use tollgate_core::criticality::Criticality;
use tollgate_observe::metrics::ServiceMetrics;

use super::Settings;
use super::gradient::{Gradient, TOLERANCE, Window};
use super::line::Line;
use super::samples::Samples;

/// The shortest time after which the limit moves, and the longest, if there are enough answers.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// So many answers are enough.
const ENOUGH: u32 = 10;

/// The gate of a service.
#[derive(Debug)]
pub(crate) struct Gate {
    settings: Settings,
    clock: Clock,
    metrics: Arc<ServiceMetrics>,
    /// Points in time that threads share are counted from here, in nanoseconds.
    began: Instant,
    limit: AtomicU32,
    in_flight: AtomicU32,
    /// The most of them since the limit last moved.
    peak: AtomicU32,
    waiting: AtomicU32,
    line: Mutex<Line<oneshot::Sender<Permit>>>,
    samples: Samples,
    /// When the limit moves next; never, while somebody moves it.
    moves_at: AtomicU64,
    /// Whoever takes longer than that only tells that the service is slow.
    slow: AtomicU64,
    gradient: Mutex<Gradient>,
}

/// The right to send a request. Dropped, somebody else has it.
#[derive(Debug)]
pub struct Permit(Box<Held>);

/// What a permit holds. Boxed: every request keeps room for a permit, and few services give one.
#[derive(Debug)]
struct Held {
    /// `None`: it is given back.
    gate: Option<Arc<Gate>>,
    /// Who counts it.
    worker: Option<usize>,
    /// When the request was sent.
    sent: Option<Instant>,
}

/// How long a request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// So long until its answer.
    Exactly(Duration),
    /// So long, and there was no answer.
    AtLeast(Duration),
}

/// Nobody may pass.
#[derive(Debug)]
pub(crate) struct Overloaded;

impl Gate {
    pub(crate) fn new(settings: Settings, metrics: Arc<ServiceMetrics>, clock: Clock) -> Arc<Self> {
        let gradient = Gradient::new(settings.limits);
        metrics.concurrency().limit(gradient.in_force());
        Arc::new(Self {
            began: clock.now(),
            clock,
            metrics,
            limit: AtomicU32::new(gradient.in_force()),
            in_flight: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            line: Mutex::new(Line::new(settings.queue)),
            samples: Samples::default(),
            moves_at: AtomicU64::new(nanos(SHORTEST)),
            slow: AtomicU64::new(u64::MAX),
            gradient: Mutex::new(gradient),
            settings,
        })
    }

    /// Passes, at once or from the line; by `deadline` at the latest.
    ///
    /// # Errors
    /// There is no room, or others matter more.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        criticality: Criticality,
        worker: usize,
        deadline: Instant,
    ) -> Result<Permit, Overloaded> {
        // Who waits already matters as much, most likely.
        let at_once = if self.waiting.load(Ordering::SeqCst) == 0 { self.pass() } else { None };
        let permit = match at_once {
            Some(permit) => Some(permit),
            None => self.wait(criticality, deadline).await,
        };
        match permit {
            Some(permit) => Ok(permit.counted_by(worker)),
            None => {
                self.metrics.concurrency().shed(criticality);
                Err(Overloaded)
            }
        }
    }

    async fn wait(self: &Arc<Self>, criticality: Criticality, deadline: Instant) -> Option<Permit> {
        let granted = self.join(criticality)?;
        let left = deadline.saturating_duration_since(self.clock.now()).min(self.settings.wait);
        timeout(left, granted).await.ok()?.ok()
    }

    /// Joins the line, which is then served: there may be room by now.
    fn join(self: &Arc<Self>, criticality: Criticality) -> Option<oneshot::Receiver<Permit>> {
        let (grant, granted) = oneshot::channel();
        let mut line = self.line();
        let joined = line.join(grant, criticality, oneshot::Sender::is_closed);
        // In this order for all threads: who leaves now sees the line, or who looks now sees the room.
        self.count_waiting(&line);
        self.serve(&mut line);
        drop(line);
        joined.ok().map(|()| granted)
    }

    /// Lets in from the line whoever there is room for.
    fn serve(self: &Arc<Self>, line: &mut Line<oneshot::Sender<Permit>>) {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            let Some(permit) = self.pass() else { return };
            let Some(grant) = line.next() else {
                permit.forget();
                break;
            };
            if let Err(permit) = grant.send(permit) {
                // It has gone; its place is for the next.
                permit.forget();
            }
            self.count_waiting(line);
        }
    }

    fn pass(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |now: u32| (now < limit).then_some(now + 1);
        let before = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        self.peak.fetch_max(before + 1, Ordering::Relaxed);
        Some(Permit(Box::new(Held { gate: Some(Arc::clone(self)), worker: None, sent: None })))
    }

    fn leave(self: &Arc<Self>) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve(&mut self.line());
        }
    }

    /// Counts how long a request took, and moves the limit if it is time.
    fn sample(self: &Arc<Self>, took: Took) {
        match took {
            Took::Exactly(took) => self.samples.add(took),
            // That there was no answer yet says something only once there should have been one.
            Took::AtLeast(took) if nanos(took) > self.slow.load(Ordering::Relaxed) => self.samples.add(took),
            Took::AtLeast(_) => return,
        }
        let now = self.clock.now().saturating_duration_since(self.began);
        let moves_at = self.moves_at.load(Ordering::Relaxed);
        let is_time = nanos(now) >= moves_at
            && self.moves_at.compare_exchange(moves_at, u64::MAX, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_time {
            let next = self.adjust(now, Duration::from_nanos(moves_at)).map_or(moves_at, |again| nanos(now + again));
            self.moves_at.store(next, Ordering::Release);
        }
    }

    /// Moves the limit; after how long again. `None`: there were too few answers yet.
    fn adjust(self: &Arc<Self>, now: Duration, was_due: Duration) -> Option<Duration> {
        let mut gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        // In a service that is little used, fewer have to do.
        let enough = if now.saturating_sub(was_due) >= LONGEST { 1 } else { ENOUGH };
        let (count, median) = self.samples.take(enough);
        if count < enough {
            return None;
        }
        let peak = self.peak.swap(self.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
        gradient.observe(&Window { at: now, median, peak });
        let limit = gradient.in_force();
        let alone = gradient.alone().unwrap_or_default();
        drop(gradient);
        self.slow.store(nanos(alone.mul_f64(TOLERANCE)), Ordering::Relaxed);
        self.metrics.concurrency().limit(limit);
        if limit > self.limit.swap(limit, Ordering::Relaxed) && self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve(&mut self.line());
        }
        // Answers tell of what was let in a while ago.
        Some((alone * 2).clamp(SHORTEST, LONGEST))
    }

    fn count_waiting(&self, line: &Line<oneshot::Sender<Permit>>) {
        let waiting = u32::try_from(line.len()).unwrap_or(u32::MAX);
        self.waiting.store(waiting, Ordering::SeqCst);
        self.metrics.concurrency().waiting(waiting);
    }

    fn line(&self) -> MutexGuard<'_, Line<oneshot::Sender<Permit>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    fn counted_by(mut self, worker: usize) -> Self {
        if let Some(gate) = &self.0.gate {
            gate.metrics.shard(worker).admitted();
            self.0.worker = Some(worker);
        }
        self
    }

    /// The request is sent now.
    #[must_use]
    pub fn sent_at(mut self, now: Instant) -> Self {
        self.0.sent = Some(now);
        self
    }

    /// When it was sent.
    #[must_use]
    pub fn sent(&self) -> Option<Instant> {
        self.0.sent
    }

    /// The request is over; this is how long it took.
    pub fn took(self, took: Took) {
        if let Some(gate) = &self.0.gate {
            gate.sample(took);
        }
    }

    /// Gives the place back, and nobody is let in for it: by whoever does that already.
    fn forget(mut self) {
        if let Some(gate) = self.0.gate.take() {
            gate.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(gate) = self.0.gate.take() else { return };
        if let Some(worker) = self.0.worker {
            gate.metrics.shard(worker).released();
        }
        gate.leave();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
