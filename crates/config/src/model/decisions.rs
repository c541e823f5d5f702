//! `decisions`: who decides about requests, outside of the gateway.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::secrets::is_secret;
use tollgate_core::section;
use tollgate_core::units::{Bounded, Period};

use crate::model::auth::url::is_private;
use crate::model::auth::{Secret, Url};
use crate::model::defaults::v1;
use crate::model::fields::FieldName;
use crate::model::tls::FilePath;

section! {
    /// Somebody who is asked whether a request may be made, as the REST data API of the Open Policy Agent has it.
    pub struct Decision: fits {
        /// Where: a document that is `true` or `false`, or has a member `allow`.
        url: Spanned<Url>,
        /// What the gateway shows there (`Authorization: Bearer …`).
        token: Option<Spanned<Secret>>,
        /// Header fields of the request that are told; those that carry credentials cannot be.
        headers: Option<Vec<Spanned<FieldName>>>,
        /// Whether the query is told, without what looks like a secret.
        query: bool = v1::DECISION_QUERY,
        /// The claims of the caller that are told: names, `realm_access.roles`. Without it, all.
        claims: Option<Spanned<Vec<String>>>,
        /// The certificates of those who may vouch for it (PEM); without it, whom the system trusts.
        ca: Option<Spanned<FilePath>>,
        /// How long it may take.
        timeout: Period = v1::DECISION_TIMEOUT,
        /// For how long an answer holds for the same question: so late may a change be seen.
        cache: Period = v1::DECISION_CACHE,
        /// About how many answers are remembered; with 0, each request is asked about.
        remember: Bounded<0, 10_000_000> = v1::AUTH_REMEMBER,
        /// Most questions at a time; what comes beyond that is answered 503.
        at_once: Bounded<1, 10_000> = v1::DECISION_AT_ONCE,
    }
}

fn fits(decision: &Decision, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    let (url, at) = (&decision.url.value.0, &decision.url.span);
    if !is_private(url) {
        let warning = Diagnostic::warning(format!("what `{url}` says is not protected on its way")).at(at);
        cx.report(warning.hint("whoever is on the network between can let anybody pass: use https"));
    }
    if url.contains('#') {
        cx.report(Diagnostic::error("what stands behind `#` is never sent").at(at));
        well = false;
    }
    if let Some(ca) = decision.ca.as_ref().filter(|_| !url.starts_with("https://")) {
        cx.report(Diagnostic::error("`ca` has no use: nothing is asked under https").at(&ca.span));
        well = false;
    }
    let is_sendable = |token: &&Spanned<Secret>| token.value.0.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(token) = decision.token.as_ref().filter(|token| !is_sendable(token)) {
        cx.report(Diagnostic::error("the token cannot be sent: it has blanks, or what is no ASCII").at(&token.span));
        well = false;
    }
    for name in decision.headers.iter().flatten().filter(|name| is_secret(name.value.as_str().as_bytes())) {
        let mistake = Diagnostic::error(format!("`{}` carries what lets somebody in", name.value.as_str()));
        cx.report(mistake.at(&name.span).hint("who calls is told by `caller`: leave it out"));
        well = false;
    }
    let has_empty =
        |claims: &Spanned<Vec<String>>| claims.value.iter().any(|claim| claim.split('.').any(str::is_empty));
    if let Some(claims) = decision.claims.as_ref().filter(|claims| has_empty(claims)) {
        let mistake = Diagnostic::error("a claim without a name").at(&claims.span);
        cx.report(mistake.hint("names, those within others behind a dot: `[email, realm_access.roles]`"));
        well = false;
    }
    well
}
