//! One host name and the task that keeps its addresses up to date.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tollgate_core::clock::Clock;
use tollgate_observe::Metrics;

use super::Dns;
use super::lookup::{Answer, Lookup, LookupError};
use crate::backoff::{Backoff, spread};
use crate::merged::replace;
use crate::{Endpoint, State, View};

/// What is known of a name, shown through an outlet for each port and weight that services use it with.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    clock: Clock,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Known {
    /// What instances are told to be found by.
    host: Arc<str>,
    addresses: Vec<IpAddr>,
    state: State,
    outlets: Vec<Outlet>,
}

#[derive(Debug)]
struct Outlet {
    port: u16,
    weight: u32,
    view: watch::Sender<Arc<View>>,
}

impl Name {
    /// Begins to look the name up, until it is dropped. `addresses`: what it has until then.
    /// A name that ends with a dot is whole: no search list is applied.
    pub(super) fn start(dns: &Dns, asked: &str, addresses: Vec<IpAddr>) -> Arc<Self> {
        let host = asked.trim_end_matches('.');
        let known = Known { host: host.into(), addresses, state: State::Pending, outlets: Vec::new() };
        let name = Arc::new(Self {
            host: host.to_owned(),
            clock: dns.clock.clone(),
            metrics: dns.metrics.clone(),
            known: Mutex::new(known),
            task: Mutex::default(),
        });
        name.metrics.names().begin(host);
        let following = follow(Arc::downgrade(&name), dns.lookup.clone(), asked.to_owned());
        let task = dns.runtime.spawn(following).abort_handle();
        *name.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        name
    }

    /// The addresses with a port and a weight, now and later.
    pub(super) fn outlet(&self, port: u16, weight: u32) -> watch::Receiver<Arc<View>> {
        let mut known = self.known();
        let (view, receiver) = watch::channel(Arc::new(known.view(port, weight)));
        known.outlets.push(Outlet { port, weight, view });
        receiver
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.known().addresses.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in how a look-up ended, shows it and says when to look again.
    fn learn(&self, looked: Result<Answer, LookupError>, failures: &mut Backoff) -> Duration {
        self.metrics.names().asked(&self.host, looked.is_ok());
        let mut known = self.known();
        let wait = match looked {
            Ok(answer) => {
                known.refresh(&self.host, answer.addresses);
                failures.succeeded();
                answer.ttl
            }
            Err(error) => {
                known.fail(&self.host, &error, &self.clock);
                failures.failed()
            }
        };
        known.show();
        // Names whose times to live end together are not all asked for at once.
        spread(wait)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
        self.metrics.names().end(&self.host);
    }
}

/// Looks up, tells, waits; until nobody is left to be told.
async fn follow(name: Weak<Name>, lookup: Arc<Lookup>, asked: String) {
    let mut failures = Backoff::default();
    loop {
        let looked = lookup.addresses(&asked).await;
        let Some(name) = name.upgrade() else { return };
        let wait = name.learn(looked, &mut failures);
        drop(name);
        tokio::time::sleep(wait).await;
    }
}

impl Known {
    fn refresh(&mut self, host: &str, addresses: Vec<IpAddr>) {
        if matches!(self.state, State::Stale { .. }) {
            tracing::info!(host, "the name is found again");
        }
        if !self.addresses.is_empty() && self.addresses != addresses {
            tracing::info!(host, ?addresses, "the name has other addresses");
        }
        self.addresses = addresses;
        self.state = State::Fresh;
    }

    fn fail(&mut self, host: &str, error: &LookupError, clock: &Clock) {
        // The first failure says it; the ones that follow it are told by the metrics.
        let since = match &self.state {
            State::Stale { since, .. } => *since,
            State::Pending | State::Fresh | State::Lapsed { .. } => {
                match self.addresses.len() {
                    0 => tracing::warn!(host, %error, "look-up failed: no address is known; it is tried again"),
                    kept => tracing::warn!(host, %error, kept, "look-up failed, the last answer is kept"),
                }
                clock.unix()
            }
        };
        self.state = State::Stale { since, error: format!("{host}: {error}") };
    }

    fn view(&self, port: u16, weight: u32) -> View {
        let endpoint = |ip: &IpAddr| {
            let host = Some(Arc::clone(&self.host));
            Endpoint { host, ..Endpoint::new(SocketAddr::new(*ip, port), weight) }
        };
        View { state: self.state.clone(), ..View::fresh(self.addresses.iter().map(endpoint)) }
    }

    fn show(&mut self) {
        self.outlets.retain(|outlet| outlet.view.receiver_count() > 0);
        for outlet in &self.outlets {
            let view = self.view(outlet.port, outlet.weight);
            outlet.view.send_if_modified(|shown| replace(shown, view));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name {
            host: "orders.internal".into(),
            clock: Clock::fake(std::time::SystemTime::UNIX_EPOCH),
            metrics: Metrics::new(1),
            known: Mutex::new(Known {
                host: "orders.internal".into(),
                addresses: Vec::new(),
                state: State::Pending,
                outlets: Vec::new(),
            }),
            task: Mutex::default(),
        }
    }

    fn answer(last: u8) -> Result<Answer, LookupError> {
        Ok(Answer { addresses: vec![[10, 0, 0, last].into()], ttl: Duration::from_secs(20) })
    }

    #[test]
    fn a_failed_look_up_keeps_the_answer_and_the_time_of_the_first_failure() {
        let (name, mut failures) = (name(), Backoff::default());
        let view = name.outlet(8080, 3);
        name.learn(answer(1), &mut failures);
        name.learn(Err(LookupError::test("timed out")), &mut failures);
        name.clock.advance(Duration::from_secs(60));
        name.learn(Err(LookupError::test("refused")), &mut failures);
        let now = view.borrow().clone();
        let host = Some("orders.internal".into());
        assert_eq!(
            now.endpoints,
            [Endpoint { host, ..Endpoint::new("10.0.0.1:8080".parse::<SocketAddr>().unwrap(), 3) }]
        );
        let since = std::time::SystemTime::UNIX_EPOCH;
        assert_eq!(now.state, State::Stale { since, error: "orders.internal: refused".into() });
        name.learn(answer(2), &mut failures);
        assert_eq!(view.borrow().state, State::Fresh);
        assert_eq!(failures.failed(), Duration::from_secs(1), "it begins anew");
    }

    #[test]
    fn waits_follow_the_time_to_live_and_grow_with_failures() {
        let (name, mut failures) = (name(), Backoff::default());
        let within = |wait: Duration, seconds: u64| {
            assert!((seconds as f64..seconds as f64 * 1.1).contains(&wait.as_secs_f64()), "{wait:?}, not {seconds} s");
        };
        within(name.learn(answer(1), &mut failures), 20);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            within(name.learn(Err(LookupError::test("no")), &mut failures), seconds);
        }
        within(name.learn(answer(1), &mut failures), 20);
    }

    #[test]
    fn an_answer_that_did_not_change_wakes_nobody() {
        let (name, mut failures) = (name(), Backoff::default());
        let mut view = name.outlet(80, 1);
        name.learn(answer(1), &mut failures);
        view.mark_unchanged();
        name.learn(answer(1), &mut failures);
        assert!(!view.has_changed().unwrap());
    }

    #[test]
    fn outlets_nobody_looks_through_are_closed() {
        let (name, mut failures) = (name(), Backoff::default());
        drop(name.outlet(80, 1));
        name.learn(answer(1), &mut failures);
        assert!(name.known().outlets.is_empty());
    }
}
