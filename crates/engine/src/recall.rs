//! Routes of a plan that the plans after it have no more: what is on its way there ends once it had its time.

use std::collections::HashSet;
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
    /// Those whose end is settled.
    due: Mutex<HashSet<Arc<Route>>>,
    /// Those that have come to it.
    over: Mutex<Vec<Arc<Route>>>,
    bell: Notify,
}

impl Recall {
    /// Of these routes, those whose end was not settled yet; it is from now on.
    pub(crate) fn settle(&self, routes: Vec<Arc<Route>>) -> Vec<Arc<Route>> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        routes.into_iter().filter(|route| due.insert(Arc::clone(route))).collect()
    }

    /// What is on its way on these ends now.
    pub(crate) fn end(&self, routes: Vec<Arc<Route>>) {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).extend(routes);
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
