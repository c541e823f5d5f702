//! Routes of a plan that the plans after it have no more: what is on its way there ends once it had its time.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tollgate_core::facts::Route;
use tollgate_plan::RoutePlan;

use crate::http::downstream::Client;

/// Most requests are over before they would listen.
const SOON: Duration = Duration::from_secs(1);

/// Which of a plan's routes are over.
#[derive(Debug, Default)]
pub struct Recall {
    /// Those whose end is settled, and by which of the calls that settle it.
    due: Mutex<Due>,
    /// Those that have come to it.
    over: Mutex<Vec<Arc<Route>>>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Due {
    routes: HashMap<Arc<Route>, u64>,
    calls: u64,
}

impl Recall {
    /// These routes are no more, all others are, or are again. If the end of any was not settled yet, it is from now on, by
    /// the number that is given.
    pub(crate) fn settle(&self, gone: HashSet<Arc<Route>>) -> Option<u64> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.routes.retain(|route, _| gone.contains(route));
        due.calls += 1;
        let call = due.calls;
        for route in gone {
            due.routes.entry(route).or_insert(call);
        }
        due.routes.values().any(|by| *by == call).then_some(call)
    }

    /// What is on its way on the routes whose end was settled by this number ends now, unless they have come back.
    pub(crate) fn end(&self, call: u64) {
        let ending: Vec<Arc<Route>> = {
            let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            due.routes.iter().filter(|(_, by)| **by == call).map(|(route, _)| Arc::clone(route)).collect()
        };
        self.over.lock().unwrap_or_else(PoisonError::into_inner).extend(ending);
        self.bell.notify_waiters();
    }

    fn is_over(&self, route: &RoutePlan) -> bool {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|over| **over == *route.meta)
    }

    /// Returns once this route is over.
    pub(crate) async fn over(&self, route: &RoutePlan) {
        loop {
            let mut bell = std::pin::pin!(self.bell.notified());
            bell.as_mut().enable();
            if self.is_over(route) {
                return;
            }
            bell.await;
        }
    }
}

/// Listens for the end of a route, once that has become worth its while.
pub(crate) struct Watch<'d> {
    recall: &'d Recall,
    route: &'d RoutePlan,
    from: Instant,
    bell: Option<Pin<Box<Notified<'d>>>>,
}

impl<'d> Watch<'d> {
    /// Listens from a little later on.
    pub(crate) fn new(recall: &'d Recall, route: &'d RoutePlan, now: Instant) -> Self {
        Self { recall, route, from: now + SOON, bell: None }
    }

    /// Ready at the end of the route, or at the `deadline`.
    pub(crate) fn poll<S>(&mut self, cx: &mut Context<'_>, client: &mut Client<S>, deadline: Instant) -> Poll<Came> {
        loop {
            if let Some(bell) = &mut self.bell {
                if bell.as_mut().poll(cx).is_pending() {
                    return client.timer.poll(cx, deadline).map(|()| Came::Deadline);
                }
                if self.recall.is_over(self.route) {
                    return Poll::Ready(Came::Route);
                }
            } else if client.timer.poll(cx, deadline.min(self.from)).is_pending() {
                return Poll::Pending;
            } else if deadline <= self.from {
                return Poll::Ready(Came::Deadline);
            }
            // Registered first and looked at then, so that nothing is missed in between.
            let mut bell = Box::pin(self.recall.bell.notified());
            bell.as_mut().enable();
            if self.recall.is_over(self.route) {
                return Poll::Ready(Came::Route);
            }
            self.bell = Some(bell);
        }
    }
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// The deadline.
    Deadline,
    /// The end of the route.
    Route,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str) -> Arc<Route> {
        Arc::new(Route::new("", name))
    }

    #[test]
    fn a_route_that_comes_back_does_not_end() {
        let recall = Recall::default();
        let over = || recall.over.lock().unwrap().clone();
        let gone = |names: &[&str]| names.iter().map(|name| route(name)).collect();
        let first = recall.settle(gone(&["a", "b"])).unwrap();
        assert_eq!(recall.settle(gone(&["a", "b"])), None, "settled already");
        // `a` comes back, goes again, and has its whole time then.
        assert_eq!(recall.settle(gone(&["b"])), None);
        let second = recall.settle(gone(&["a", "b"])).unwrap();
        recall.end(first);
        assert_eq!(over(), [route("b")]);
        recall.end(second);
        assert_eq!(over(), [route("b"), route("a")]);
    }
}
