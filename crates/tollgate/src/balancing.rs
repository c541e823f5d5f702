//! How a service's requests are spread over its instances: from the config to there.

use std::path::Path;
use std::sync::Arc;

use tollgate_config::model::{self, Balance, Config, First, LoadOf, Zone};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::text::FromText;
use tollgate_engine::{Forward, StickyCookie};
use tollgate_identity::{private_file, session};
use tollgate_upstream::balance::Algorithm;
use tollgate_upstream::balance::orca::{Of, Reporting};
use tollgate_upstream::{Balancing, Sticky};

/// The zone of the gateway, where the config does not say it.
const ZONE: &str = "TOLLGATE_ZONE";
/// The key of cookies by which clients stay with an instance, in the folder of the gateway.
const STICKY: &str = "sticky.secret";
/// Most bytes of it.
const MOST_STICKY: u64 = 1024;

/// The zone that the gateway runs in: the config's, else the environment's.
///
/// # Errors
/// What stands in the environment is no zone.
pub(crate) fn zone(config: &Config) -> Result<Option<Arc<str>>, Diagnostic> {
    if let Some(zone) = &config.zone {
        return Ok(Some(Arc::clone(&zone.0)));
    }
    let told = std::env::var(ZONE).ok().filter(|told| !told.is_empty());
    let zone = told.map(|told| Zone::from_text(&told)).transpose();
    Ok(zone.map_err(|mistake| mistake.hint(format!("it is in the environment as {ZONE}")))?.map(|zone| zone.0))
}

/// All that is said of a service's balancing.
///
/// # Errors
/// The key of cookies can be neither read nor made.
pub(crate) fn balancing(
    service: &model::Service,
    zone: Option<&Arc<str>>,
    data: &Path,
) -> Result<Balancing, Diagnostic> {
    let sticky = match &service.balance {
        Balance::Sticky(sticky) => Some(signed(sticky, data)?),
        _ => None,
    };
    Ok(Balancing { sticky, ..unsigned(service, zone) })
}

/// The same without cookies: for who only looks at a config.
pub(crate) fn unsigned(service: &model::Service, zone: Option<&Arc<str>>) -> Balancing {
    Balancing {
        algorithm: algorithm(&service.balance),
        sticky: None,
        slow_start: service.slow_start.as_ref().map(|time| time.value.0),
        panic: service.panic.as_ref().map_or(0, |panic| panic.value.hundredths().into()),
        zone: zone.cloned(),
    }
}

fn algorithm(balance: &Balance) -> Algorithm {
    match balance {
        Balance::RoundRobin => Algorithm::RoundRobin,
        Balance::LeastRequests => Algorithm::LeastRequests,
        Balance::Latency(latency) => Algorithm::Latency { decay: latency.decay.0 },
        Balance::Load(load) => {
            let of = match &load.of {
                None => Of::Busiest,
                Some(LoadOf::Cpu) => Of::Cpu,
                Some(LoadOf::Memory) => Of::Memory,
                Some(LoadOf::Application) => Of::Application,
                Some(LoadOf::Named(name)) => Of::Named(Arc::clone(name)),
            };
            Algorithm::Load(Reporting { of, after: load.after.0, expires: load.expires.0 })
        }
        Balance::Hash(hashed) => Algorithm::ConsistentHash { bound: hashed.bound.map(|bound| bound.percent) },
        Balance::Sticky(sticky) => match sticky.first {
            First::RoundRobin => Algorithm::RoundRobin,
            First::LeastRequests => Algorithm::LeastRequests,
            First::Latency => Algorithm::Latency { decay: tollgate_upstream::balance::DECAY },
        },
    }
}

/// What signs cookies: the keys that are written, or the one of the folder, made if it is not there.
fn signed(sticky: &model::Sticky, data: &Path) -> Result<Sticky, Diagnostic> {
    let made = match &sticky.key {
        Some(keys) => Sticky::new(keys.value.iter().map(|key| key.0.as_bytes())),
        None => {
            let made = private_file::read_or_make(&data.join(STICKY), MOST_STICKY);
            let made = made.map_err(|error| Diagnostic::error(error.message).hint(error.hint))?;
            Sticky::new([made.trim_ascii()])
        }
    };
    made.ok_or_else(|| Diagnostic::error("the key of cookies is too short").hint("32 bytes or more"))
}

/// What is hashed.
pub(crate) fn hash(balance: &Balance) -> Option<model::HashKey> {
    match balance {
        Balance::Hash(hashed) => Some(hashed.hash.clone()),
        _ => None,
    }
}

/// The cookie by which clients stay.
pub(crate) fn cookie(balance: &Balance) -> Option<StickyCookie> {
    match balance {
        Balance::Sticky(sticky) => {
            let name = sticky.cookie.0.clone();
            let secure_name = session::cookie_name(&name, true);
            Some(StickyCookie { name, secure_name, max_age: sticky.max_age.map(|most| most.0) })
        }
        _ => None,
    }
}

/// Whether clients get what instances report.
pub(crate) fn reports(balance: &Balance) -> Forward {
    match balance {
        Balance::Load(load) if load.keep => Forward::Kept,
        _ => Forward::Taken,
    }
}
