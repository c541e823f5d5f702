//! What somebody asks of the registry: the names in the path, what the query says, the conditions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::SignedDuration;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;
use tollgate_core::problem::Problem;
use tollgate_core::serde_json::{Value, json};
use tollgate_registry::directory::{Change, Listing, Registered};
use tollgate_registry::said::Mistake;

use super::faults::{INVALID, MALFORMED};

/// Longest that changes are waited for in one question.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long they are waited for if the question does not say.
const WAIT: Duration = Duration::from_secs(30);
/// What the query of a list may say.
pub(super) const OF_LISTS: &[&str] = &["watch", "after", "wait", "tag", "version", "zone"];

/// One question, with nothing left of the exchange.
#[derive(Debug)]
pub(super) struct Asked {
    /// The service in the path; empty if there is none.
    pub(super) service: String,
    /// The instance in the path; empty if there is none.
    pub(super) id: String,
    /// What the query says.
    pub(super) query: Query,
    /// Whether it is to be told as events.
    pub(super) as_events: bool,
    /// The last event that it knows.
    pub(super) last_event: Option<Known>,
    /// The list that it has.
    pub(super) has: Option<Known>,
    /// Only if there is none such.
    pub(super) only_if_absent: bool,
    /// Only if there is one.
    pub(super) only_if_there: Option<OnlyIfThere>,
    /// The body.
    pub(super) content: Bytes,
    /// From where it is asked.
    pub(super) from: ClientAddress,
}

/// What `If-Match` asks for (RFC 9110 §13.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnlyIfThere {
    /// `*`: that there is one.
    Any,
    /// One with a strong validator, as there is none here.
    Never,
}

impl Asked {
    /// # Errors
    /// What the query says does not read.
    pub(super) fn read(x: &Exchange, parameters: &[&str]) -> Result<Self, Problem> {
        // "", "v1", "registry", "services", SERVICE, "instances", ID, what becomes of it
        let mut parts = x.head.path().split('/').skip(4);
        let (service, id) = (parts.next(), parts.nth(1));
        let fields = &x.head.fields;
        let has = |name: &str, what: &str| fields.all(name).any(|value| value == what.as_bytes());
        Ok(Self {
            service: named(service),
            id: named(id),
            query: Query::read(x.head.query().unwrap_or_default(), parameters)?,
            as_events: fields.all("accept").any(accepts_events),
            last_event: fields.text("last-event-id").and_then(Known::read),
            has: fields.text("if-none-match").and_then(Known::of_tag),
            only_if_absent: has("if-none-match", "*"),
            only_if_there: match has("if-match", "*") {
                true => Some(OnlyIfThere::Any),
                false => fields.has("if-match").then_some(OnlyIfThere::Never),
            },
            content: x.content.clone().unwrap_or_default(),
            from: x.client,
        })
    }

    /// The service in a path, if there is one.
    pub(super) fn service_in(path: &str) -> Option<&str> {
        path.split('/').nth(4)
    }

    /// The body as JSON; `None`: there is none.
    ///
    /// # Errors
    /// It is no JSON.
    pub(super) fn said(&self) -> Result<Option<Value>, Problem> {
        if self.content.is_empty() {
            return Ok(None);
        }
        let read = tollgate_core::serde_json::from_slice(&self.content);
        read.map(Some).map_err(|why| MALFORMED.problem().detail(format!("the body is no JSON: {why}")))
    }
}

/// A name in the normalised path, which has brackets encoded and leaves nothing else so that a name may have.
fn named(part: Option<&str>) -> String {
    part.unwrap_or_default().replace("%5B", "[").replace("%5D", "]")
}

fn accepts_events(accept: &[u8]) -> bool {
    let mut ranges = accept.split(|byte| *byte == b',');
    ranges.any(|range| {
        let kind = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// What somebody knows: all as of a revision that they might know of, less what had lapsed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) revision: u64,
    /// Instances with at most this time to live are left out, in seconds; 0: none is. Says all that there is to say: the same on every
    /// gateway, and after a restart.
    pub(super) lapsed: u64,
    /// Of which services it is, if it is of all that somebody may know of.
    pub(super) sees: u32,
}

impl Known {
    pub(super) fn of(listing: &Listing, sees: u32) -> Self {
        Self { revision: listing.revision, lapsed: listing.lapsed.map_or(0, |ttl| ttl.as_secs()), sees }
    }

    fn read(text: &str) -> Option<Self> {
        let (mut parts, part) =
            (text.splitn(3, '-'), |part: Option<&str>| part.map_or(Some(0), |part| part.parse().ok()));
        let (revision, lapsed) = (parts.next()?.parse().ok()?, part(parts.next())?);
        let sees = parts.next().map_or(Some(0), |sees| u32::from_str_radix(sees, 16).ok())?;
        Some(Self { revision, lapsed, sees })
    }

    /// As it stands in a validator of a list (RFC 9110 §8.8.3).
    fn of_tag(tag: &str) -> Option<Self> {
        Self::read(tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?)
    }

    /// The validator of a list. A weak one: what an instance reports of its load, and until when it is renewed, is no other list.
    pub(super) fn tag(self) -> String {
        format!("W/\"{self}\"")
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lapsed, self.sees) {
            (0, 0) => write!(f, "{}", self.revision),
            (lapsed, 0) => write!(f, "{}-{lapsed}", self.revision),
            (lapsed, sees) => write!(f, "{}-{lapsed}-{sees:08x}", self.revision),
        }
    }
}

/// What the query says.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    /// Changes are waited for.
    pub(super) watch: bool,
    /// Those after this revision.
    pub(super) after: Option<u64>,
    /// For so long.
    pub(super) wait: Duration,
    /// Which instances count.
    pub(super) filter: Arc<Filter>,
}

/// Which instances somebody wants to know of.
#[derive(Debug, Default)]
pub(super) struct Filter {
    tags: Vec<String>,
    version: Option<String>,
    zone: Option<String>,
}

impl Query {
    fn read(text: &str, parameters: &[&str]) -> Result<Self, Problem> {
        let wrong = |why: String| Err(MALFORMED.problem().detail(why));
        let mut query = Self { wait: WAIT, ..Self::default() };
        let mut filter = Filter::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !parameters.contains(&&*name) {
                return wrong(match parameters {
                    [] => format!("`{name}` in the query: nothing may stand there"),
                    _ => format!("`{name}` in the query: `{}` may stand there", parameters.join("`, `")),
                });
            }
            match &*name {
                "watch" => query.watch = true,
                "after" => match value.parse() {
                    Ok(after) => query.after = Some(after),
                    Err(_) => return wrong(format!("`after={value}`: expected a revision, a whole number")),
                },
                "wait" => match wait(&value) {
                    Some(wait) => query.wait = wait,
                    None => return wrong(format!("`wait={value}`: expected a time, at most `60s`")),
                },
                "tag" => filter.tags.push(value.into_owned()),
                "version" => filter.version = Some(value.into_owned()),
                _ => filter.zone = Some(value.into_owned()),
            }
        }
        query.filter = Arc::new(filter);
        Ok(query)
    }
}

fn wait(text: &str) -> Option<Duration> {
    let read = text.parse::<SignedDuration>().ok().and_then(|wait| Duration::try_from(wait).ok());
    read.filter(|wait| *wait <= LONGEST_WAIT)
}

impl Filter {
    /// Whether this instance counts.
    pub(super) fn takes(&self, instance: &Registered) -> bool {
        let own = &instance.registration;
        let is =
            |wanted: &Option<String>, own: &Option<Arc<str>>| wanted.is_none() || wanted.as_deref() == own.as_deref();
        self.tags.iter().all(|tag| own.tags.contains(tag.as_str()))
            && is(&self.version, &own.version)
            && is(&self.zone, &own.zone)
    }

    /// A change, for those who know only the instances that count: one that counts no more is gone.
    pub(super) fn seen(&self, change: Change) -> Change {
        match change {
            Change::Put(instance) if !self.takes(&instance) => Change::Gone {
                service: Arc::clone(&instance.registration.service),
                id: Arc::clone(&instance.registration.id),
                revision: instance.revision,
            },
            change => change,
        }
    }
}

/// What is said is wrong.
pub(super) fn invalid(mistakes: Vec<Mistake>) -> Problem {
    let count = mistakes.len();
    let told = |mistake: Mistake| json!({ "pointer": mistake.pointer, "detail": mistake.detail });
    let errors: Vec<Value> = mistakes.into_iter().map(told).collect();
    let first = errors.first().and_then(|error| error["detail"].as_str()).unwrap_or_default().to_owned();
    let detail = if count == 1 { first } else { format!("{count} mistakes, see `errors`") };
    INVALID.problem().detail(detail).member("errors", errors)
}
