//! Every default, in one place, as a user would write it. A default belongs to a version of the file and never
//! changes within it.

/// The version that holds when the file names none, for ever.
pub(crate) const VERSION: i64 = 1;

/// Version 1.
pub(crate) mod v1 {
    use crate::model::listen::FileMode;

    pub(crate) const PROXY_PROTOCOL: &str = "off";
    pub(crate) const SOCKET_MODE: FileMode = FileMode(0o660);
    pub(crate) const LISTENER_KIND: &str = "http";
    pub(crate) const START: &str = "strict";
    pub(crate) const DRAIN_TIME: &str = "30s";
    pub(crate) const TLS_POLICY: &str = "intermediate";
    pub(crate) const TLS_CLIENT_REQUIRED: bool = true;
    pub(crate) const TLS_VERIFY: &str = "on";

    pub(crate) const LIMIT_TARGET: &str = "8KiB";
    pub(crate) const LIMIT_HEAD: &str = "32KiB";
    pub(crate) const LIMIT_FIELDS: i64 = 100;
    pub(crate) const LIMIT_HEAD_TIMEOUT: &str = "10s";
    pub(crate) const LIMIT_HANDSHAKE_TIMEOUT: &str = "10s";
    pub(crate) const LIMIT_KEEP_ALIVE: &str = "75s";
    pub(crate) const LIMIT_STREAMS: i64 = 128;
    pub(crate) const PACE: &str = "500B/s";
    pub(crate) const PACE_GRACE: &str = "30s";
    pub(crate) const LIMIT_CONNECTIONS: i64 = 65_536;

    pub(crate) const PATH_UNUSUAL: &str = "check";

    pub(crate) const TRUST_HEADERS: &str = "x-forwarded";

    pub(crate) const CORRELATION_HEADER: &str = "X-Correlation-ID";
    pub(crate) const CORRELATION_ACCEPT: &str = "always";
    pub(crate) const CORRELATION_ECHO: bool = true;

    pub(crate) const LOG_LEVEL: &str = "info";
    pub(crate) const ACCESS_TO: &str = "stdout";
    pub(crate) const ACCESS_FORMAT: &str = "json";
    pub(crate) const ACCESS_QUERY: &str = "redacted";
    pub(crate) const ACCESS_QUEUE: &str = "8MiB";

    pub(crate) const DNS_TIMEOUT: &str = "2s";
    pub(crate) const DNS_MIN_TTL: &str = "1s";
    pub(crate) const DNS_MAX_TTL: &str = "5m";

    pub(crate) const LOGIN_AT: &str = "/auth";
    pub(crate) const SAML_AT: &str = "/saml";
    pub(crate) const SAML_SIGNED: &str = "either";
    pub(crate) const LOGIN_AFTER_LOGOUT: &str = "/";
    pub(crate) const LOGIN_USERINFO: bool = false;
    pub(crate) const SESSION_LASTS: &str = "8h";
    pub(crate) const SESSION_IDLE: &str = "1h";
    pub(crate) const SESSION_IN: &str = "cookie";
    pub(crate) const SESSION_COOKIE: &str = "tollgate-session";
    pub(crate) const TEST_TIMES: i64 = 1;
    pub(crate) const STATE_MEMORY: &str = "64MiB";
    pub(crate) const STATE_COUNTERS: i64 = 1_000_000;
    pub(crate) const REDIS_TLS: bool = false;
    pub(crate) const REDIS_PREFIX: &str = "tollgate";
    pub(crate) const REDIS_TIMEOUT: &str = "5ms";
    pub(crate) const ETCD_PREFIX: &str = "/tollgate";
    pub(crate) const CONSUL_URL: &str = "http://127.0.0.1:8500";
    pub(crate) const CONSUL_CONSISTENCY: &str = "default";
    pub(crate) const CONSUL_WAIT: &str = "30s";
    pub(crate) const CONSUL_WARNING: bool = false;
    pub(crate) const SOURCE_HOLD: &str = "30s";
    pub(crate) const REGISTRY_TTL: &str = "30s";
    pub(crate) const REGISTRY_GRACE: &str = "30s";
    pub(crate) const REGISTRY_MOST: i64 = 10_000;
    pub(crate) const REGISTRY_MOST_OF_ONE: i64 = 1_000;
    pub(crate) const REGISTRY_HISTORY: i64 = 10_000;
    pub(crate) const REGISTRY_WATCHERS: i64 = 1_000;
    pub(crate) const LIMIT_FAILURES: i64 = 300;
    pub(crate) const BASIC_AT_ONCE: i64 = 4;
    pub(crate) const BASIC_CACHE: &str = "5m";
    pub(crate) const LDAP_STARTTLS: bool = false;
    pub(crate) const LDAP_CACHE: &str = "60s";
    pub(crate) const LDAP_POOL: i64 = 8;
    pub(crate) const LDAP_AT_ONCE: i64 = 32;
    pub(crate) const LDAP_GROUP_NAME: &str = "cn";
    pub(crate) const SIGV4_SKEW: &str = "5m";
    pub(crate) const SIGV4_UNSIGNED: &str = "refused";
    pub(crate) const SIGNED_NONCE: &str = "optional";
    pub(crate) const SIGV4_LARGEST: &str = "1MiB";
    pub(crate) const DECISION_QUERY: bool = false;
    pub(crate) const DECISION_TIMEOUT: &str = "1s";
    pub(crate) const DECISION_CACHE: &str = "10s";
    pub(crate) const DECISION_AT_ONCE: i64 = 100;
    pub(crate) const SIGNER_BODY: &str = "signed";
    pub(crate) const SIGNER_LARGEST: &str = "1MiB";
    pub(crate) const SIGNER_LABEL: &str = "tollgate";
    pub(crate) const SIGNER_LIFETIME: &str = "1m";
    pub(crate) const SIGNER_NONCE: bool = true;
    pub(crate) const SIGNER_DIGEST: &str = "sha-256";
    pub(crate) const CERTIFICATE_FORWARDED: &str = "ignored";
    pub(crate) const BOUND: &str = "optional";
    pub(crate) const BOUND_FORWARDED: &str = "ignored";
    pub(crate) const DPOP_AGE: &str = "1m";
    pub(crate) const AUTH_SKEW: &str = "30s";
    pub(crate) const AUTH_REFRESH: &str = "10m";
    pub(crate) const AUTH_KEEP: &str = "24h";
    pub(crate) const AUTH_TIMEOUT: &str = "5s";
    pub(crate) const AUTH_LARGEST: &str = "8KiB";
    pub(crate) const INTROSPECTION_AUTH: &str = "basic";
    pub(crate) const INTROSPECTION_CACHE: &str = "30s";
    pub(crate) const INTROSPECTION_NEGATIVE: &str = "10s";
    pub(crate) const INTROSPECTION_AT_ONCE: i64 = 100;
    pub(crate) const API_KEYS_MOST: i64 = 100_000;
    pub(crate) const TOKEN_EXCHANGE_CACHE: &str = "5m";
    pub(crate) const ISSUER_ALGORITHM: &str = "ES256";
    pub(crate) const ISSUER_ROTATE: &str = "720h";
    pub(crate) const AUTH_REMEMBER: i64 = 10_000;

    pub(crate) const TARGET_WEIGHT: i64 = 1;
    pub(crate) const TARGET_GROUP: i64 = 0;
    pub(crate) const BALANCE: &str = "round_robin";
    pub(crate) const LATENCY_DECAY: &str = "10s";
    pub(crate) const LOAD_KEEP: bool = false;
    pub(crate) const LOAD_AFTER: &str = "2s";
    pub(crate) const LOAD_EXPIRES: &str = "3m";
    pub(crate) const STICKY_FIRST: &str = "round_robin";
    pub(crate) const QUEUE_SIZE: i64 = 100;
    pub(crate) const QUEUE_TIMEOUT: &str = "1s";
    pub(crate) const ADAPTIVE_MIN: i64 = 4;
    pub(crate) const ADAPTIVE_MAX: i64 = 1000;
    pub(crate) const ADAPTIVE_INITIAL: i64 = 20;
    pub(crate) const ADAPTIVE_QUEUE: i64 = 100;
    pub(crate) const ADAPTIVE_WAIT: &str = "200ms";
    pub(crate) const SMOOTH_QUEUE: i64 = 100;
    pub(crate) const CONNECT_TIMEOUT: &str = "2s";
    pub(crate) const KEEP_ALIVE_IDLE: i64 = 64;
    pub(crate) const KEEP_ALIVE_FOR: &str = "55s";
    pub(crate) const SERVICE_PROTOCOL: &str = "http1";
    pub(crate) const SERVICE_STREAMS: i64 = 100;
    pub(crate) const RETRIES: i64 = 1;
    pub(crate) const RETRY_BUDGET: &str = "20%";
    pub(crate) const RETRY_MIN: i64 = 3;
    pub(crate) const RETRY_IDEMPOTENCY_KEY: bool = false;
    pub(crate) const RETRY_BACKOFF: &str = "25ms";
    pub(crate) const RETRY_LONGEST: &str = "250ms";
    pub(crate) const HEDGE_MOST: i64 = 1;
    pub(crate) const DEADLINE_UNIT: &str = "ms";
    pub(crate) const DEADLINE_ACCEPT: &str = "always";
    pub(crate) const BREAKER_CONSECUTIVE: i64 = 0;
    pub(crate) const BREAKER_OPEN: &str = "5s";
    pub(crate) const BREAKER_LONGEST: &str = "1m";
    pub(crate) const BREAKER_TRIALS: i64 = 3;
    pub(crate) const BREAKER_STATUS: &str = "5xx";

    pub(crate) const HEALTH_CHECK: &str = "http";
    pub(crate) const HEALTH_INTERVAL: &str = "5s";
    pub(crate) const HEALTH_TIMEOUT: &str = "2s";
    pub(crate) const HEALTH_HEALTHY: i64 = 2;
    pub(crate) const HEALTH_UNHEALTHY: i64 = 3;
    pub(crate) const HEALTH_JITTER: &str = "10%";
    pub(crate) const OUTLIER_CONSECUTIVE: i64 = 5;
    pub(crate) const OUTLIER_STATUS: &str = "502-504";
    pub(crate) const OUTLIER_EJECT_FOR: &str = "30s";
    pub(crate) const OUTLIER_LONGEST: &str = "5m";
    pub(crate) const OUTLIER_JITTER: &str = "10%";
    pub(crate) const SUCCESS_RATE_DEVIATIONS: &str = "1.9";
    pub(crate) const SUCCESS_RATE_INSTANCES: i64 = 5;
    pub(crate) const SUCCESS_RATE_OF: i64 = 100;
    pub(crate) const LATENCY_FACTOR: i64 = 3;
    pub(crate) const LATENCY_LEAST: &str = "10ms";
    pub(crate) const LATENCY_INSTANCES: i64 = 3;
    pub(crate) const LATENCY_OF: i64 = 50;
    pub(crate) const COMPARED_WITHIN: &str = "10s";
    pub(crate) const OUTLIER_CEILING: &str = "50%";

    pub(crate) const TIMEOUT: &str = "30s";
    pub(crate) const IDLE: &str = "60s";
    pub(crate) const MIRROR_SHARE: &str = "100%";
    pub(crate) const MIRROR_BODY: &str = "64KiB";
    pub(crate) const MIRROR_TIMEOUT: &str = "10s";
    pub(crate) const MIRROR_AT_ONCE: i64 = 100;
    pub(crate) const MIRROR_CREDENTIALS: &str = "strip";
    pub(crate) const UPGRADE_IDLE: &str = "5m";
    pub(crate) const BODY: &str = "10MB";
    pub(crate) const TEST_METHOD: &str = "GET";
    pub(crate) const TEST_URL: &str = "/";
    pub(crate) const TEST_STATUS: &str = "200";
    pub(crate) const PRIORITY: i64 = 0;

    pub(crate) const FILES_INDEX: &str = "index.html";
    pub(crate) const FILES_LISTING: &str = "off";
    pub(crate) const REDIRECT_STATUS: i64 = 308;
    pub(crate) const REPLY_STATUS: i64 = 200;
    pub(crate) const REPLY_TYPE: &str = "text/plain; charset=utf-8";
}
