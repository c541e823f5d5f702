//! What is required, and of whom.

use bytes::Bytes;
use tollgate_core::body::Length;
use tollgate_core::exchange::{Exchange, Peer};
use tollgate_core::head::RequestHead;
use tollgate_core::policy::{Flow, Hooks, Policy, Step};
use tollgate_core::problem::{Fault, Problem};

use super::except::Exceptions;
use super::words::{MediaRange, RequiredTls, essence};
use super::{CONTENT_TYPE, HEAD, HEADER, LENGTH, QUERY, RequiredLength, Sizes, TARGET, TLS};
use crate::kit::forms::joined;

#[derive(Debug)]
pub(super) struct Require {
    pub(super) tls: Option<RequiredTls>,
    pub(super) sizes: Option<Sizes>,
    pub(super) length: Option<RequiredLength>,
    pub(super) headers: Vec<String>,
    pub(super) query: Vec<String>,
    pub(super) content_type: Vec<MediaRange>,
    pub(super) except: Exceptions,
    pub(super) is_shadow: bool,
}

impl Policy for Require {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let Err(problem) = self.check(x) else { return Step::next() };
        // The usual case does not ask.
        if self.except.have(x) {
            return Step::next();
        }
        if self.is_shadow {
            x.trail.shadow = Some(problem.fault);
            return Step::Now(Ok(Flow::Next));
        }
        Step::refuse(problem)
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.tls.map(|tls| tls.describe().to_owned()));
        if let Some(sizes) = &self.sizes {
            parts.push(format!("at most {}", sizes.describe()));
        }
        if self.length.is_some() {
            parts.push("the length of a body".to_owned());
        }
        if !self.headers.is_empty() {
            parts.push(format!("the headers {}", joined(self.headers.iter().map(String::as_str))));
        }
        if !self.query.is_empty() {
            parts.push(format!("the query parameters {}", joined(self.query.iter().map(String::as_str))));
        }
        if !self.content_type.is_empty() {
            parts.push(format!("a body of type {}", self.taken()));
        }
        let shadow = if self.is_shadow { " (shadow: refuses nobody)" } else { "" };
        format!("{}{}{shadow}", parts.join("; "), self.except.describe())
    }
}

impl Require {
    pub(super) fn is_nothing(&self) -> bool {
        self.tls.is_none()
            && self.sizes.is_none()
            && self.length.is_none()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.content_type.is_empty()
    }

    fn check(&self, x: &Exchange) -> Result<(), Problem> {
        let head = &x.head;
        self.tls.map_or(Ok(()), |tls| check_tls(tls, x))?;
        self.sizes.as_ref().map_or(Ok(()), |sizes| sizes.check(head))?;
        if self.length.is_some() && x.length == Length::Chunked {
            return Err(LENGTH.problem());
        }
        let has_field = |name: &String| head.fields.all(name).any(|value| !value.is_empty());
        complete(&HEADER, &self.headers, has_field)?;
        complete(&QUERY, &self.query, |name| head.query_value(name).is_some_and(|value| !value.is_empty()))?;
        if self.content_type.is_empty() || x.length == Length::None { Ok(()) } else { self.check_content_type(head) }
    }

    fn check_content_type(&self, head: &RequestHead) -> Result<(), Problem> {
        let mut lines = head.fields.all("content-type");
        let detail = match (lines.next().map(std::str::from_utf8), lines.next()) {
            (None, _) => "the body has no `Content-Type`".to_owned(),
            // Two readers may pick different ones.
            (Some(_), Some(_)) => "more than one `Content-Type`".to_owned(),
            (Some(Ok(value)), None) if self.content_type.iter().any(|range| range.takes(value)) => return Ok(()),
            (Some(Ok(value)), None) => format!("`{}` is not taken here", essence(value)),
            (Some(Err(_)), None) => "a `Content-Type` that cannot be read".to_owned(),
        };
        Err(CONTENT_TYPE.problem().detail(detail).header("Accept", Bytes::from(self.taken())))
    }

    fn taken(&self) -> String {
        joined(self.content_type.iter().map(|range| range.text.as_str()))
    }
}

/// Whether the client speaks TLS, as it sees it. A version is only known of a client whose TLS ends here.
fn check_tls(tls: RequiredTls, x: &Exchange) -> Result<(), Problem> {
    if x.scheme != "https" {
        return Err(TLS.problem());
    }
    let (versions, asked) = (tls.versions(), || TLS.problem().detail(format!("{} is asked for", tls.describe())));
    match (x.peer, &x.conn.tls) {
        _ if versions.is_empty() => Ok(()),
        (Peer::Client, Some(settled)) if versions.contains(&settled.version) => Ok(()),
        (Peer::Client, Some(settled)) => Err(asked().cause(format!("by {}", settled.version))),
        _ => Err(asked().cause("which version the client speaks with the proxy in front nobody tells")),
    }
}

impl Sizes {
    /// All but the fields cost nothing to look at.
    fn check(&self, head: &RequestHead) -> Result<(), Problem> {
        let is_over = |size: usize, most: Option<u64>| most.is_some_and(|most| size as u64 > most);
        let most = self.target.map(|most| most.get());
        if is_over(target(head), most) {
            return Err(TARGET.problem().detail(format!("it is longer than {} bytes", most.unwrap_or_default())));
        }
        let most = self.head.map(|most| most.get());
        if is_over(head.fields.head_len, most) {
            return Err(HEAD.problem().detail(format!("it is larger than {} bytes", most.unwrap_or_default())));
        }
        let most = self.fields.as_ref().map(|most| most.get());
        if is_over(head.fields.received().len(), most) {
            return Err(HEAD.problem().detail(format!("it has more than {} fields", most.unwrap_or_default())));
        }
        let Some(most) = self.field.map(|most| most.get()) else { return Ok(()) };
        match head.fields.iter().find(|(_, value)| value.len() as u64 > most) {
            None => Ok(()),
            Some((name, _)) => {
                let name = String::from_utf8_lossy(name);
                Err(HEAD.problem().detail(format!("`{name}` is longer than {most} bytes")))
            }
        }
    }

    fn describe(&self) -> String {
        let size = |size: u64, what: &str| format!("{size} bytes of {what}");
        let parts = [
            self.target.map(|most| size(most.get(), "target")),
            self.head.map(|most| size(most.get(), "head")),
            self.field.map(|most| size(most.get(), "a field")),
            self.fields.as_ref().map(|most| format!("{} fields", most.get())),
        ];
        joined(parts.iter().flatten().map(String::as_str))
    }
}

/// The length of path and query as they came.
fn target(head: &RequestHead) -> usize {
    let bytes = head.fields.buffer.filled();
    head.raw_path.of(bytes).len() + head.query.map_or(0, |query| query.of(bytes).len() + 1)
}

/// Refuses with the names for which `is_there` does not hold.
fn complete(fault: &'static Fault, names: &[String], is_there: impl Fn(&String) -> bool) -> Result<(), Problem> {
    // The usual case allocates nothing.
    if names.iter().all(&is_there) {
        return Ok(());
    }
    let missing: Vec<&str> = names.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let quoted = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Err(fault.problem().detail(format!("{quoted} {verb} missing")).member("missing", missing))
}
