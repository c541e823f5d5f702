//! Instances whose zone and group are known from where they are named.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::merged::replace;
use crate::{Source, View};

/// The endpoints of another source, all in one zone and group.
#[derive(Debug)]
pub struct Placed {
    view: watch::Receiver<Arc<View>>,
    /// Held because the views come from it.
    _source: Arc<dyn Source>,
    task: AbortHandle,
}

impl Placed {
    /// Follows the source with a small task on `runtime` until it is dropped.
    pub fn new(source: Arc<dyn Source>, zone: Option<Arc<str>>, group: u8, runtime: &Handle) -> Self {
        let mut own = source.watch();
        let placed = move |view: &View| {
            let mut view = view.clone();
            for endpoint in &mut view.endpoints {
                (endpoint.zone, endpoint.group) = (zone.clone(), group);
            }
            view
        };
        let (sender, view) = watch::channel(Arc::new(placed(&own.borrow_and_update())));
        let following = async move {
            while own.changed().await.is_ok() {
                let view = placed(&own.borrow_and_update());
                sender.send_if_modified(|shown| replace(shown, view));
            }
        };
        Self { view, task: runtime.spawn(following).abort_handle(), _source: source }
    }
}

impl Source for Placed {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::Endpoint;

    #[derive(Debug)]
    struct ByHand(watch::Sender<Arc<View>>);

    impl Source for ByHand {
        fn watch(&self) -> watch::Receiver<Arc<View>> {
            self.0.subscribe()
        }
    }

    #[tokio::test]
    async fn endpoints_that_come_later_are_placed_too() {
        let by_hand = Arc::new(ByHand(watch::Sender::new(Arc::new(View::pending()))));
        let placed = Placed::new(by_hand.clone(), Some("a".into()), 2, &Handle::current());
        let mut views = placed.watch();
        by_hand.0.send_replace(Arc::new(View::fresh([Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 80)), 1)])));
        views.changed().await.unwrap();
        let view = views.borrow().clone();
        assert_eq!((view.endpoints[0].zone.as_deref(), view.endpoints[0].group), (Some("a"), 2));
    }
}
