//! Answers of the gateway's own when something is wrong: a [`Fault`] says which kind, a [`Problem`] is one case of it.
//!
//! A fault stands beside the code that raises it. There is no central list of errors; the catalogue in the docs is
//! gathered from the lists that each crate and policy exports.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytes::Bytes;

/// Whose mistake it is, as metrics and logs tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The request is at fault.
    Client,
    /// The gateway itself, or how it is configured.
    Gateway,
    /// What stands behind it.
    Upstream,
}

/// Whether the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not without a change.
    Never,
    /// Perhaps, after a while.
    Later,
}

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// `policy/reason`: at once the end of the problem's `type`, the metric label, the docs anchor and the log field.
    pub slug: &'static str,
    /// The status code answered.
    pub status: u16,
    /// The same short words every time (RFC 9457 §3.1.3).
    pub title: &'static str,
    /// Whose mistake.
    pub side: Side,
    /// Whether to try again.
    pub retry: Retry,
    /// What it means and what to do about it, for the docs.
    pub help: &'static str,
}

impl Fault {
    /// A fault of the request, that will not go away by itself.
    #[must_use]
    pub const fn client(slug: &'static str, status: u16, title: &'static str, help: &'static str) -> Self {
        Self { slug, status, title, side: Side::Client, retry: Retry::Never, help }
    }

    /// A fault of what stands behind the gateway, that may pass.
    #[must_use]
    pub const fn upstream(slug: &'static str, status: u16, title: &'static str, help: &'static str) -> Self {
        Self { slug, status, title, side: Side::Upstream, retry: Retry::Later, help }
    }

    /// A fault of the gateway.
    #[must_use]
    pub const fn gateway(slug: &'static str, status: u16, title: &'static str, help: &'static str) -> Self {
        Self { slug, status, title, side: Side::Gateway, retry: Retry::Later, help }
    }

    /// The policy (or part of the gateway) that speaks: what stands before the slash.
    #[must_use]
    pub fn policy(&self) -> &'static str {
        self.slug.split('/').next().unwrap_or(self.slug)
    }

    /// One case of this fault.
    #[must_use]
    pub fn problem(&'static self) -> Problem {
        let (headers, members) = (Vec::new(), Vec::new());
        Problem(Box::new(Case { fault: self, detail: Cow::Borrowed(""), headers, members, cause: None }))
    }
}

/// One case of a [`Fault`]. As small as can be: every exchange keeps room for one, and few need it.
#[derive(Debug)]
pub struct Problem(Box<Case>);

/// What is known of a [`Problem`].
#[derive(Debug)]
pub struct Case {
    /// Which kind.
    pub fault: &'static Fault,
    /// What is wrong in this case, for the caller. Never a secret, never the inside of the house.
    pub detail: Cow<'static, str>,
    /// Fields the answer must carry, such as `Allow` or `Retry-After`.
    pub headers: Vec<(&'static str, Bytes)>,
    /// Extension members of the problem object (RFC 9457 §3.2).
    pub members: Vec<(&'static str, serde_json::Value)>,
    /// What really happened, for our log only.
    pub cause: Option<String>,
}

impl Deref for Problem {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Case {
        &mut self.0
    }
}

impl Problem {
    /// Says what is wrong in this case.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds a field to the answer.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Bytes>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says when to come again: `Retry-After` (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.header("Retry-After", whole_seconds(wait).to_string())
    }

    /// Adds an extension member.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// Keeps what really happened for the log.
    #[must_use]
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }
}

/// As `Retry-After` tells a time: whole seconds, rounded up, and at least one.
#[must_use]
pub fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}
