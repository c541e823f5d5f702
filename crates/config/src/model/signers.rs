//! `signers`: how requests are signed for services that ask for that.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::section;
use tollgate_core::units::{BoundedSize, Period};

use crate::model::auth::signed::has_its_key;
use crate::model::auth::{Secret, SignedBy};
use crate::model::defaults::v1;
use crate::model::fields::FieldName;
use tollgate_core::text::words;

/// How requests are signed: which kind it is, one key tells that the other does not have.
#[derive(Clone, Debug, PartialEq)]
pub enum Signer {
    /// As AWS has it.
    Aws(AwsSigner),
    /// With message signatures.
    Message(MessageSigner),
}

impl Decode for Signer {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        if node.get("sigv4").is_some() {
            return AwsSigner::decode(node, cx).map(Self::Aws);
        }
        if node.get("signature").is_some() {
            return MessageSigner::decode(node, cx).map(Self::Message);
        }
        let mistake = Diagnostic::error("nothing says how this signs").at(&node.span);
        cx.report(mistake.hint("`sigv4: KEY-ID` as AWS has it, or `signature: KEY-ID` (RFC 9421)"));
        None
    }
}

impl JsonSchema for Signer {
    fn schema_name() -> Cow<'static, str> {
        "Signer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<AwsSigner>(), generator.subschema_for::<MessageSigner>()] })
    }
}

section! {
    /// Signs requests as AWS has it (Signature Version 4).
    pub struct AwsSigner: aws_fits {
        /// The id of the access key.
        sigv4: Spanned<String>,
        /// Its secret.
        secret: Secret,
        /// The token of the session that the key belongs to, if it is a temporary one.
        token: Option<Secret>,
        /// The region of the service: `eu-west-1`.
        region: Spanned<String>,
        /// The service, as AWS calls it: `s3`, `execute-api`.
        service: Spanned<String>,
        /// Header fields that are signed if they are there, beside `Host` and `Content-Type`. Of clients' own fields `X-Amz-…` only these are
        /// sent.
        headers: Option<Vec<FieldName>>,
        /// Whether the body is signed. If so, it is read before any of it is sent.
        body: SignedBody = v1::SIGNER_BODY,
        /// The largest body that is signed.
        largest: BoundedSize<1, 1_073_741_824> = v1::SIGNER_LARGEST,
    }
}

words! {
    /// Whether a body is signed.
    pub enum SignedBody {
        /// It is.
        Signed = "signed",
        /// It is not (`UNSIGNED-PAYLOAD`).
        Unsigned = "unsigned",
    }
}

section! {
    /// Signs requests with message signatures (RFC 9421).
    pub struct MessageSigner: message_fits {
        /// The name of the key (`keyid`).
        signature: Spanned<String>,
        /// How it signs.
        algorithm: SignedBy,
        /// The private key (PEM): `${file:./sign.pem}`.
        key: Option<Spanned<Secret>>,
        /// The shared secret, of `hmac-sha256`: at least 32 bytes.
        secret: Option<Spanned<Secret>>,
        /// The label of the signature among others.
        label: Spanned<String> = v1::SIGNER_LABEL,
        /// What is covered: `@method`, `@authority`, `@path`, `@query`, `@target-uri`, names of header fields. A request without one of
        /// these cannot be sent.
        components: Option<Vec<Spanned<String>>>,
        /// What is covered, too, if it is there.
        optional: Option<Vec<Spanned<String>>>,
        /// What the signature is for (`tag`).
        tag: Option<String>,
        /// How long it is good.
        lifetime: Spanned<Period> = v1::SIGNER_LIFETIME,
        /// Whether it has a nonce, so that whoever remembers those takes it once only.
        nonce: bool = v1::SIGNER_NONCE,
        /// How the digest of a body is made that is sent and covered with it (`Content-Digest`, RFC 9530); the body is read before any
        /// of it is sent then.
        digest: DigestBy = v1::SIGNER_DIGEST,
        /// The largest body of which a digest is made.
        largest: BoundedSize<1, 1_073_741_824> = v1::SIGNER_LARGEST,
    }
}

words! {
    /// How the digest of a body is made.
    pub enum DigestBy {
        /// SHA-256.
        Sha256 = "sha-256",
        /// SHA-512.
        Sha512 = "sha-512",
        /// There is none: the body is not signed.
        None = "none",
    }
}

fn aws_fits(signer: &AwsSigner, cx: &mut DecodeCx) -> bool {
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let parts = [(&signer.sigv4, "id of a key"), (&signer.region, "region"), (&signer.service, "service")];
    let mut well = true;
    for (part, what) in parts.into_iter().filter(|(part, _)| !is_word(&part.value)) {
        cx.report(
            Diagnostic::error(format!("`{}` is no {what}", part.value)).at(&part.span).hint("letters, digits and `-`"),
        );
        well = false;
    }
    well
}

fn message_fits(signer: &MessageSigner, cx: &mut DecodeCx) -> bool {
    let spans = (signer.key.as_ref().map(|key| &key.span), signer.secret.as_ref().map(|secret| &secret.span));
    let fits = has_its_key(signer.algorithm, spans, "private", cx);
    let covers_digest =
        signer.components.iter().chain(&signer.optional).flatten().find(|one| one.value == "content-digest");
    if let Some(named) = covers_digest.filter(|_| signer.digest == DigestBy::None) {
        cx.report(
            Diagnostic::error("no digest is made that could be covered").at(&named.span).hint("`digest: sha-256`"),
        );
        return false;
    }
    // Times of signatures are whole seconds (RFC 9421 §2.3).
    if signer.lifetime.value.0.as_secs() < 1 {
        cx.report(
            Diagnostic::error("it would be over before it arrives").at(&signer.lifetime.span).hint("`lifetime: 1m`"),
        );
        return false;
    }
    fits
}
