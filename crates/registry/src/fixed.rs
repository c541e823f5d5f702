//! Addresses that the configuration itself names. They never change; a new configuration makes a new source.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Endpoint, Source, View};

/// A list of addresses as it stands.
#[derive(Debug)]
pub struct Fixed(watch::Sender<Arc<View>>);

impl Fixed {
    /// A source that shows these endpoints for ever.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self(watch::Sender::new(Arc::new(View::fresh(endpoints))))
    }
}

impl Source for Fixed {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::facts::Address;

    use super::*;
    use crate::State;

    fn endpoint(address: &str, weight: u32) -> Endpoint {
        Endpoint::new(address.parse::<Address>().unwrap(), weight)
    }

    #[test]
    fn addresses_are_shown_at_once_in_order_each_once() {
        let named = [endpoint("10.0.0.2:80", 1), endpoint("10.0.0.1:80", 3), endpoint("10.0.0.2:80", 2)];
        let view = Fixed::new(named).watch().borrow().clone();
        assert_eq!(view.endpoints, [endpoint("10.0.0.1:80", 3), endpoint("10.0.0.2:80", 3)]);
        assert_eq!(view.state, State::Fresh);
    }
}
