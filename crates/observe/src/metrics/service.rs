//! What is counted per service, on the side of the backends.

use super::concurrency::ConcurrencyMetrics;
use super::shards::Shards;
use super::slot::{Slot, open};
use super::watch::{WatchMetrics, WatchTotals};

/// How one attempt at an instance ended: the values of the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// A final answer's head came, whatever its status.
    Ok,
    /// No connection could be made.
    ConnectFailed,
    /// Connected, but no answer in time.
    Timeout,
    /// The connection ended or broke the protocol before the answer's head was complete.
    Reset,
    /// There was no room: of the service's connections, of its rate or of what it can do at a time.
    RefusedByLimit,
    /// The client left before the attempt came to an end.
    Cancelled,
}

/// The values of the label `outcome`, in the order of [`Outcome`].
pub(crate) const OUTCOMES: [&str; 6] = ["ok", "connect_failed", "timeout", "reset", "refused_by_limit", "cancelled"];

/// Whom a request went to because those that are asked first could not take it: the values of the label `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Spilled {
    /// An instance of another zone.
    Zone,
    /// One of a later priority group.
    Group,
    /// Any instance, well or not: too few are well.
    Panic,
}

/// The values of the label `to`, in the order of [`Spilled`].
pub(crate) const SPILLED: [&str; 3] = ["zone", "group", "panic"];

/// The counters of one service: a handle kept with the service, the same over reloads.
#[derive(Debug)]
pub struct ServiceMetrics {
    name: Box<str>,
    shards: Shards<ServiceShard>,
    watch: WatchMetrics,
    concurrency: ConcurrencyMetrics,
}

/// One worker's part of a service's counters. Only that worker's thread may write to it; what begins on one worker
/// ends on it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServiceShard {
    attempts: [Slot; OUTCOMES.len()],
    retries: Slot,
    connects: Slot,
    closes: Slot,
    reuses: Slot,
    rested: Slot,
    woken: Slot,
    queued: Slot,
    left_queue: Slot,
    queue_refused: Slot,
    smoothing: Slot,
    smoothed: Slot,
    smooth_refused: Slot,
    admitted: Slot,
    released: Slot,
    spilled: [Slot; SPILLED.len()],
}

/// A service's counters summed over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTotals {
    /// Attempts by how they ended: ok, connect_failed, timeout, reset, refused_by_limit, cancelled.
    pub attempts: [u64; 6],
    /// Attempts after the first one of a request.
    pub retries: u64,
    /// Connections made.
    pub connects: u64,
    /// Attempts on a connection that was there already.
    pub reuses: u64,
    /// Connections open now, idle ones included.
    pub open: u64,
    /// Of these, the ones resting in a pool.
    pub idle: u64,
    /// Requests waiting for a free connection now.
    pub waiting: u64,
    /// Requests that found the queue full or waited in vain.
    pub queue_refused: u64,
    /// Requests waiting for their turn now, of a service whose requests go evenly spaced.
    pub smoothing: u64,
    /// Requests for which there was no turn.
    pub smooth_refused: u64,
    /// Requests under way that adaptive concurrency let in.
    pub admitted: u64,
    /// Requests that went to others than are asked first, in the order of [`Spilled`].
    pub spilled: [u64; 3],
}

impl ServiceMetrics {
    pub(crate) fn new(name: &str, workers: usize) -> Self {
        let (watch, concurrency) = (WatchMetrics::default(), ConcurrencyMetrics::default());
        Self { name: name.into(), shards: Shards::new(workers), watch, concurrency }
    }

    /// The service's name, as in the label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shard that worker number `worker` writes to.
    #[inline]
    pub fn shard(&self, worker: usize) -> &ServiceShard {
        self.shards.get(worker)
    }

    /// What is counted of its instances being watched.
    pub fn watch(&self) -> &WatchMetrics {
        &self.watch
    }

    /// What is counted of its adaptive concurrency.
    pub fn concurrency(&self) -> &ConcurrencyMetrics {
        &self.concurrency
    }

    pub(crate) fn is_used(&self) -> bool {
        self.shards.used().next().is_some() || self.watch.totals() != WatchTotals::default()
    }

    /// The sums over all workers as they are now.
    pub fn totals(&self) -> ServiceTotals {
        let sum = |number: fn(&ServiceShard) -> &Slot| self.shards.sum(|s| number(s).get());
        // What has ended is read before what has begun.
        let (closes, woken, left_queue) = (sum(|s| &s.closes), sum(|s| &s.woken), sum(|s| &s.left_queue));
        let smoothed = sum(|s| &s.smoothed);
        let released = sum(|s| &s.released);
        let connects = sum(|s| &s.connects);
        ServiceTotals {
            attempts: std::array::from_fn(|i| self.shards.sum(|s| s.attempts[i].get())),
            retries: sum(|s| &s.retries),
            connects,
            reuses: sum(|s| &s.reuses),
            open: open(connects, closes),
            idle: open(sum(|s| &s.rested), woken),
            waiting: open(sum(|s| &s.queued), left_queue),
            queue_refused: sum(|s| &s.queue_refused),
            smoothing: open(sum(|s| &s.smoothing), smoothed),
            smooth_refused: sum(|s| &s.smooth_refused),
            admitted: open(sum(|s| &s.admitted), released),
            spilled: std::array::from_fn(|i| self.shards.sum(|s| s.spilled[i].get())),
        }
    }
}

impl ServiceShard {
    /// An attempt came to its end.
    #[inline]
    pub fn attempt(&self, outcome: Outcome) {
        self.attempts[outcome as usize].add(1);
    }

    /// Another attempt is made for a request.
    pub fn retry(&self) {
        self.retries.add(1);
    }

    /// A connection was made; it is busy. Followed by one [`disconnected`](Self::disconnected).
    pub fn connected(&self) {
        self.connects.add(1);
    }

    /// A connection was closed, by whichever side. One that rested is taken with [`woke`](Self::woke) first.
    pub fn disconnected(&self) {
        self.closes.add(1);
    }

    /// An attempt goes out on a connection from the pool.
    #[inline]
    pub fn reused(&self) {
        self.reuses.add(1);
    }

    /// A connection went to rest in the pool. Followed by one [`woke`](Self::woke).
    #[inline]
    pub fn rested(&self) {
        self.rested.add(1);
    }

    /// A resting connection left the pool: to be used, or to be closed.
    #[inline]
    pub fn woke(&self) {
        self.woken.add(1);
    }

    /// A request begins to wait for a connection. Followed by one [`left_queue`](Self::left_queue).
    pub fn queued(&self) {
        self.queued.add(1);
    }

    /// A request waits no longer, with or without success.
    pub fn left_queue(&self) {
        self.left_queue.add(1);
    }

    /// A request found the queue full, or its time in it ran out.
    pub fn queue_refused(&self) {
        self.queue_refused.add(1);
    }

    /// A request begins to wait for its turn. Followed by one [`smoothed`](Self::smoothed).
    pub fn smoothing(&self) {
        self.smoothing.add(1);
    }

    /// A request waits for its turn no longer, with or without success.
    pub fn smoothed(&self) {
        self.smoothed.add(1);
    }

    /// Adaptive concurrency lets a request in. Followed by one [`released`](Self::released).
    #[inline]
    pub fn admitted(&self) {
        self.admitted.add(1);
    }

    /// A request that was let in has its answer, or will have none.
    #[inline]
    pub fn released(&self) {
        self.released.add(1);
    }

    /// A request goes to others than are asked first.
    #[inline]
    pub fn spilled(&self, to: Spilled) {
        self.spilled[to as usize].add(1);
    }

    /// There was no turn for a request.
    pub fn smooth_refused(&self) {
        self.smooth_refused.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_what_began_and_has_not_ended() {
        let service = ServiceMetrics::new("orders", 2);
        for worker in 0..2 {
            let shard = service.shard(worker);
            shard.connected();
            shard.connected();
            shard.rested();
            shard.queued();
        }
        service.shard(1).woke();
        service.shard(1).disconnected();
        service.shard(0).left_queue();
        service.shard(0).attempt(Outcome::Timeout);
        service.shard(1).attempt(Outcome::Cancelled);
        let totals = service.totals();
        assert_eq!((totals.connects, totals.open, totals.idle, totals.waiting), (4, 3, 1, 1));
        assert_eq!(totals.attempts, [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn every_outcome_has_its_label() {
        assert_eq!(OUTCOMES[Outcome::Ok as usize], "ok");
        assert_eq!(OUTCOMES[Outcome::RefusedByLimit as usize], "refused_by_limit");
        assert_eq!(OUTCOMES[Outcome::Cancelled as usize], "cancelled");
    }
}
