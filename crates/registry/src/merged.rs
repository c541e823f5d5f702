//! Several sources as one: the entries of a list that names addresses and hosts.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::{Source, State, View};

/// The endpoints of all its sources together.
#[derive(Debug)]
pub struct Merged {
    view: watch::Receiver<Arc<View>>,
    /// Held because the views come from them.
    _sources: Vec<Arc<dyn Source>>,
    tasks: Vec<AbortHandle>,
}

impl Merged {
    /// Follows the sources with one small task each on `runtime` until it is dropped.
    pub fn new(sources: Vec<Arc<dyn Source>>, runtime: &Handle) -> Self {
        let views: Arc<[_]> = sources.iter().map(|source| source.watch()).collect();
        let (sender, view) = watch::channel(Arc::new(merge(&now(&views))));
        let sender = Arc::new(sender);
        let follow = |own: &watch::Receiver<Arc<View>>| {
            let (mut own, views, sender) = (own.clone(), views.clone(), sender.clone());
            let following = async move {
                while own.changed().await.is_ok() {
                    // Merged under the sender's lock: an older picture never replaces a newer one.
                    sender.send_if_modified(|shown| replace(shown, merge(&now(&views))));
                }
            };
            runtime.spawn(following).abort_handle()
        };
        Self { view, tasks: views.iter().map(follow).collect(), _sources: sources }
    }
}

impl Source for Merged {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Shows another view if it is another one; says whether it is.
pub(crate) fn replace(shown: &mut Arc<View>, view: View) -> bool {
    let other = **shown != view;
    if other {
        *shown = Arc::new(view);
    }
    other
}

fn now(views: &[watch::Receiver<Arc<View>>]) -> Vec<Arc<View>> {
    views.iter().map(|view| view.borrow().clone()).collect()
}

/// All endpoints; lapsed or stale if one of the views is, and pending as long as that may bring the first endpoints.
pub(crate) fn merge(views: &[Arc<View>]) -> View {
    let mut merged = View::fresh(views.iter().flat_map(|view| view.endpoints.iter().cloned()));
    let troubles = views.iter().filter_map(|view| match &view.state {
        State::Stale { since, error } => Some((false, *since, error.clone())),
        State::Lapsed { since, error } => Some((true, *since, error.clone())),
        State::Pending | State::Fresh => None,
    });
    let worst = troubles
        .reduce(|(lapsed, a, errors), (also, b, error)| (lapsed || also, a.min(b), format!("{errors}; {error}")));
    let may_begin = merged.endpoints.is_empty() && views.iter().any(|view| view.state == State::Pending);
    merged.state = match worst {
        Some((true, since, error)) => State::Lapsed { since, error },
        _ if may_begin => State::Pending,
        Some((false, since, error)) => State::Stale { since, error },
        None => State::Fresh,
    };
    merged
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tollgate_core::facts::Address;

    use super::*;
    use crate::Endpoint;

    #[derive(Debug)]
    struct ByHand(watch::Sender<Arc<View>>);

    impl Source for ByHand {
        fn watch(&self) -> watch::Receiver<Arc<View>> {
            self.0.subscribe()
        }
    }

    fn endpoint(address: &str) -> Endpoint {
        Endpoint::new(address.parse::<Address>().unwrap(), 1)
    }

    fn by_hand() -> Arc<ByHand> {
        Arc::new(ByHand(watch::Sender::new(Arc::new(View::pending()))))
    }

    #[tokio::test]
    async fn changes_of_every_source_arrive() {
        let (a, b) = (by_hand(), by_hand());
        let merged = Merged::new(vec![a.clone(), b.clone()], &Handle::current());
        let mut watched = merged.watch();
        assert_eq!(watched.borrow_and_update().state, State::Pending);
        a.0.send_replace(Arc::new(View::fresh([endpoint("10.0.0.2:80")])));
        watched.changed().await.unwrap();
        assert_eq!(watched.borrow_and_update().endpoints, [endpoint("10.0.0.2:80")]);
        b.0.send_replace(Arc::new(View::fresh([endpoint("10.0.0.1:80")])));
        watched.changed().await.unwrap();
        assert_eq!(watched.borrow_and_update().endpoints, [endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80")]);
    }

    #[tokio::test]
    async fn one_stale_source_shows_and_the_oldest_failure_counts() {
        let (a, b) = (by_hand(), by_hand());
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (source, since, error) in [(&a, at(20), "a is gone"), (&b, at(10), "b is gone")] {
            let state = State::Stale { since, error: error.into() };
            source.0.send_replace(Arc::new(View { endpoints: vec![endpoint("10.0.0.1:80")], state }));
        }
        let merged = Merged::new(vec![a, b], &Handle::current());
        let state = merged.watch().borrow().state.clone();
        assert_eq!(state, State::Stale { since: at(10), error: "a is gone; b is gone".into() });
    }
}
