//! Requests that are signed on their way to a service: with AWS Signature Version 4, or with message signatures (RFC 9421) and a
//! digest of the body (RFC 9530). What signs is [`sigv4::Signer`] and [`signature::Signer`]; here is what they need to do that for
//! requests as they leave.
//!
//! A signature is made for each try, over the bytes that are sent. Only what HTTP/1.1 and HTTP/2 have in common is signed.

use std::fmt;
use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::head::RequestHead;
use tollgate_core::onward::{Outgoing, Signer};
use tollgate_core::problem::Problem;

use crate::content_digest::{self, Algorithm, CONTENT_DIGEST};
use crate::faults::SIGN_IMPOSSIBLE;
use crate::message::Message;
use crate::signature;
use crate::sigv4::{self, PRESIGNED, Payload, REPLACED};

/// What the body has to do with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It is signed, and so read before it is sent, if it is no larger than this, in bytes.
    Signed(usize),
    /// It is not.
    Unsigned,
}

impl Body {
    fn most(self) -> usize {
        match self {
            Self::Signed(most) => most,
            Self::Unsigned => 0,
        }
    }
}

/// Signs as AWS has it.
pub struct AwsSigner {
    name: Arc<str>,
    signer: sigv4::Signer,
    body: Body,
    clock: Clock,
}

impl AwsSigner {
    /// Signs with this.
    #[must_use]
    pub fn new(name: &str, signer: sigv4::Signer, body: Body, clock: Clock) -> Arc<Self> {
        Arc::new(Self { name: name.into(), signer, body, clock })
    }
}

impl Signer for AwsSigner {
    fn name(&self) -> &str {
        &self.name
    }

    fn most_content(&self) -> usize {
        self.body.most()
    }

    /// A request has one signature: not that of the client, in neither form. And whatever else a client says to AWS would be said in the
    /// name of the gateway's key (`X-Amz-Copy-Source` reads what that key may read): only what is named goes on.
    fn prepare(&self, head: &mut RequestHead) {
        let is_named = |name: &[u8]| self.signer.fields.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name));
        head.fields.drop_received(|_, name| {
            name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-")) && !is_named(name)
        });
        REPLACED.iter().for_each(|name| head.fields.remove(name));
        for name in PRESIGNED {
            if head.query_values(name) > 0 {
                head.remove_query_values(name);
            }
        }
    }

    fn writes(&self, name: &[u8]) -> bool {
        REPLACED.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }

    fn sign(&self, request: &Outgoing<'_>) -> Result<Vec<(&'static str, String)>, Problem> {
        let message = message(request)?;
        let payload = match self.body {
            Body::Signed(_) => Payload::Hash(sigv4::hash(request.content.map_or(&[], |content| content))),
            Body::Unsigned => Payload::Unsigned,
        };
        self.signer.sign(&message, &payload, self.clock.unix()).map_err(impossible)
    }

    fn describe(&self) -> String {
        let (service, region) = (&self.signer.service, &self.signer.region);
        let body = if self.body == Body::Unsigned { ", without its body" } else { "" };
        format!("as AWS has it, for {service} in {region}{body}")
    }
}

impl fmt::Debug for AwsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSigner").field("name", &self.name).field("signer", &self.signer).finish_non_exhaustive()
    }
}

/// Signs with message signatures.
pub struct MessageSigner {
    name: Arc<str>,
    signer: signature::Signer,
    digest: Option<Digest>,
    clock: Clock,
}

/// How the digest of a body is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How it is hashed.
    pub algorithm: Algorithm,
    /// The largest body, in bytes.
    pub most: usize,
    /// For which requests.
    pub of: DigestOf,
}

/// Which requests have a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestOf {
    /// Those with a body.
    Bodies,
    /// All: without a body, it is that of no bytes.
    Everything,
}

impl MessageSigner {
    /// Signs with this. What it covers has to name `content-digest` if a digest is made.
    #[must_use]
    pub fn new(name: &str, signer: signature::Signer, digest: Option<Digest>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { name: name.into(), signer, digest, clock })
    }
}

impl Signer for MessageSigner {
    fn name(&self) -> &str {
        &self.name
    }

    fn most_content(&self) -> usize {
        self.digest.map_or(0, |digest| digest.most)
    }

    /// Signatures of others stay beside the gateway's (RFC 9421 §4.3), unless they go by its label.
    fn prepare(&self, head: &mut RequestHead) {
        if self.signer.is_taken(&Message { fields: head.fields.iter().collect(), ..Message::received(head, "http") }) {
            [signature::SIGNATURE, signature::INPUT].iter().for_each(|name| head.fields.remove(name));
        }
        if self.digest.is_some() {
            head.fields.remove(CONTENT_DIGEST);
        }
    }

    fn writes(&self, name: &[u8]) -> bool {
        self.digest.is_some() && CONTENT_DIGEST.as_bytes().eq_ignore_ascii_case(name)
    }

    fn sign(&self, request: &Outgoing<'_>) -> Result<Vec<(&'static str, String)>, Problem> {
        let mut message = message(request)?;
        let wanted = self.digest.filter(|digest| digest.of == DigestOf::Everything || request.content.is_some());
        let body: &[u8] = request.content.map_or(&[], |content| content);
        let digest = wanted.map(|digest| content_digest::make(digest.algorithm, body));
        message.fields.extend(digest.iter().map(|digest| (CONTENT_DIGEST.as_bytes(), digest.as_bytes())));
        let signed = self.signer.sign(&message, self.clock.unix()).map_err(impossible)?;
        Ok(digest.map(|digest| (CONTENT_DIGEST, digest)).into_iter().chain(signed).collect())
    }

    fn describe(&self) -> String {
        let body = if self.digest.is_none() { ", without its body" } else { "" };
        format!("with {}{body}", self.signer.algorithm().name())
    }
}

impl fmt::Debug for MessageSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSigner").field("name", &self.name).field("signer", &self.signer).finish_non_exhaustive()
    }
}

fn message<'a>(request: &Outgoing<'a>) -> Result<Message<'a>, Problem> {
    Message::sent(request.head, request.scheme)
        .ok_or_else(|| impossible("its head has bytes that are no text".to_owned()))
}

fn impossible(why: String) -> Problem {
    SIGN_IMPOSSIBLE.problem().cause(why)
}

#[cfg(test)]
mod tests;
