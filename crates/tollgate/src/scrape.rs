//! `/metrics`: encoded off the workers, one page at a time, and shared by all who asked before it was begun.

use std::sync::Arc;
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
        Self { pages: Arc::new(Pages { metrics, clock, last: Mutex::default() }), slow: slow.clone() }
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
        let mut last = self.last.lock().await;
        if let Some((_, _, page)) = last.page.as_ref().filter(|(of, begun, _)| *of == format && *begun >= asked) {
            return Some(page.clone());
        }
        if let Some(until) = last.rest_until {
            tokio::time::sleep_until(until.into()).await;
        }
        let (begun, metrics) = (self.clock.now(), Arc::clone(&self.metrics));
        let text = tokio::task::spawn_blocking(move || metrics.encode(format)).await.ok()?;
        let ended = self.clock.now();
        let rest = (ended.saturating_duration_since(begun) * REST).min(LONGEST_REST);
        let page = Bytes::from(text);
        *last = Last { page: Some((format, begun, page.clone())), rest_until: Some(ended + rest) };
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
        let asked = clock.now();
        let page = |format, asked| runtime.block_on(Arc::clone(&pages).page(format, asked)).unwrap();
        let first = page(Format::Text, asked);
        assert_eq!(page(Format::Text, asked).as_ptr(), first.as_ptr());
        assert_ne!(page(Format::Text, clock.now()).as_ptr(), first.as_ptr());
        assert!(page(Format::OpenMetrics, asked).ends_with(b"# EOF\n"));
    }
}
