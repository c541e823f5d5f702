//! `issuer`: who the gateway is as one that gives out tokens.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::Period;

use crate::model::auth::{Secret, Url};
use crate::model::defaults::v1;
use crate::model::named::Named;
use crate::model::tls::FilePath;
use tollgate_core::text::words;

section! {
    /// Who the gateway is as one that gives out tokens: to services, on behalf of those who call them.
    pub struct Issuer: fits {
        /// What the tokens say in `iss`. Services find the keys below it, at `/.well-known/jwks.json`, if a route serves them.
        url: Spanned<Url>,
        /// How tokens are signed.
        algorithm: Spanned<SigningAlgorithm> = v1::ISSUER_ALGORITHM,
        /// How long a key signs; the next one is published an hour before it does.
        rotate: Spanned<Period> = v1::ISSUER_ROTATE,
        /// Keys of your own (PEM, PKCS #8; P-256 or Ed25519): the first one signs, all are published. Without it, keys are made in
        /// the folder `data` and follow each other.
        key: Option<Spanned<Secret>>,
        /// Which tokens may be traded for which at a route with `serve: token`: whom a token is for, and for whom it may be traded.
        exchange: Option<Named<Vec<String>>>,
        /// SAML assertions that are traded for tokens at the same route (RFC 7522).
        saml: Option<SamlGrant>,
    }
}

section! {
    /// Which SAML assertions are traded, and for what.
    pub struct SamlGrant {
        /// The metadata of the identity provider (XML); read again when it changes.
        metadata: Spanned<FilePath>,
        /// Which provider it is (`entityID`), if the metadata has several.
        entity: Option<String>,
        /// The services for which tokens are given.
        to: Vec<String>,
    }
}

words! {
    /// How tokens of the gateway's own are signed.
    pub enum SigningAlgorithm {
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

fn fits(issuer: &Issuer, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    if issuer.url.value.0.contains(['?', '#']) {
        cx.report(Diagnostic::error("an issuer has neither a query nor a fragment").at(&issuer.url.span));
        well = false;
    }
    // Keys of one's own say by which algorithm they sign, and nobody changes them.
    let written = [("algorithm", &issuer.algorithm.span), ("rotate", &issuer.rotate.span)];
    if let Some((what, span)) = written.into_iter().find(|(_, span)| issuer.key.is_some() && span.is_some()) {
        let mistake = Diagnostic::error(format!("`{what}` has no use with `key`")).at(span);
        cx.report(mistake.hint("a key says by which algorithm it signs, and is changed by whoever wrote it"));
        return false;
    }
    if issuer.rotate.value.0.as_secs() < 3600 {
        let mistake = Diagnostic::error("keys do not follow each other so fast").at(&issuer.rotate.span);
        cx.report(mistake.hint("an hour or more: services read the keys now and then only"));
        well = false;
    }
    well
}
