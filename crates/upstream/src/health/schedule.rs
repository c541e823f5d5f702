//! When an instance is checked, and what follows of how its checks end.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tollgate_core::facts::Address;
use tollgate_observe::metrics::Checked;

use super::Health;
use crate::instance::Instance;
use crate::service::Service;

/// Checks an instance again and again, for as long as it and its service exist.
pub(super) async fn run(service: Weak<Service>, instance: Weak<Instance>) {
    let mut score = Score::default();
    let mut pause = first_pause(&service);
    loop {
        sleep(pause).await;
        let (Some(service), Some(instance)) = (service.upgrade(), instance.upgrade()) else { return };
        let Some(health) = &service.shared.settings.watch.health else { return };
        let asked = at_port(&instance.address, health.port);
        let result = match timeout(health.timeout, service.ask(health, &asked, instance.host.as_deref())).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", health.timeout)),
        };
        note(&service, &instance, score.count(health, result.is_ok()), result);
        pause = spread(health, fastrand::f64());
    }
}

/// Where an instance is asked.
fn at_port(address: &Address, port: Option<u16>) -> Address {
    match (address, port) {
        (Address::Socket(address), Some(port)) => Address::Socket(SocketAddr::new(address.ip(), port)),
        _ => address.clone(),
    }
}

/// Soon, but not all at the same moment.
fn first_pause(service: &Weak<Service>) -> Duration {
    let service = service.upgrade();
    let health = service.as_ref().and_then(|service| service.shared.settings.watch.health.as_ref());
    health.map_or(Duration::ZERO, |health| health.interval.mul_f64(health.jitter * fastrand::f64()))
}

/// The interval, made shorter or longer; `random` is 0 to 1.
fn spread(health: &Health, random: f64) -> Duration {
    health.interval.mul_f64((1.0 + health.jitter * (2.0 * random - 1.0)).max(0.0))
}

/// Publishes what a check says.
fn note(service: &Service, instance: &Arc<Instance>, change: Option<Change>, result: Result<(), String>) {
    let metrics = service.metrics().watch();
    metrics.checked(if result.is_ok() { Checked::Ok } else { Checked::Failed });
    let (name, address) = (service.name(), &instance.address);
    match (change, &result) {
        (Some(Change::Healthy(Before::Unhealthy)), _) => {
            instance.learnt.starts(service.since_began(service.clock.now()));
            instance.stands.is_well();
            tracing::info!(service = %name, instance = %address, "an instance is healthy again");
        }
        (Some(Change::Healthy(Before::Unknown)), _) => instance.stands.is_well(),
        (Some(Change::Unhealthy), Err(why)) => {
            instance.stands.is_ill();
            tracing::warn!(service = %name, instance = %address, %why, "an instance is unhealthy");
        }
        _ => {}
    }
    instance.stands.because(result.err());
    if change.is_some() {
        service.standing_changed();
    }
}

/// How an instance stands by its checks, and what speaks for another opinion.
#[derive(Debug, Default)]
struct Score {
    opinion: Opinion,
    /// Checks in a row that ended the same way.
    in_a_row: u32,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opinion {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Well,
    Ill,
}

/// Another opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Healthy(Before),
    Unhealthy,
}

/// Which was the opinion before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Unknown,
    Unhealthy,
}

impl Score {
    /// Counts a check. Of an instance of which nothing is known, one success is enough.
    fn count(&mut self, health: &Health, is_well: bool) -> Option<Change> {
        let now = if is_well { Last::Well } else { Last::Ill };
        self.in_a_row = if self.last == Some(now) { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(now);
        let change = match (now, self.opinion) {
            (Last::Well, Opinion::Unknown) => Change::Healthy(Before::Unknown),
            (Last::Well, Opinion::Unhealthy) if self.in_a_row >= health.healthy => Change::Healthy(Before::Unhealthy),
            (Last::Ill, Opinion::Unknown | Opinion::Healthy) if self.in_a_row >= health.unhealthy => Change::Unhealthy,
            _ => return None,
        };
        self.opinion = match change {
            Change::Healthy(_) => Opinion::Healthy,
            Change::Unhealthy => Opinion::Unhealthy,
        };
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Check;

    fn health() -> Health {
        Health {
            check: Check::Tcp,
            port: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
            jitter: 0.1,
            runtime: tokio::runtime::Handle::current(),
        }
    }

    #[tokio::test]
    async fn opinions_change_by_their_thresholds() {
        let (health, mut score) = (health(), Score::default());
        let mut told = Vec::new();
        for check in "+--+---+-++-".chars() {
            told.push(score.count(&health, check == '+'));
        }
        let (healthy, again) = (Some(Change::Healthy(Before::Unknown)), Some(Change::Healthy(Before::Unhealthy)));
        let ill = Some(Change::Unhealthy);
        assert_eq!(told, [healthy, None, None, None, None, None, ill, None, None, None, again, None]);
    }

    #[tokio::test]
    async fn an_unknown_instance_is_given_all_its_failures() {
        let (health, mut score) = (health(), Score::default());
        let told: Vec<_> = (0..4).map(|_| score.count(&health, false)).collect();
        assert_eq!(told, [None, None, Some(Change::Unhealthy), None]);
    }

    #[tokio::test]
    async fn jitter_spreads_both_ways() {
        let health = health();
        let seconds = [0.0, 0.5, 1.0].map(|random| spread(&health, random).as_secs_f64());
        assert!(
            (seconds[0] - 9.0).abs() < 1e-6 && (seconds[1] - 10.0).abs() < 1e-6 && (seconds[2] - 11.0).abs() < 1e-6
        );
    }
}
