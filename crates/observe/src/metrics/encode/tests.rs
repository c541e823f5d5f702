//! Both forms of the exposition, read back by a small strict reader.

use std::collections::HashSet;
use std::time::Duration;

use tollgate_core::facts::Route;

use super::*;
use crate::metrics::{Closed, Outcome};

fn busy() -> Arc<Metrics> {
    let metrics = Metrics::new(2);
    (0..2).for_each(|worker| metrics.worker(worker).seated());
    metrics.route(&Arc::new(Route::new("shop", "idle")));
    for worker in 0..2 {
        let route = metrics.route(&Arc::new(Route::new("shop", "orders \"new\"\nline\\")));
        route.shard(worker).begin();
        route.shard(worker).begin();
        route.shard(worker).finish(200, Duration::from_millis(3), 100, 2000);
        let service = metrics.service("orders");
        service.shard(worker).connected();
        service.shard(worker).rested();
        service.shard(worker).attempt(Outcome::Ok);
        metrics.worker(worker).accepted();
        metrics.worker(worker).problem(&"shop".into(), "route/none");
    }
    metrics.worker(0).closed(Closed::Idle);
    metrics.worker(1).handshake("ok");
    metrics.tls().renewed("listener 443");
    metrics.tls().failed("service orders");
    metrics.tls().expires("shop.pem", std::time::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    metrics.names().asked("orders.internal", false);
    metrics.sources().asked("consul orders", false);
    metrics.registry().vouched(7, Duration::from_secs(1));
    metrics.registry().instances("orders", 2, 1);
    metrics.config_applied(3, Duration::from_millis(1_700_000_000_250));
    metrics
}

/// Splits a sample into name, labels and value, undoing the escapes; panics where the form is broken.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let name_end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, tail) = rest.split_once("=\"").unwrap();
            let (mut value, mut end, mut chars) = (String::new(), None, tail.char_indices());
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = Some(at + 1);
                        break;
                    }
                    '\\' => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        other => other,
                    }),
                    c => value.push(c),
                }
            }
            labels.push((key.trim_start_matches(',').to_owned(), value));
            rest = &tail[end.unwrap()..];
        }
        rest = &rest[1..];
    }
    (name.to_owned(), labels, rest.trim_start().parse().unwrap())
}

fn value(page: &str, name: &str, label: &str) -> Option<f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#')).map(sample);
    let mut found =
        samples.filter(|(n, labels, _)| n == name && (label.is_empty() || labels.iter().any(|l| l.1 == label)));
    found.next().map(|(_, _, value)| value)
}

#[test]
fn both_forms_hold_the_same_samples_once() {
    let metrics = busy();
    let samples = |format| {
        let page = metrics.encode(format);
        let own = page.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
        let own: Vec<String> = own.map(str::to_owned).collect();
        let keys: HashSet<_> = own.iter().map(|line| format!("{:?}", (sample(line).0, sample(line).1))).collect();
        assert_eq!(keys.len(), own.len(), "a series twice");
        own
    };
    assert_eq!(samples(Format::Text), samples(Format::OpenMetrics));
}

#[test]
fn sums_arrive_under_their_names() {
    let page = busy().encode(Format::Text);
    let route = "orders \"new\"\nline\\";
    for (name, label, expected) in [
        ("tollgate_requests_total", "2xx", 2.0),
        ("tollgate_requests_in_flight", route, 2.0),
        ("tollgate_received_bytes_total", route, 200.0),
        ("tollgate_sent_bytes_total", route, 4000.0),
        ("tollgate_request_duration_seconds_sum", route, 0.006),
        ("tollgate_request_duration_seconds_count", route, 2.0),
        ("tollgate_request_duration_seconds_bucket", "0.0025", 0.0),
        ("tollgate_request_duration_seconds_bucket", "0.005", 2.0),
        ("tollgate_request_duration_seconds_bucket", "+Inf", 2.0),
        ("tollgate_service_connections", "idle", 2.0),
        ("tollgate_attempts_total", "ok", 2.0),
        ("tollgate_problems_total", "route/none", 2.0),
        ("tollgate_connections_accepted_total", "1", 1.0),
        ("tollgate_connections", "0", 0.0),
        ("tollgate_worker_restarts_total", "0", 0.0),
        ("tollgate_connections_closed_total", "idle", 1.0),
        ("tollgate_dns_failures_total", "orders.internal", 1.0),
        ("tollgate_dns_stale", "orders.internal", 1.0),
        ("tollgate_source_failures_total", "consul orders", 1.0),
        ("tollgate_source_stale", "consul orders", 1.0),
        ("tollgate_config_revision", "", 3.0),
        ("tollgate_config_applied_timestamp_seconds", "", 1_700_000_000.25),
        ("tollgate_config_reload_successful", "", 1.0),
        ("tollgate_build_info", env!("CARGO_PKG_VERSION"), 1.0),
    ] {
        assert_eq!(value(&page, name, label), Some(expected), "{name} {label}\n{page}");
    }
}

#[test]
fn an_idle_route_is_left_out() {
    assert_eq!(value(&busy().encode(Format::Text), "tollgate_requests_total", "idle"), None);
}

#[test]
fn every_family_is_described_once_in_both_forms() {
    let metrics = busy();
    for (format, type_of) in [
        (Format::OpenMetrics, (|f: &Family| f.name()) as fn(&Family) -> String),
        (Format::Text, |f| f.name() + f.text_kind().1),
    ] {
        let page = metrics.encode(format);
        for family in families::ALL {
            let name = type_of(family);
            for word in ["HELP", "TYPE"] {
                let start = format!("# {word} {name} ");
                assert_eq!(page.lines().filter(|line| line.starts_with(&start)).count(), 1, "{start}\n{page}");
            }
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("# TYPE")).count(), families::ALL.len());
    }
}

#[test]
fn openmetrics_names_units_and_ends_with_eof() {
    let page = busy().encode(Format::OpenMetrics);
    assert!(page.contains("# TYPE tollgate_sent_bytes counter\n# UNIT tollgate_sent_bytes bytes\n"), "{page}");
    assert!(page.contains("# TYPE tollgate_build info\n"), "{page}");
    assert!(page.ends_with("\n# EOF\n"));
    let text = busy().encode(Format::Text);
    assert!(text.contains("# TYPE tollgate_sent_bytes_total counter\n"), "{text}");
    assert!(text.contains("# TYPE tollgate_build_info gauge\n"), "{text}");
    assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_shows_itself() {
    let page = Metrics::new(1).encode(Format::Text);
    assert!(value(&page, "process_resident_memory_bytes", "").unwrap() > 1e5);
    assert!(value(&page, "process_open_fds", "").unwrap() >= 3.0);
    assert!(value(&page, "process_start_time_seconds", "").unwrap() > 1.6e9);
}
