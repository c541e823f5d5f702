//! What is counted per route.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tollgate_core::facts::Route;

use super::shards::Shards;
use super::slot::{Slot, open};

/// The upper ends of the duration buckets, in microseconds; one more bucket takes what is slower.
pub(crate) const BUCKETS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 15_000_000,
    60_000_000,
];

/// The values of the label `status`: the class of the answer, `none` where the client left before there was one.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one route: a handle that is resolved when a plan is compiled and kept in it.
#[derive(Debug)]
pub struct RouteMetrics {
    route: Arc<Route>,
    shards: Shards<RouteShard>,
    /// Copies of its requests that are being made or are on their way.
    copies: AtomicUsize,
}

/// One worker's part of a route's counters. Only that worker's thread may write to it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RouteShard {
    begun: Slot,
    by_class: [Slot; CLASSES.len()],
    by_duration: [Slot; BUCKETS.len() + 1],
    micros: Slot,
    bytes_in: Slot,
    bytes_out: Slot,
}

/// A route's counters summed over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTotals {
    /// Requests begun and not finished.
    pub in_flight: u64,
    /// Finished requests by class of their status: none, 1xx, 2xx, 3xx, 4xx, 5xx.
    pub by_class: [u64; 6],
    /// Finished requests by duration, not cumulative, the last without upper end.
    pub by_duration: [u64; 15],
    /// The sum of all durations in microseconds.
    pub micros: u64,
    /// Bytes received from clients: heads and bodies.
    pub bytes_in: u64,
    /// Bytes sent to clients: heads and bodies.
    pub bytes_out: u64,
}

impl RouteMetrics {
    pub(crate) fn new(route: Arc<Route>, workers: usize) -> Self {
        Self { route, shards: Shards::new(workers), copies: AtomicUsize::new(0) }
    }

    /// The route that is counted, as the labels name it.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Copies of its requests (`mirror`) that are being made or are on their way; whoever makes them counts them.
    pub fn copies(&self) -> &AtomicUsize {
        &self.copies
    }

    /// The shard that worker number `worker` writes to; made on first use, later one load and one compare.
    #[inline]
    pub fn shard(&self, worker: usize) -> &RouteShard {
        self.shards.get(worker)
    }

    /// False as long as no worker has touched the route: such routes are left out of the exposition.
    pub(crate) fn is_used(&self) -> bool {
        self.shards.used().next().is_some()
    }

    /// The sums over all workers as they are now.
    pub fn totals(&self) -> RouteTotals {
        let by_class: [u64; CLASSES.len()] = std::array::from_fn(|i| self.shards.sum(|s| s.by_class[i].get()));
        RouteTotals {
            // What has ended is read first: read the other way round, requests ended meanwhile would be missed.
            in_flight: open(self.shards.sum(|s| s.begun.get()), by_class.iter().sum()),
            by_class,
            by_duration: std::array::from_fn(|i| self.shards.sum(|s| s.by_duration[i].get())),
            micros: self.shards.sum(|s| s.micros.get()),
            bytes_in: self.shards.sum(|s| s.bytes_in.get()),
            bytes_out: self.shards.sum(|s| s.bytes_out.get()),
        }
    }
}

impl RouteTotals {
    /// Finished requests of every class.
    pub fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }
}

impl RouteShard {
    /// A request was matched to the route. Each call is followed by exactly one [`finish`](Self::finish).
    #[inline]
    pub fn begin(&self) {
        self.begun.add(1);
    }

    /// The last byte is out, or the client is gone: `status` is then that of the answer that was begun, or 0 where
    /// there was none. The bytes are those of the client's side, heads included.
    #[inline]
    pub fn finish(&self, status: u16, duration: Duration, bytes_in: u64, bytes_out: u64) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let class = usize::from(status / 100);
        self.by_class[if class < CLASSES.len() { class } else { 0 }].add(1);
        // Most requests end in the first buckets, so a straight walk beats a binary search.
        self.by_duration[BUCKETS.iter().take_while(|end| micros > **end).count()].add(1);
        self.micros.add(micros);
        self.bytes_in.add(bytes_in);
        self.bytes_out.add(bytes_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_shards_written_by_several_threads_are_exact() {
        let route = RouteMetrics::new(Arc::new(Route::new("shop", "orders")), 4);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let route = &route;
                scope.spawn(move || {
                    let shard = route.shard(worker);
                    for n in 0..10_000_u64 {
                        shard.begin();
                        shard.finish(if n % 10 == 0 { 503 } else { 200 }, Duration::from_micros(n), 3, 7);
                    }
                    shard.begin();
                });
            }
        });
        let totals = route.totals();
        assert_eq!((totals.in_flight, totals.requests()), (4, 40_000));
        assert_eq!(totals.by_class, [0, 0, 36_000, 0, 0, 4_000]);
        assert_eq!((totals.bytes_in, totals.bytes_out), (120_000, 280_000));
        assert_eq!(totals.micros, 4 * (0..10_000).sum::<u64>());
        assert_eq!(&totals.by_duration[..5], [4 * 501, 4 * 500, 4 * 1500, 4 * 2500, 4 * 4999]);
    }

    #[test]
    fn a_bucket_holds_its_upper_end_and_the_last_all_the_rest() {
        let route = RouteMetrics::new(Arc::default(), 1);
        for duration in [Duration::ZERO, Duration::from_micros(500), Duration::from_secs(60), Duration::MAX] {
            route.shard(0).finish(0, duration, 0, 0);
        }
        let totals = route.totals();
        assert_eq!((totals.by_duration[0], totals.by_duration[13], totals.by_duration[14]), (2, 1, 1));
        assert_eq!(totals.by_class[0], 4);
    }

    #[test]
    fn a_status_out_of_range_counts_as_none() {
        let route = RouteMetrics::new(Arc::default(), 1);
        route.shard(0).finish(700, Duration::ZERO, 0, 0);
        assert_eq!(route.totals().by_class, [1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_untouched_route_has_no_shard() {
        let route = RouteMetrics::new(Arc::default(), 64);
        assert!(!route.is_used());
        route.shard(3).begin();
        assert!(route.is_used());
        assert_eq!(std::mem::align_of::<RouteShard>(), 64);
    }
}
