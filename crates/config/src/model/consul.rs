//! `consul`: where Consul is asked for instances, and which of them a service wants.

use std::time::Duration;

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};
use tollgate_core::units::Period;

use crate::model::auth::secret::Secret;
use crate::model::auth::url::{Url, is_private};
use crate::model::defaults::v1;
use crate::model::tls::FilePath;

/// How long a question to Consul may wait, at least and at most; the latter is Consul's own bound.
const LEAST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(600);
/// The longest name of a service, a tag or a datacenter.
const LONGEST_NAME: usize = 128;

section! {
    /// How Consul is asked for the instances of services that say `consul`.
    pub struct Consul: fits {
        /// Where an agent or a server is: `http://127.0.0.1:8500`.
        url: Spanned<Url> = v1::CONSUL_URL,
        /// What Consul is shown (ACL): a token that may read the services and nodes.
        token: Option<Spanned<Secret>>,
        /// The datacenter of the services; without it, the agent's own.
        datacenter: Option<ConsulName>,
        /// How true answers must be: `default`, `consistent` (the leader makes sure that it still is), or `stale` (any server answers).
        consistency: ConsulConsistency = v1::CONSUL_CONSISTENCY,
        /// How long one question waits for a change (a blocking query): so late is it noticed that the connection is dead.
        wait: Spanned<Period> = v1::CONSUL_WAIT,
        /// For how long instances are used once Consul does not answer.
        hold: Period = v1::SOURCE_HOLD,
        /// The certificates of those who may vouch for Consul (PEM); without it, whom the system trusts.
        ca: Option<Spanned<FilePath>>,
        /// The gateway's own certificate (PEM), if Consul asks for one.
        cert: Option<Spanned<FilePath>>,
        /// Its key (PEM).
        key: Option<Spanned<FilePath>>,
    }
}

section! {
    /// The instances of a service that Consul knows and that pass their checks.
    pub struct FromConsul {
        /// The service's name in Consul.
        service: Spanned<ConsulName>,
        /// Only those that have all of these tags.
        tags: Option<Vec<ConsulName>>,
        /// The datacenter; without it, that of `consul`.
        datacenter: Option<ConsulName>,
        /// Whether instances whose checks warn get requests too, with the weight that they have for that.
        warning: bool = v1::CONSUL_WARNING,
    }
}

words! {
    /// How true Consul's answers must be.
    pub enum ConsulConsistency {
        /// The leader answers.
        Default = "default",
        /// The leader answers once it has made sure that it still is.
        Consistent = "consistent",
        /// Any server answers.
        Stale = "stale",
    }
}

/// What something is called in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulName(pub String);

impl FromText for ConsulName {
    const WHAT: &'static str = "a name in Consul";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Diagnostic::error(format!("`{text}` is no name in Consul"))
            .hint(format!("letters, digits and signs of ASCII without spaces, at most {LONGEST_NAME}")))
    }
}

decode_from_text!(ConsulName);
text_schema!(ConsulName, "ConsulName", "description": "A name in Consul.", "pattern": "^[!-~]{1,128}$", "examples": ["orders"]);

/// Whether all that is said of Consul goes together.
fn fits(consul: &Consul, cx: &mut DecodeCx) -> bool {
    let (url, at) = (&consul.url.value.0, &consul.url.span);
    let mut mistakes = Vec::new();
    if url.contains(['?', '#']) {
        mistakes.push(Diagnostic::error("a URL of Consul ends with its path").at(at).hint("`http://127.0.0.1:8500`"));
    }
    let files = [&consul.ca, &consul.cert, &consul.key];
    if let Some(file) = files.into_iter().flatten().next().filter(|_| !url.starts_with("https://")) {
        let mistake = Diagnostic::error("without TLS, nobody shows a certificate").at(&file.span);
        mistakes.push(mistake.hint("`url: https://…`"));
    }
    if let (Some(lone), None) | (None, Some(lone)) = (&consul.cert, &consul.key) {
        let mistake = Diagnostic::error("a certificate and its key go together").at(&lone.span);
        mistakes.push(mistake.hint("`cert` and `key`"));
    }
    if !(LEAST_WAIT..=MOST_WAIT).contains(&consul.wait.value.0) {
        let mistake = Diagnostic::error("Consul is not asked that way").at(&consul.wait.span);
        mistakes.push(mistake.hint("from `1s` to `10m`"));
    }
    let is_sendable = |token: &&Spanned<Secret>| token.value.0.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(token) = consul.token.as_ref().filter(|token| !is_sendable(token)) {
        mistakes
            .push(Diagnostic::error("the token cannot be sent: it has blanks, or what is no ASCII").at(&token.span));
    }
    if consul.token.is_some() && !is_private(url) {
        let warning = Diagnostic::warning("the token goes over the network in the clear").at(at);
        cx.report(warning.hint("`https://…`, or an agent on this machine"));
    }
    let fits = mistakes.is_empty();
    mistakes.into_iter().for_each(|mistake| cx.report(mistake));
    fits
}
