//! Checks that a build for tests alone can do without, one at a time: each has to be missed by a test (`cargo xtask checks`).
//!
//! In every other build the answer is known when it is compiled, and nothing is left of the question.

macro_rules! checks {
    ($($(#[$doc:meta])* $check:ident = $name:literal,)+) => {
        /// A check that an attack runs into.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Check {
            $($(#[$doc])* $check,)+
        }

        #[cfg(any(test, feature = "switchable"))]
        impl Check {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$check,)+];

            /// Its name.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$check => $name,)+
                }
            }
        }
    };
}

checks! {
    /// A member of a JSON object stands twice.
    JsonTwice = "json-twice",
    /// Keys that a token brings along (`jwk`, `jku`, `x5u`).
    JwtOwnKey = "jwt-own-key",
    /// Extensions that a token asks for (`crit`).
    JwtCritical = "jwt-critical",
    /// The signature of a token.
    JwtSignature = "jwt-signature",
    /// Who gave a token out.
    JwtIssuer = "jwt-issuer",
    /// Whom a token is for.
    JwtAudience = "jwt-audience",
    /// What kind a token is.
    JwtType = "jwt-type",
    /// When a token ends.
    JwtExpiry = "jwt-expiry",
    /// When a token begins.
    JwtNotYet = "jwt-not-yet",
    /// A bound token whose proof nobody understands.
    JwtBound = "jwt-bound",
    /// When an API key ends.
    KeyExpiry = "key-expiry",
    /// The signature of a request as AWS has it.
    Sigv4Signature = "sigv4-signature",
    /// For which region and service it is.
    Sigv4Scope = "sigv4-scope",
    /// When it was made, and ends.
    Sigv4Time = "sigv4-time",
    /// Which fields it covers.
    Sigv4Fields = "sigv4-fields",
    /// Bodies that it does not cover.
    Sigv4Body = "sigv4-body",
    /// A message signature.
    MessageSignature = "message-signature",
    /// What it covers.
    MessageCoverage = "message-coverage",
    /// When it was made, and ends.
    MessageTime = "message-time",
    /// Whether a message signature has a nonce where it must.
    MessageNonce = "message-nonce",
    /// Whether its nonce was used before.
    MessageReplay = "message-replay",
    /// The digest of a body.
    Digest = "digest",
    /// A document type in XML.
    XmlDocumentType = "xml-document-type",
    /// An ID that stands twice in XML.
    XmlTwice = "xml-twice",
    /// The signature of an assertion or a response.
    SamlSignature = "saml-signature",
    /// Whether what was signed is what is used.
    SamlReference = "saml-reference",
    /// The digest of what was signed.
    SamlDigest = "saml-digest",
    /// Signatures where none belongs.
    SamlElsewhere = "saml-elsewhere",
    /// More than one assertion.
    SamlSeveral = "saml-several",
    /// Who gave an assertion.
    SamlIssuer = "saml-issuer",
    /// Whom an assertion is for.
    SamlAudience = "saml-audience",
    /// The address that an assertion is for.
    SamlRecipient = "saml-recipient",
    /// The address that a message is for.
    SamlDestination = "saml-destination",
    /// Which question it answers.
    SamlQuestion = "saml-question",
    /// When an assertion ends.
    SamlExpiry = "saml-expiry",
    /// When an assertion begins.
    SamlNotYet = "saml-not-yet",
    /// Whether an assertion was used before.
    SamlReplay = "saml-replay",
    /// Logouts that were told long ago.
    SamlLogoutAge = "saml-logout-age",
    /// The way in which somebody signed in.
    SamlContext = "saml-context",
    /// Logout tokens that were used.
    LogoutTwice = "logout-twice",
    /// Whether the provider let anybody in.
    SamlStatus = "saml-status",
    /// Private keys in a proof of possession.
    ProofPrivateKey = "proof-private-key",
    /// What kind a proof is.
    ProofType = "proof-type",
    /// The method that a proof is for.
    ProofMethod = "proof-method",
    /// The URL that a proof is for.
    ProofUrl = "proof-url",
    /// The token that a proof is for.
    ProofToken = "proof-token",
    /// The key that a token is bound to.
    ProofKey = "proof-key",
    /// The signature of a proof.
    ProofSignature = "proof-signature",
    /// What was sealed for something else.
    SealPurpose = "seal-purpose",
    /// How old what was sealed may be.
    SealAge = "seal-age",
    /// How and when somebody signed in at a provider.
    SignInWay = "sign-in-way",
    /// What a sign-in began with.
    SignInNonce = "sign-in-nonce",
    /// Whose word an ID token or a logout token is.
    SignInIssuer = "sign-in-issuer",
    /// For which client it is.
    SignInAudience = "sign-in-audience",
    /// To which client it was given.
    SignInParty = "sign-in-party",
    /// When it ends.
    SignInExpiry = "sign-in-expiry",
    /// Whether the answer is this provider's.
    SignInMixUp = "sign-in-mix-up",
    /// What a logout token is about.
    LogoutEvent = "logout-event",
    /// What marks a logout token for no ID token.
    LogoutNonce = "logout-nonce",
    /// How old a logout token may be.
    LogoutAge = "logout-age",
    /// Which tenants of Entra give tokens out.
    EntraTenant = "entra-tenant",
    /// Whether a token of Entra is of the tenant that it names.
    EntraIssuer = "entra-issuer",
    /// Whether a key of Entra is the tenant's.
    EntraKey = "entra-key",
    /// Of which domain a user of Google is.
    HostedDomain = "hosted-domain",
    /// Whether a policy engine answered at all.
    DecisionStatus = "decision-status",
    /// Whether its document says anything.
    DecisionUndefined = "decision-undefined",
    /// How long a sign-in may take.
    SignInTime = "sign-in-time",
    /// What a make of provider says of its access tokens.
    JwtProfile = "jwt-profile",
    /// Places on other hosts.
    OtherHost = "other-host",
    /// Pages of other sites.
    OtherSite = "other-site",
}

/// Whether it is looked at.
#[cfg(not(feature = "switchable"))]
pub(crate) const fn on(check: Check) -> bool {
    let _ = check;
    true
}

/// Whether it is looked at: the variable `TOLLGATE_WITHOUT` names the one that is not.
#[cfg(feature = "switchable")]
pub(crate) fn on(check: Check) -> bool {
    static WITHOUT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    WITHOUT.get_or_init(|| std::env::var("TOLLGATE_WITHOUT").ok()).as_deref() != Some(check.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where `cargo xtask checks` reads them.
    #[test]
    fn every_check_has_a_name_of_its_own() {
        let names: std::collections::HashSet<&str> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(names.len(), Check::ALL.len());
        Check::ALL.iter().for_each(|check| println!("check {}", check.name()));
    }
}
