//! `/metrics`: encoded off the workers, one page at a time, and shared by all who asked before it was begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_observe::metrics::{Format, Metrics};

use crate::health::NOT_READY;

/// After a page there is rest for this many times as long as it took: scrapers, however many, cost no more than a fifth of
/// one core.
const REST: u32 = 4;
/// Nobody waits longer than this for others' pages to be paid for.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Answers scrapers.
#[derive(Debug)]
pub(crate) struct Scrape {
    pages: Arc<Pages>,
    slow: Handle,
}

impl Scrape {
    /// `slow`: where pages are made.
    pub(crate) fn new(metrics: &Arc<Metrics>, slow: &Handle, clock: &Clock) -> Self {
        let (metrics, clock) = (Arc::clone(metrics), clock.clone());
        Self {
            pages: Arc::new(Pages { metrics, clock, waiting: AtomicUsize::new(0), last: Mutex::default() }),
            slow: slow.clone(),
        }
    }
}

impl Handler for Scrape {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let format = Format::from_accept(x.head.fields.text("accept"));
        // A task of its own: a scraper that leaves must not leave a page half made, to be begun again by the next.
        let page = self.slow.spawn(Arc::clone(&self.pages).page(format, x.began));
        Box::pin(async move {
            let text = page.await.ok().flatten().ok_or_else(|| NOT_READY.problem())?;
            Ok(Reply::full(200, format.content_type(), text).header("Vary", "Accept"))
        })
    }
}

#[derive(Debug)]
struct Pages {
    metrics: Arc<Metrics>,
    clock: Clock,
    /// How many wait for a page: without them it is not kept.
    waiting: AtomicUsize,
    /// Held while a page is made.
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    page: Option<(Format, Instant, Bytes)>,
    rest_until: Option<Instant>,
}

impl Pages {
    /// A page that says nothing older than `asked`; `None` if none can be made any more.
    async fn page(self: Arc<Self>, format: Format, asked: Instant) -> Option<Bytes> {
        self.waiting.fetch_add(1, Relaxed);
        let mut last = self.last.lock().await;
        let others_wait = self.waiting.fetch_sub(1, Relaxed) > 1;
        let made = last.page.take_if(|_| !others_wait).or_else(|| last.page.clone());
        if let Some((_, _, page)) = made.filter(|(of, begun, _)| *of == format && *begun >= asked) {
            return Some(page);
        }
        if let Some(until) = last.rest_until {
            tokio::time::sleep_until(until.into()).await;
        }
        let (begun, metrics) = (self.clock.now(), Arc::clone(&self.metrics));
        let text = tokio::task::spawn_blocking(move || metrics.encode(format)).await.ok()?;
        let ended = self.clock.now();
        let rest = (ended.saturating_duration_since(begun) * REST).min(LONGEST_REST);
        let page = Bytes::from(text);
        let kept = (self.waiting.load(Relaxed) > 0).then(|| (format, begun, page.clone()));
        *last = Last { page: kept, rest_until: Some(ended + rest) };
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_before_a_page_was_begun_shares_it_and_who_asks_later_does_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = Clock::real();
        let pages = Scrape::new(&Metrics::new(1), runtime.handle(), &clock).pages;
        let page = |format, asked| Arc::clone(&pages).page(format, asked);
        let late = clock.now() + Duration::from_secs(60);
        let (first, second, third, other) = runtime.block_on(async {
            let asked = clock.now();
            let text = |asked| page(Format::Text, asked);
            tokio::join!(text(asked), text(asked), text(late), page(Format::OpenMetrics, asked))
        });
        let (first, second, third) = (first.unwrap(), second.unwrap(), third.unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_ne!(first.as_ptr(), third.as_ptr());
        assert!(other.unwrap().ends_with(b"# EOF\n"));
        assert!(runtime.block_on(pages.last.lock()).page.is_none(), "nobody waits for it any more");
    }
}
