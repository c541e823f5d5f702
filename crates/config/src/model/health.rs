//! `health` and `outlier` of a service: how the gateway finds out which instances are well, by asking them and by what
//! becomes of requests.

use std::time::Duration;

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::section;
use tollgate_core::units::{Bounded, Percent, Period};

use crate::model::defaults::v1;
use crate::model::http::HostText;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

section! {
    /// How every instance is asked, now and then, whether it is well.
    pub struct Health: fit {
        /// By an HTTP request, by opening a connection, or by the gRPC health protocol.
        check: Check = v1::HEALTH_CHECK,
        /// The method of an HTTP check; without it, `GET`.
        method: Option<Spanned<CheckMethod>>,
        /// The path of an HTTP check, with its query; without it, `/`.
        path: Option<Spanned<CheckPath>>,
        /// What an HTTP or gRPC check sends as `Host`; without it, the service's `host`, else the instance's name or address.
        host: Option<Spanned<HostText>>,
        /// The statuses of an HTTP check that mean well; without it, `200-399`.
        status: Option<Spanned<Vec<StatusRange>>>,
        /// A text that must stand in the first 64 KiB of an HTTP check's answer.
        body: Option<Spanned<String>>,
        /// The service that a gRPC check asks for; without it, the whole server.
        service: Option<Spanned<String>>,
        /// Another port of the instance to be asked.
        port: Option<Spanned<Bounded<1, 65_535>>>,
        /// How long between two checks of an instance.
        interval: Spanned<Period> = v1::HEALTH_INTERVAL,
        /// How long a check may take, connecting included.
        timeout: Period = v1::HEALTH_TIMEOUT,
        /// Checks in a row that must succeed before an unhealthy instance is healthy again.
        healthy: Bounded<1, 100> = v1::HEALTH_HEALTHY,
        /// Checks in a row that must fail before an instance is unhealthy.
        unhealthy: Bounded<1, 100> = v1::HEALTH_UNHEALTHY,
        /// By how much an interval is made shorter or longer at random, so that checks do not come all at once.
        jitter: Percent = v1::HEALTH_JITTER,
    }
}

words! {
    /// How an instance is asked.
    pub enum Check {
        /// By an HTTP request.
        Http = "http",
        /// By opening a connection, with TLS if the service has it.
        Tcp = "tcp",
        /// By the gRPC health protocol (`grpc.health.v1.Health/Check`).
        Grpc = "grpc",
    }
}

words! {
    /// The method of an HTTP check.
    pub enum CheckMethod {
        /// Asks for a page.
        Get = "GET",
        /// Asks for a page without its body.
        Head = "HEAD",
        /// Asks what may be asked.
        Options = "OPTIONS",
        /// For those who want it so; the body is empty.
        Post = "POST",
    }
}

words! {
    /// What becomes of requests when all instances are unhealthy or ejected.
    pub enum WhenAllFail {
        /// All instances are used, as if nothing were known of them: a wrong check must not take a service down.
        Serve = "serve",
        /// The answer is 503.
        Refuse = "refuse",
    }
}

/// The shortest interval between two checks.
const MOST_OFTEN: Duration = Duration::from_millis(10);

/// What keys belong to which checks, and what does not fit together.
fn fit(health: &Health, cx: &mut DecodeCx) -> bool {
    const HTTP: &[Check] = &[Check::Http];
    const GRPC: &[Check] = &[Check::Grpc];
    let written: [(&str, Option<&Span>, &[Check]); 6] = [
        ("method", health.method.as_ref().map(|m| &m.span), HTTP),
        ("path", health.path.as_ref().map(|p| &p.span), HTTP),
        ("status", health.status.as_ref().map(|s| &s.span), HTTP),
        ("body", health.body.as_ref().map(|b| &b.span), HTTP),
        ("host", health.host.as_ref().map(|h| &h.span), &[Check::Http, Check::Grpc]),
        ("service", health.service.as_ref().map(|s| &s.span), GRPC),
    ];
    let mut well = true;
    for (key, span, checks) in written {
        let Some(span) = span.filter(|_| !checks.contains(&health.check)) else { continue };
        let own: Vec<String> = checks.iter().map(|check| format!("`check: {}`", check.as_str())).collect();
        let mistake = Diagnostic::error(format!("a check by `{}` has no `{key}`", health.check.as_str())).at(span);
        cx.report(mistake.hint(format!("`{key}` belongs to {}", own.join(" and "))));
        well = false;
    }
    if health.interval.value.0 < MOST_OFTEN {
        let mistake = Diagnostic::error("so many checks would be a load of their own").at(&health.interval.span);
        cx.report(mistake.hint(format!("{MOST_OFTEN:?} or more; a few seconds are usual")));
        well = false;
    }
    let is_head = health.method.as_ref().is_some_and(|method| method.value == CheckMethod::Head);
    if let Some(body) = health.body.as_ref().filter(|_| is_head) {
        cx.report(Diagnostic::error("an answer to HEAD has no body").at(&body.span).hint("use `method: GET`"));
        well = false;
    }
    well
}

/// What a check asks for: a path, and perhaps a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPath(String);

impl CheckPath {
    /// As it stands in the request line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for CheckPath {
    const WHAT: &'static str = "a path";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let is_path =
            text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&b));
        match is_path {
            true => Ok(Self(text.to_owned())),
            false => Err(Diagnostic::error(format!("`{text}` is no path"))
                .hint("as it stands in a request: `/healthz`, `/status?deep=1`")),
        }
    }
}

decode_from_text!(CheckPath);
text_schema!(CheckPath, "CheckPath", "description": "A path as it stands in a request, perhaps with a query.", "pattern": "^/[!-~]*$", "examples": ["/healthz"]);

/// Statuses from one to another, both included: `200-399`, or just `204`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

impl std::fmt::Display for StatusRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.from == self.to {
            true => self.from.fmt(f),
            false => write!(f, "{}-{}", self.from, self.to),
        }
    }
}

impl FromText for StatusRange {
    const WHAT: &'static str = "a status";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if let Some(class) =
            text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()).filter(|class| (2..=5).contains(class))
        {
            return Ok(Self { from: class * 100, to: class * 100 + 99 });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (200..=599).contains(status));
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self { from, to }),
            _ => Err(Diagnostic::error(format!("`{text}` is no status"))
                .hint("200 to 599, or a range of them: `200`, `2xx`, `200-299`")),
        }
    }
}

decode_from_text!(StatusRange);

impl schemars::JsonSchema for StatusRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusRange".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A status, all of a class, or a range, both ends included.",
            "anyOf": [
                { "type": "integer", "minimum": 200, "maximum": 599 },
                { "type": "string", "pattern": "^[2-5](xx|[0-9]{2}( *- *[2-5][0-9]{2})?)$" },
            ],
            "examples": [200, "2xx", "200-299"],
        })
    }
}

/// Statuses of answers that say that something failed: `503`, `502-504`, `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureStatus(pub StatusRange);

impl FromText for FailureStatus {
    const WHAT: &'static str = "a status";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let range = StatusRange::from_text(text);
        let wrong = |what: &str| {
            Diagnostic::error(format!("`{text}` is no {what}"))
                .hint("400 to 599, or a range of them: `503`, `502-504`, `5xx`")
        };
        match range {
            Ok(range) if range.from >= 400 => Ok(Self(range)),
            // What went well, or leads elsewhere, is the answer.
            Ok(_) => Err(wrong("status of a failure")),
            Err(_) => Err(wrong("status")),
        }
    }
}

decode_from_text!(FailureStatus);

impl schemars::JsonSchema for FailureStatus {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FailureStatus".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A status of a failure, all of a class, or a range, both ends included.",
            "anyOf": [
                { "type": "integer", "minimum": 400, "maximum": 599 },
                { "type": "string", "pattern": "^[45](xx|[0-9]{2}( *- *[45][0-9]{2})?)$" },
            ],
            "examples": [503, "5xx", "502-504"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_went_well_is_no_failure() {
        let read = |text| FailureStatus::from_text(text).map(|FailureStatus(range)| (range.from, range.to));
        assert_eq!(read("5xx"), Ok((500, 599)));
        assert_eq!(read("429"), Ok((429, 429)));
        for (wrong, what) in [("200", "status of a failure"), ("3xx", "status of a failure"), ("x", "status")] {
            assert_eq!(read(wrong).unwrap_err().message, format!("`{wrong}` is no {what}"));
        }
    }

    #[test]
    fn statuses_are_one_or_a_range() {
        let read = |text| StatusRange::from_text(text).map(|range| (range.from, range.to)).map_err(|d| d.message);
        assert_eq!(read("204"), Ok((204, 204)));
        assert_eq!(read("200-399"), Ok((200, 399)));
        assert_eq!(read("200 - 299"), Ok((200, 299)));
        assert_eq!(read("2xx"), Ok((200, 299)));
        for wrong in ["199", "600", "299-200", "1xx", "6xx", "xx", "22xx", "2xx-3xx", "", "-", "200-"] {
            assert_eq!(read(wrong), Err(format!("`{wrong}` is no status")));
        }
        assert_eq!(StatusRange { from: 200, to: 399 }.to_string(), "200-399");
    }

    #[test]
    fn a_path_can_stand_in_a_request_line() {
        assert!(CheckPath::from_text("/status?deep=1&x=%20").is_ok());
        for wrong in ["healthz", "", "/a b", "/a#b", "/\r\nX: y", "/ä"] {
            assert!(CheckPath::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
