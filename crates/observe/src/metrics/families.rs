//! The one list of all metrics: name, unit, labels and what they mean. The exposition and the reference page follow it.

use std::fmt::Write;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// A metric family. `name` is without unit and without the suffix that the type brings.
pub(crate) struct Family {
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal $(, $unit:ident)? [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) static $constant: Family = Family {
            name: $name,
            unit: families!(@unit $($unit)?),
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All families in the order of the exposition.
        pub(crate) static ALL: &[&Family] = &[$(&$constant),*];
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}

families! {
    BUILD: Info "tollgate_build" ["version"]
        "The version that runs.";
    CONFIG_REVISION: Gauge "tollgate_config_revision" []
        "Number of the configuration in force; it grows by one with each that is applied.";
    CONFIG_APPLIED: Gauge "tollgate_config_applied_timestamp", Seconds []
        "When the configuration in force was applied, in Unix time.";
    CONFIG_OK: Gauge "tollgate_config_reload_successful" []
        "1 if the last attempt to load a configuration succeeded, 0 if the one before stayed in force.";

    REQUESTS: Counter "tollgate_requests" ["api", "route", "status"]
        "Requests finished, by class of the status sent; `none` where the client left before there was one.";
    DURATION: Histogram "tollgate_request_duration", Seconds ["api", "route"]
        "Time from a request's head being read to the last byte of its answer.";
    IN_FLIGHT: Gauge "tollgate_requests_in_flight" ["api", "route"]
        "Requests begun and not finished.";
    RECEIVED: Counter "tollgate_received", Bytes ["api", "route"]
        "Bytes of requests received from clients, heads included.";
    SENT: Counter "tollgate_sent", Bytes ["api", "route"]
        "Bytes of answers sent to clients, heads included.";
    PROBLEMS: Counter "tollgate_problems" ["api", "slug"]
        "Answers that the gateway itself made because something was wrong, by the problem's slug: also what policies refused.";
    SHADOWED: Counter "tollgate_shadowed" ["api", "slug"]
        "Requests that would have been refused with this problem by something that only looks on (`shadow: true`).";
    LIMITS_FORGOTTEN: Counter "tollgate_limit_keys_forgotten" []
        "Callers of limits that were forgotten before their time because there were more than `state.counters`: those who had used least.";
    STORE_UP: Gauge "tollgate_state_up" []
        "1 if the store in which several gateways count (`state.redis`) can be asked, 0 if this gateway counts alone.";
    STORE_GATEWAYS: Gauge "tollgate_state_gateways" []
        "Gateways that count in the same store, as it told last.";
    STORE_REQUESTS: Counter "tollgate_state_requests" ["outcome"]
        "Questions to that store: `answered`, `late` (not within `state.redis.timeout`), `failed`.";
    STORE_ALONE: Counter "tollgate_state_alone" ["outcome"]
        "Requests to be counted that the store was not asked about in time: `shared` (counted in this gateway's share), `allowed` (not counted), `refused` (503).";

    ATTEMPTS: Counter "tollgate_attempts" ["service", "outcome"]
        "Attempts to have a request answered by an instance, by how they ended.";
    RETRIES: Counter "tollgate_retries" ["service"]
        "Attempts after the first one of a request.";
    CONNECTS: Counter "tollgate_service_connects" ["service"]
        "Connections made to instances.";
    REUSES: Counter "tollgate_service_reuses" ["service"]
        "Attempts that went out on a connection from the pool.";
    SERVICE_CONNECTIONS: Gauge "tollgate_service_connections" ["service", "state"]
        "Connections to instances that are open now, busy or idle.";
    QUEUE_WAITING: Gauge "tollgate_queue_waiting" ["service"]
        "Requests that wait for a connection because the service is at its limit.";
    QUEUE_REFUSED: Counter "tollgate_queue_refused" ["service"]
        "Requests that found the queue full or waited in it in vain.";
    SMOOTH_WAITING: Gauge "tollgate_smooth_waiting" ["service"]
        "Requests that wait for their turn because the service is sent them evenly spaced (`smooth`).";
    SMOOTH_REFUSED: Counter "tollgate_smooth_refused" ["service"]
        "Requests for which there was no turn: too many waited, or it would have come too late.";
    CONCURRENCY_LIMIT: Gauge "tollgate_concurrency_limit" ["service"]
        "How many requests a service may have at a time, as found out by `adaptive_concurrency`.";
    CONCURRENCY_IN_FLIGHT: Gauge "tollgate_concurrency_in_flight" ["service"]
        "Requests that count for that limit: sent, or about to be, and without the head of an answer.";
    CONCURRENCY_WAITING: Gauge "tollgate_concurrency_waiting" ["service"]
        "Requests that wait until there are fewer than the limit.";
    SERVICE_SHED: Counter "tollgate_service_shed" ["service", "criticality"]
        "Requests refused because the service cannot do more at a time, by how much they matter.";

    SPILLED: Counter "tollgate_balance_spilled" ["service", "to"]
        "Attempts, each retry and hedge one more, for which an instance was chosen that is not asked first (those that had to wait for room are not counted): of another `zone`, of a later priority `group`; or of all, well or not, because too few are well (`panic`).";
    INSTANCES: Gauge "tollgate_service_instances" ["service", "state"]
        "Instances of a service that is checked or ejects: `healthy`, `unknown` (not checked yet, used like a healthy one), `unhealthy`, `ejected`.";
    CHECKS: Counter "tollgate_health_checks" ["service", "result"]
        "Health checks of instances: `ok`, or `failed`.";
    EJECTIONS: Counter "tollgate_ejections" ["service", "reason"]
        "Times that an instance was left out for a while: because requests failed in a row (`consecutive`), a share of them did (`errors`), or it did worse (`success_rate`) or was slower (`latency`) than the others.";
    BREAKER_STATE: Gauge "tollgate_breaker_state" ["service", "state"]
        "1 for the state that the service's circuit breaker is in: `closed`, `open`, `half_open`; 0 for the others.";
    BREAKER_CHANGES: Counter "tollgate_breaker_changes" ["service", "to"]
        "Times that the service's circuit breaker came into this state.";
    BREAKER_REFUSED: Counter "tollgate_breaker_refused" ["service"]
        "Attempts that the service's circuit breaker did not let through.";
    HEDGES: Counter "tollgate_hedges" ["service", "result"]
        "Second attempts beside a slow first one (`hedge`): `won` (their answer was used), `lost`, or `denied` (not sent, because the retry budget was spent).";
    FALLBACKS: Counter "tollgate_fallbacks" ["service"]
        "Requests for which the service had no answer and whose fallback was asked or given instead.";
    COPIES: Counter "tollgate_mirrored_requests" ["service", "result"]
        "Copies of requests for this service (`mirror`): `answered`, `failed`; or not sent, because there were too many at a time (`crowded`), the body was `too_large` or did not come to its end (`incomplete`).";

    FLOODS: Counter "tollgate_http2_floods" ["frame"]
        "HTTP/2 connections closed because frames of this kind came too often.";
    ACCEPTED: Counter "tollgate_connections_accepted" ["worker"]
        "Client connections accepted; uneven numbers show a worker that gets more than its share.";
    CONNECTIONS: Gauge "tollgate_connections" ["worker"]
        "Client connections that are open now.";
    CLOSED: Counter "tollgate_connections_closed" ["reason"]
        "Client connections that ended, by reason.";

    LISTENER_CONNECTIONS: Gauge "tollgate_listener_connections" ["listener"]
        "Client connections of a listener that are open now.";
    LISTENER_REFUSED: Counter "tollgate_listener_refused" ["listener", "reason"]
        "Connections that a listener closed before anything was spent on them: it has as many as it may (`listener_limit`), their address has (`address_limit`), or nobody is let in from there (`denied`).";
    WORKER_LAG: Gauge "tollgate_worker_lag", Seconds ["worker"]
        "How late a worker came to what it does every 100 ms, when it last did.";
    OVERLOAD_LEVEL: Gauge "tollgate_overload_level" ["resource"]
        "How much of what `overload` allows is used: of `memory`, `files` (descriptors) and `lag` (of the worker that is latest). From 0.85 on requests are refused.";
    GATEWAY_SHED: Counter "tollgate_gateway_shed" ["criticality"]
        "Requests refused because the gateway itself has too much to do, by how much they matter.";
    RESTARTS: Counter "tollgate_worker_restarts" ["worker"]
        "Times that a worker failed, lost its connections and began again.";

    HANDSHAKES: Counter "tollgate_tls_handshakes" ["outcome"]
        "TLS handshakes of clients, by how they ended.";
    TLS_RELOADS: Counter "tollgate_tls_reloads" ["of", "result"]
        "Times that the certificate files of a listener or service were read again because they changed: `ok`, or `failed`.";
    TLS_STALE: Gauge "tollgate_tls_stale" ["of"]
        "1 while the certificate files of a listener or service are not right and those before them are still in force.";
    TLS_EXPIRY: Gauge "tollgate_tls_certificate_expiry_timestamp", Seconds ["file"]
        "Until when a certificate that clients are shown is good, in Unix time.";

    LOG_LINES: Counter "tollgate_access_log_lines" ["result"]
        "Lines of the access log: written, or lost because the writer could not keep up.";
    DNS_FAILURES: Counter "tollgate_dns_failures" ["name"]
        "Look-ups of a host name that failed.";
    DNS_STALE: Gauge "tollgate_dns_stale" ["name"]
        "1 while the addresses of a host name are those of an earlier answer because the last look-up failed.";
    SOURCE_FAILURES: Counter "tollgate_source_failures" ["source"]
        "Questions for the instances of a service that failed, by the source and the service's name there: `consul orders`.";
    SOURCE_STALE: Gauge "tollgate_source_stale" ["source"]
        "1 while the instances of a service are those of an earlier answer, or lapsed, because its source does not answer.";

    REGISTRY_REVISION: Gauge "tollgate_registry_revision" []
        "The revision of the registry of instances that is in use.";
    REGISTRY_VOUCHED: Gauge "tollgate_registry_vouched_timestamp", Seconds []
        "When what keeps the registry last vouched for it, in Unix time: `time()` less this is the age of what is in use.";
    REGISTRY_STALE: Gauge "tollgate_registry_stale" []
        "1 while what keeps the registry cannot be asked.";
    REGISTRY_INSTANCES: Gauge "tollgate_registry_instances" ["service", "state"]
        "Instances that are registered: `up`, or `draining`.";
    REGISTRY_CHANGES: Counter "tollgate_registry_changes" ["kind"]
        "What became of instances: `put` (registered, or changed), `gone` (deregistered, or their time ended), `lapsed` (not used any more because nobody vouched for them).";

    CPU: Counter "process_cpu", Seconds []
        "User and system time spent by the process.";
    RESIDENT: Gauge "process_resident_memory", Bytes []
        "Memory of the process that is in RAM.";
    VIRTUAL: Gauge "process_virtual_memory", Bytes []
        "Address space of the process.";
    OPEN_FDS: Gauge "process_open_fds" []
        "Open file descriptors.";
    MAX_FDS: Gauge "process_max_fds" []
        "Most file descriptors that the process may open.";
    THREADS: Gauge "process_threads" []
        "Threads of the process.";
    STARTED: Gauge "process_start_time", Seconds []
        "When the process was started, in Unix time.";
}

impl Family {
    /// Writes the family's lines of description; what it returns writes the samples.
    pub(crate) fn describe<'s>(
        &'static self,
        encoder: &'s mut DescriptorEncoder,
    ) -> Result<MetricEncoder<'s>, std::fmt::Error> {
        encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), self.kind)
    }

    /// The family's name in OpenMetrics: with unit, without the suffix of the type.
    pub(crate) fn name(&self) -> String {
        match &self.unit {
            Some(unit) => format!("{}_{}", self.name, unit.as_str()),
            None => self.name.to_owned(),
        }
    }

    /// Type and suffix of the samples' name in the older text form, which knows no families and no `info`.
    pub(crate) fn text_kind(&self) -> (&'static str, &'static str) {
        match self.kind {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("gauge", "_info"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Unknown => ("untyped", ""),
        }
    }
}

/// The reference page of all metrics, as a Markdown table.
pub fn metrics_reference() -> String {
    let mut page = String::from("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for family in ALL {
        let (kind, suffix) = family.text_kind();
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels) = (family.name(), labels.join(", "));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}{suffix}` | {kind} | {labels} | {} |", family.help);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_base_names_of_ours_and_unique() {
        let mut names: Vec<_> = ALL.iter().map(|f| f.name()).collect();
        for name in &names {
            assert!(name.starts_with("tollgate_") || name.starts_with("process_"), "{name}");
            assert!(!["_total", "_info", "_count", "_sum", "_bucket"].iter().any(|s| name.ends_with(s)), "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_reference_has_a_row_per_metric() {
        let page = metrics_reference();
        assert_eq!(page.lines().count(), ALL.len() + 2);
        assert!(page.contains("| `tollgate_sent_bytes_total` | counter | `api`, `route` |"), "{page}");
    }
}
