//! Who signs requests for services: made of the config.

use std::sync::Arc;

use tollgate_config::model::{self, Config, DigestBy, SignedBody};
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::head::RequestHead;
use tollgate_core::node::Spanned;
use tollgate_core::onward::{self, Outgoing};
use tollgate_core::problem::Problem;
use tollgate_identity::signer::{AwsSigner, Body, Digest, DigestOf, MessageSigner};
use tollgate_identity::{content_digest, signature, sigv4};

use crate::sources::settings::{COVERED, component, size};

/// All of a config.
///
/// # Errors
/// Keys that are none, or what cannot be covered.
pub(super) fn signers(config: &Config, clock: &Clock) -> Result<Vec<Arc<dyn onward::Signer>>, Vec<Diagnostic>> {
    let (mut signers, mut mistakes) = (Vec::new(), Vec::new());
    for written in &config.signers {
        match signer(written, clock) {
            Ok(signer) => signers.push(signer),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() { Ok(signers) } else { Err(mistakes) }
}

/// Who signs requests for services.
///
/// # Errors
/// A key that is none, or something that cannot be covered.
pub(super) fn signer(
    (name, written): &(Spanned<String>, model::Signer),
    clock: &Clock,
) -> Result<Arc<dyn onward::Signer>, Diagnostic> {
    Ok(match written {
        model::Signer::Aws(written) => aws_signer(&name.value, written, clock),
        model::Signer::Message(written) => message_signer(&name.value, written, clock)?,
    })
}

fn aws_signer(name: &str, written: &model::AwsSigner, clock: &Clock) -> Arc<dyn onward::Signer> {
    let lower = |name: &model::FieldName| name.as_str().to_ascii_lowercase();
    let signer = sigv4::Signer {
        key: written.sigv4.value.clone(),
        secret: sigv4::Secret::new(written.secret.0.as_bytes()),
        token: written.token.as_ref().map(|token| token.0.clone()),
        region: written.region.value.clone(),
        service: written.service.value.clone(),
        fields: written.headers.iter().flatten().map(lower).collect(),
        hash: sigv4::HashField::WhereNeeded,
    };
    let body = match written.body {
        SignedBody::Signed => Body::Signed(size(written.largest.get())),
        SignedBody::Unsigned => Body::Unsigned,
    };
    AwsSigner::new(name, signer, body, clock.clone())
}

fn message_signer(
    name: &str,
    written: &model::MessageSigner,
    clock: &Clock,
) -> Result<Arc<dyn onward::Signer>, Diagnostic> {
    let wrong = |why: String| Diagnostic::error(format!("the key of `{name}`: {why}")).at(&written.signature.span);
    let algorithm = signature::Algorithm::of(written.algorithm.as_str());
    let key = match (algorithm, &written.key, &written.secret) {
        (Some(algorithm), Some(key), _) => signature::SigningKey::from_pem(algorithm, &key.value.0).map_err(wrong)?,
        (_, _, Some(secret)) => signature::SigningKey::shared(secret.value.0.as_bytes())
            .ok_or_else(|| wrong("too short a secret".to_owned()))?,
        _ => return Err(wrong("there is none".to_owned())),
    };
    let algorithm = match written.digest {
        DigestBy::Sha256 => Some(content_digest::Algorithm::Sha256),
        DigestBy::Sha512 => Some(content_digest::Algorithm::Sha512),
        DigestBy::None => None,
    };
    let components = match &written.components {
        None => COVERED.iter().filter_map(|name| signature::Component::read(name).ok()).collect(),
        Some(all) => all.iter().map(component).collect::<Result<Vec<_>, _>>()?,
    };
    let mut optional = written.optional.iter().flatten().map(component).collect::<Result<Vec<_>, _>>()?;
    let digest = signature::Component::read("content-digest").map_err(wrong)?;
    let of = if components.contains(&digest) { DigestOf::Everything } else { DigestOf::Bodies };
    if algorithm.is_some() && of == DigestOf::Bodies && !optional.contains(&digest) {
        optional.push(digest);
    }
    let settings = signature::Settings {
        key: Some(written.signature.value.clone()),
        components,
        optional,
        tag: written.tag.clone(),
        life: Some(written.lifetime.value.0),
        nonce: if written.nonce { signature::Nonce::Random } else { signature::Nonce::None },
        algorithm: signature::Told::Yes,
    };
    let signer = signature::Signer::new(&written.label.value, Arc::new(key), settings);
    let signer = signer.map_err(|why| Diagnostic::error(why).at(&written.signature.span))?;
    let digest = algorithm.map(|algorithm| Digest { algorithm, most: size(written.largest.get()), of });
    Ok(MessageSigner::new(name, signer, digest, clock.clone()))
}

/// The same for a rehearsal: what is signed is checked as ever, and no signature is shown.
#[derive(Debug)]
pub(super) struct Masked(pub(super) Arc<dyn onward::Signer>);

impl onward::Signer for Masked {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn most_content(&self) -> usize {
        self.0.most_content()
    }

    fn prepare(&self, head: &mut RequestHead) {
        self.0.prepare(head);
    }

    fn writes(&self, name: &[u8]) -> bool {
        self.0.writes(name)
    }

    fn sign(&self, request: &Outgoing<'_>) -> Result<Vec<(&'static str, String)>, Problem> {
        let signed = self.0.sign(request)?;
        Ok(signed.into_iter().map(|(name, _)| (name, "***".to_owned())).collect())
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}
