//! How a service's instances are watched: from the file's words to what `upstream` works with.

use std::ops::RangeInclusive;

use bytes::Bytes;
use tokio::runtime::Handle;
use tollgate_config::model;
use tollgate_upstream::health::{Check, GrpcCheck, Health, HttpCheck};
use tollgate_upstream::outlier::{ErrorShare, Latency, Outlier, SuccessRate};
use tollgate_upstream::{Watch, WhenAllFail, breaker};

/// What the file says of a service; its checks run on `slow`.
pub(crate) fn watch(service: &model::Service, slow: &Handle) -> Watch {
    Watch {
        health: service.health.as_ref().map(|written| health(written, service, slow)),
        outlier: service.outlier.as_ref().map(outlier),
        when_all_fail: match service.when_all_fail.as_ref().map(|when| when.value) {
            None | Some(model::WhenAllFail::Serve) => WhenAllFail::Serve,
            Some(model::WhenAllFail::Refuse) => WhenAllFail::Refuse,
        },
    }
}

fn health(written: &model::Health, service: &model::Service, slow: &Handle) -> Health {
    let host = written.host.as_ref().map(|host| &host.value).or(service.host.as_ref());
    let host = host.map(|host| host.as_str().to_owned());
    let check = match written.check {
        model::Check::Tcp => Check::Tcp,
        model::Check::Http => Check::Http(HttpCheck {
            method: written.method.as_ref().map_or("GET", |method| method.value.as_str()).to_owned(),
            path: written.path.as_ref().map_or("/", |path| path.value.as_str()).to_owned(),
            host,
            statuses: written.status.as_ref().map_or_else(|| vec![200..=399], |written| ranges(&written.value)),
            body: written.body.as_ref().map(|body| Bytes::copy_from_slice(body.value.as_bytes())),
        }),
        model::Check::Grpc => {
            let service = written.service.as_ref().map_or_else(String::new, |service| service.value.clone());
            Check::Grpc(GrpcCheck { service, host })
        }
    };
    Health {
        check,
        port: written.port.as_ref().and_then(|port| u16::try_from(port.value.get()).ok()),
        interval: written.interval.value.0,
        timeout: written.timeout.0,
        healthy: number(written.healthy.get()),
        unhealthy: number(written.unhealthy.get()),
        jitter: written.jitter.fraction(),
        runtime: slow.clone(),
    }
}

fn outlier(written: &model::Outlier) -> Outlier {
    Outlier {
        consecutive: number(written.consecutive.value.get()),
        errors: written.errors.as_ref().map(share),
        success_rate: written.success_rate.as_ref().map(|own| SuccessRate {
            deviations: own.deviations.get(),
            instances: number(own.instances.get()),
            of: number(own.of.get()),
            within: own.within.0,
        }),
        latency: written.latency.as_ref().map(|own| Latency {
            factor: own.factor.get(),
            least: own.least.0,
            instances: number(own.instances.get()),
            of: number(own.of.get()),
            within: own.within.0,
        }),
        statuses: failures(&written.status),
        eject_for: written.eject_for.value.0,
        longest: written.longest.0,
        jitter: written.jitter.fraction(),
        ceiling: written.ceiling.value.hundredths().into(),
    }
}

/// When all of a service is left alone.
pub(crate) fn breaker(written: &model::Breaker) -> breaker::Settings {
    breaker::Settings {
        failures: written.failures.as_ref().map(share),
        consecutive: number(written.consecutive.get()),
        open: written.open.value.0,
        longest: written.longest.0,
        trials: number(written.trials.get()),
        statuses: failures(&written.status),
        slow: written.slow.map(|slow| slow.0),
    }
}

fn share(written: &model::ErrorShare) -> ErrorShare {
    ErrorShare { share: written.share.hundredths().into(), of: number(written.of.get()), within: written.within.0 }
}

fn ranges(written: &[model::StatusRange]) -> Vec<RangeInclusive<u16>> {
    written.iter().map(|range| range.from..=range.to).collect()
}

fn failures(written: &[model::FailureStatus]) -> Vec<RangeInclusive<u16>> {
    written.iter().map(|model::FailureStatus(range)| range.from..=range.to).collect()
}

fn number(bounded: u64) -> u32 {
    u32::try_from(bounded).unwrap_or(u32::MAX)
}
