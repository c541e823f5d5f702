//! What the route does with the request.

use std::time::Duration;

use tollgate_config::model::{
    AdaptiveConcurrency, Address, Balance, Breaker, Check, FallbackOn, Hashed, Health, Outlier, Service, Target,
};
use tollgate_core::exchange::Exchange;

use crate::compile::Compiled;
use crate::matcher::Captures;
use crate::table::{Action, Bounds, Fallback, Instead, Mirror, Proxy, RoutePlan};

/// What is done, in words.
#[derive(Debug)]
pub(super) struct Does {
    pub(super) action: Act,
    pub(super) timeout: String,
    pub(super) idle: String,
    pub(super) total: Option<String>,
    pub(super) body: Option<String>,
}

#[derive(Debug)]
pub(super) enum Act {
    Forward(Forward),
    Redirect { status: u16, to: String },
    Reply { status: u16, fields: Vec<(String, String)>, bytes: usize },
    Serve(String),
}

#[derive(Debug)]
pub(super) struct Forward {
    pub(super) services: Vec<ServiceLine>,
    /// What is sent upstream, without the query, which is sent as it came.
    pub(super) path: String,
    /// Where copies go, and which.
    pub(super) mirror: Option<String>,
}

/// A service that may get the request, and what it gets.
#[derive(Debug)]
pub(super) struct ServiceLine {
    pub(super) name: String,
    /// `95%`; `None`: all requests.
    pub(super) share: Option<String>,
    /// How an instance is chosen; `None`: there is only one.
    pub(super) balance: Option<String>,
    pub(super) targets: Vec<String>,
    pub(super) host: String,
    pub(super) retries: u64,
    /// How long each try may wait for the head of an answer.
    pub(super) try_timeout: Option<String>,
    /// How often it is sent a request, if that is bounded.
    pub(super) smooth: Option<String>,
    /// Between which numbers adaptive concurrency moves, if it does.
    pub(super) concurrency: Option<String>,
    /// How its instances are checked.
    pub(super) health: Option<String>,
    /// When one is ejected.
    pub(super) outlier: Option<String>,
    /// When all of it is left alone.
    pub(super) breaker: Option<String>,
    /// When a second attempt is made beside the first.
    pub(super) hedge: Option<String>,
    /// What becomes of requests when all instances fail, if anybody finds out.
    pub(super) when_all_fail: Option<&'static str>,
    /// What takes the place of an answer that cannot be had.
    pub(super) fallback: Option<String>,
}

pub(super) fn does(compiled: &Compiled, route: &RoutePlan, captures: &Captures, x: &Exchange) -> Does {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let action = match &route.action {
        Action::Proxy(proxy) => Act::Forward(forward(proxy, compiled, captures, x)),
        Action::Redirect(redirect) => {
            let mut to = Vec::new();
            redirect.to.write(&x.head, captures, &mut to);
            Act::Redirect { status: redirect.status, to: text(&to) }
        }
        Action::Fixed(fixed) => Act::Reply {
            status: fixed.status,
            fields: fixed.fields.iter().map(|(name, value)| (text(name), text(value))).collect(),
            bytes: fixed.body.len(),
        },
        Action::Serve(handler) => Act::Serve(handler.describe()),
    };
    let Bounds { timeout, idle, total, body, .. } = route.bounds;
    let body = (body != u64::MAX).then(|| size(body));
    Does { action, timeout: period(timeout), idle: period(idle), total: total.map(period), body }
}

fn forward(proxy: &Proxy, compiled: &Compiled, captures: &Captures, x: &Exchange) -> Forward {
    let all = proxy.targets.last().map_or(1, |(_, sum)| *sum).max(1);
    let mut before = 0;
    let mut services = Vec::new();
    for (target, sum) in proxy.targets.iter() {
        let share = (proxy.targets.len() > 1).then(|| percent(sum - before, all));
        before = *sum;
        if let Some((name, service)) = compiled.services.get(target.slot) {
            let fallback = compiled.fallbacks.get(target.slot).and_then(Option::as_ref);
            let fallback = proxy.fallback.or(fallback).map(stand_in);
            services.push(ServiceLine { share, fallback, ..service_line(proxy, name, service, x) });
        }
    }
    let mut path = Vec::new();
    match &proxy.path {
        Some(change) => change.write(x.head.path(), captures, &mut path),
        None => path.extend_from_slice(x.head.path().as_bytes()),
    }
    let mirror = proxy.mirror.as_ref().and_then(|mirror| copies(mirror));
    Forward { services, path: String::from_utf8_lossy(&path).into_owned(), mirror }
}

fn copies(mirror: &Mirror) -> Option<String> {
    let share = match mirror.share {
        10_000 => String::new(),
        share => format!(" {} of the requests,", percent(share.into(), 10_000)),
    };
    let credentials = if mirror.strips_credentials { "without" } else { "with" };
    let body = size(u64::try_from(mirror.body).unwrap_or(u64::MAX));
    let (name, at_once) = (&mirror.service()?.name, mirror.at_once);
    Some(format!("{name}:{share} {credentials} credentials; bodies up to {body}; {at_once} at a time at most"))
}

fn service_line(proxy: &Proxy, name: &str, service: &Service, x: &Exchange) -> ServiceLine {
    let registered = service.registry.iter().map(|from| format!("registry {}", from.value.service.value.0));
    let consul = service.consul.iter().map(|from| format!("consul {}", from.value.service.value.0));
    let kubernetes = service.kubernetes.iter().map(|from| {
        let of = &from.value.service.value;
        format!("kubernetes {}/{}", of.namespace, of.name)
    });
    let others = registered.chain(consul).chain(kubernetes);
    let targets: Vec<String> = service.to.0.iter().map(target).chain(others).collect();
    let balance = match &service.balance {
        // A name may stand for many instances.
        _ if matches!(service.to.0.as_slice(), [Target { address, .. }] if !matches!(address.value, Address::Name { .. } | Address::Srv(_))) => {
            None
        }
        Balance::RoundRobin => Some("in turn".to_owned()),
        Balance::LeastRequests => Some("the one with fewer requests of two picked at random".to_owned()),
        Balance::Latency(_) => Some("the one that answers fastest, of some picked at random".to_owned()),
        Balance::Load(_) => Some("by how busy they say they are".to_owned()),
        Balance::Hash(Hashed { hash, bound: None }) => Some(format!("by a hash of {hash}")),
        Balance::Hash(Hashed { hash, bound: Some(bound) }) => {
            Some(format!("by a hash of {hash}, none with more than {} % of its share", bound.percent))
        }
        Balance::Sticky(sticky) => Some(format!("the one that the cookie {} names", sticky.cookie.0)),
    };
    let host = match (&proxy.host, &service.host) {
        (Some(host), _) => String::from_utf8_lossy(host).into_owned(),
        (None, Some(host)) => host.as_str().to_owned(),
        (None, None) if x.head.host().is_empty() => "the instance's address".to_owned(),
        (None, None) => x.head.host().to_owned(),
    };
    let retries = proxy.retries.map_or(service.retry.retries.get(), u64::from);
    let is_watched = service.health.is_some() || service.outlier.is_some();
    let own_try = service.try_timeout.map(|most| most.0);
    ServiceLine {
        name: name.to_owned(),
        share: None,
        balance,
        targets,
        host,
        retries,
        try_timeout: proxy.try_timeout.or(own_try.as_ref()).copied().map(period),
        smooth: service.smooth.as_ref().map(ToString::to_string),
        concurrency: service.adaptive_concurrency.as_ref().map(concurrency),
        health: service.health.as_ref().map(check),
        outlier: service.outlier.as_ref().map(ejection),
        breaker: service.breaker.as_ref().map(breaking),
        hedge: proxy.hedge.as_ref().map(|hedge| hedge.to_string()),
        when_all_fail: is_watched.then(|| service.when_all_fail.as_ref().map_or("serve", |when| when.value.as_str())),
        fallback: None,
    }
}

/// How many at a time.
fn concurrency(adaptive: &AdaptiveConcurrency) -> String {
    let (min, max) = (adaptive.min.get(), adaptive.max.get());
    let (queue, wait) = (adaptive.queue.get(), period(adaptive.wait.0));
    format!("adaptive, {min} to {max} at a time; {queue} may wait, each at most {wait}")
}

/// A check, as it could be written in the file.
fn check(health: &Health) -> String {
    let what = match health.check {
        Check::Http => {
            let method = health.method.as_ref().map_or("GET", |method| method.value.as_str());
            format!("{method} {}", health.path.as_ref().map_or("/", |path| path.value.as_str()))
        }
        Check::Tcp => "tcp".to_owned(),
        Check::Grpc => "grpc".to_owned(),
    };
    let port = health.port.as_ref().map_or_else(String::new, |port| format!(" on port {}", port.value.get()));
    format!("{what}{port} every {}", period(health.interval.value.0))
}

/// When an instance is ejected.
fn ejection(outlier: &Outlier) -> String {
    let in_a_row = match outlier.consecutive.value.get() {
        0 => None,
        1 => Some("one failure".to_owned()),
        many => Some(format!("{many} failures in a row")),
    };
    let share = outlier.errors.as_ref().map(|errors| {
        let share = percent(errors.share.hundredths().into(), 10_000);
        format!("{share} failures of at least {} requests within {}", errors.of.get(), period(errors.within.0))
    });
    let rate = outlier.success_rate.as_ref().map(|own| {
        format!(
            "a success rate {} deviations below the mean of {} instances or more",
            own.deviations.get(),
            own.instances.get()
        )
    });
    let slow = outlier.latency.as_ref().map(|own| format!("answers {} times as slow as the others'", own.factor.get()));
    let when: Vec<String> = in_a_row.into_iter().chain(share).chain(rate).chain(slow).collect();
    format!("after {}, for {}", when.join(" or "), period(outlier.eject_for.value.0))
}

/// When a service is left alone.
fn breaking(breaker: &Breaker) -> String {
    let in_a_row = match breaker.consecutive.get() {
        0 => None,
        many => Some(format!("{many} failures in a row")),
    };
    let share = breaker.failures.as_ref().map(|failures| {
        let share = percent(failures.share.hundredths().into(), 10_000);
        format!("{share} failures of at least {} attempts within {}", failures.of.get(), period(failures.within.0))
    });
    let when: Vec<String> = in_a_row.into_iter().chain(share).collect();
    let (open, trials) = (period(breaker.open.value.0), breaker.trials.get());
    format!("after {}, for {open}; closed after {trials} requests that go well", when.join(" or "))
}

fn stand_in(fallback: &Fallback) -> String {
    let instead = match &fallback.instead {
        Instead::Service(service) => service.name.to_string(),
        Instead::Fixed(fixed) => format!("{} with a body of {} bytes", fixed.status, fixed.body.len()),
    };
    if *fallback.on == FallbackOn::USUAL {
        return instead;
    }
    let on: Vec<String> = fallback.on.iter().map(ToString::to_string).collect();
    format!("{instead} on {}", on.join(", "))
}

fn target(target: &Target) -> String {
    match target.weight.get() {
        1 => target.address.value.to_string(),
        weight => format!("{} weight {weight}", target.address.value),
    }
}

/// A share in percent, with as many decimals as it needs, two at most.
fn percent(part: u32, all: u32) -> String {
    let (part, all) = (u64::from(part), u64::from(all));
    let hundredths = (part * 10_000 + all / 2) / all;
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A span of time as it could be written in the file.
fn period(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match (seconds, nanos) {
        (0, _) if nanos % 1_000_000 != 0 => format!("{}us", duration.as_micros()),
        (_, 1..) => format!("{}ms", duration.as_millis()),
        _ if seconds >= 3600 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        _ if seconds >= 120 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// A size as it could be written in the file.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 6] =
        [(1 << 30, "GiB"), (1_000_000_000, "GB"), (1 << 20, "MiB"), (1_000_000, "MB"), (1 << 10, "KiB"), (1000, "kB")];
    let fits = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_they_are_written_in_the_file() {
        assert_eq!([percent(9500, 10_000), percent(1, 3), percent(1, 200)], ["95%", "33.33%", "0.5%"]);
        let periods = [250, 1000, 1500, 90_000, 300_000, 3_600_000].map(|ms| period(Duration::from_millis(ms)));
        assert_eq!(periods, ["250ms", "1s", "1500ms", "90s", "5m", "1h"]);
        assert_eq!([size(10_000_000), size(65_536), size(0), size(7)], ["10MB", "64KiB", "0 bytes", "7 bytes"]);
    }
}
