//! Requests with message signatures.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::section;
use tollgate_core::units::Period;

use crate::model::auth::secret::Secret;
use crate::model::defaults::v1;
use crate::model::named::Named;
use tollgate_core::text::words;

section! {
    /// A source of identity: requests with message signatures (RFC 9421).
    pub struct Signed: covers_whom {
        /// The keys, by what signatures call them (`keyid`).
        signature: Spanned<Named<SignedKey>>,
        /// What a signature has to cover at the least, beside the digest of a body: `@method`, `@authority`, `@path`, `@query`,
        /// names of header fields.
        components: Option<Spanned<Vec<Spanned<String>>>>,
        /// What signatures are for (`tag`): others are passed over. Without it, whichever.
        tag: Option<String>,
        /// How old a signature may be.
        age: Period = v1::SIGV4_SKEW,
        /// By how much clocks may differ.
        skew: Period = v1::AUTH_SKEW,
        /// Whether signatures need a nonce. One with a nonce is good once; one without, for as long as `age` says.
        nonce: SignedOnce = v1::SIGNED_NONCE,
    }
}

words! {
    /// Whether signatures need a nonce.
    pub enum SignedOnce {
        /// They need one.
        Required = "required",
        /// They may have one.
        Optional = "optional",
    }
}

section! {
    /// A key that requests are signed with.
    pub struct SignedKey: fits {
        /// How it signs.
        algorithm: SignedBy,
        /// The public key (PEM): `${file:./partner.pem}`.
        key: Option<Spanned<String>>,
        /// The shared secret, of `hmac-sha256`: at least 32 bytes.
        secret: Option<Spanned<Secret>>,
        /// The application that it is for: what conditions know as `consumer`. Without it, the key's name.
        name: Option<String>,
        /// What it is good for.
        scopes: Option<Vec<String>>,
    }
}

words! {
    /// How a request is signed (RFC 9421 §3.3).
    pub enum SignedBy {
        /// Ed25519.
        Ed25519 = "ed25519",
        /// ECDSA on P-256.
        P256 = "ecdsa-p256-sha256",
        /// ECDSA on P-384.
        P384 = "ecdsa-p384-sha384",
        /// RSA-PSS.
        RsaPss = "rsa-pss-sha512",
        /// RSA with the older padding.
        RsaV15 = "rsa-v1_5-sha256",
        /// A shared secret.
        Hmac = "hmac-sha256",
    }
}

fn fits(key: &SignedKey, cx: &mut DecodeCx) -> bool {
    let spans = (key.key.as_ref().map(|key| &key.span), key.secret.as_ref().map(|secret| &secret.span));
    has_its_key(key.algorithm, spans, "public", cx)
}

/// Whether there is a key of the kind that an algorithm has, by where a pair of keys' half (`public` or `private`) and a secret stand.
pub(in crate::model) fn has_its_key(
    algorithm: SignedBy,
    (key, secret): (Option<&Span>, Option<&Span>),
    half: &str,
    cx: &mut DecodeCx,
) -> bool {
    let is_shared = algorithm == SignedBy::Hmac;
    let fits = (key.is_some(), secret.is_some()) == (!is_shared, is_shared);
    if !fits {
        let mistake = Diagnostic::error(format!("`{}` has another kind of key", algorithm.as_str()));
        let mistake = key.or(secret).map_or(mistake.clone(), |span| mistake.at(span));
        cx.report(mistake.hint(format!("`secret` for `hmac-sha256`, `key` (a {half} key in PEM) for all others")));
    }
    fits
}

/// A signature that covers neither what is done nor to whom would be good for anything (RFC 9421 §7.2.1).
fn covers_whom(source: &Signed, cx: &mut DecodeCx) -> bool {
    let Some(components) = &source.components else { return true };
    if components.value.is_empty() {
        cx.report(
            Diagnostic::error("a signature of nothing")
                .at(&components.span)
                .hint("`[\"@method\", \"@authority\", \"@path\"]`"),
        );
        return false;
    }
    let names = |some: &[&str]| components.value.iter().any(|own| some.contains(&own.value.as_str()));
    if !names(&["@method"]) || !names(&["@path", "@target-uri", "@request-target"]) {
        let warning =
            Diagnostic::warning("what is signed is good for other methods or paths, too").at(&components.span);
        cx.report(warning.hint("add `\"@method\"` and `\"@path\"`"));
    }
    true
}
