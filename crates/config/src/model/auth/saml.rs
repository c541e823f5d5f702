//! People who sign in with a browser, at an identity provider of SAML 2.0.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;

use crate::model::auth::login::{LocalPath, Origin, Session};
use crate::model::auth::secret::Secret;
use crate::model::defaults::v1;
use crate::model::route::PathPrefix;
use crate::model::tls::FilePath;
use tollgate_core::text::words;

section! {
    /// A source of identity: people who sign in with a browser, at an identity provider of SAML 2.0.
    pub struct Saml: fits {
        /// The metadata of the identity provider (XML); read again when it changes.
        saml: Spanned<FilePath>,
        /// Which provider it is (`entityID`), if the metadata has several.
        idp: Option<String>,
        /// Who the gateway is there (`entityID`); without it, the URL of its metadata.
        entity: Option<Spanned<String>>,
        /// What signs requests and opens what is encrypted (RSA): a private key (PKCS #8) and its certificate, both in PEM.
        key: Option<Spanned<Secret>>,
        /// The key before, which opens what is still encrypted for it.
        key_before: Option<Spanned<Secret>>,
        /// What the provider must sign.
        signed: SamlSigned = v1::SAML_SIGNED,
        /// Ways to sign in of which it must be one (`AuthnContextClassRef`); without them, any.
        contexts: Option<Vec<String>>,
        /// Below which path the pages are by which people come and go: a route there says `serve: login`.
        at: Spanned<PathPrefix> = v1::SAML_AT,
        /// Where clients reach the gateway; without it, where each request came to.
        url: Option<Spanned<Origin>>,
        /// Other hosts whose pages may change things here on behalf of who is signed in.
        origins: Option<Vec<Origin>>,
        /// The page that is shown to whoever has signed out.
        after_logout: LocalPath = v1::LOGIN_AFTER_LOGOUT,
        /// How sessions are kept.
        session: Session,
    }
}

words! {
    /// What a provider must sign.
    pub enum SamlSigned {
        /// The assertion, or the response that it stands in.
        Either = "either",
        /// The assertion itself.
        Assertion = "assertion",
        /// The response and the assertion.
        Both = "both",
    }
}

fn fits(saml: &Saml, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    if let Some(entity) = saml.entity.as_ref().filter(|entity| entity.value.is_empty() || entity.value.len() > 1024) {
        // SAML 2.0 Core §8.3.6.
        cx.report(Diagnostic::error("an entity has a name of 1 to 1024 letters").at(&entity.span));
        well = false;
    }
    if let (Some(before), None) = (&saml.key_before, &saml.key) {
        cx.report(Diagnostic::error("`key_before` has no use without `key`").at(&before.span));
        well = false;
    }
    well
}
