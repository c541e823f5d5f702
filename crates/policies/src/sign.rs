//! Signs requests for a service that asks for that.
//!
//! # When to use
//! Where a service takes requests with signatures only, as AWS has them (Signature Version 4) or with message signatures (RFC 9421): a bucket, a function or another API of AWS and of those that do as AWS does, or a
//! service that wants to be sure that a request has come by the gateway, unchanged. The keys stand under `signers` at the top of the file,
//! and clients need none.
//!
//! Signed is what is sent: the path as the route rewrites it, the `Host` of the service, the fields that are set on the way. Each try has a
//! signature of its own. A body that is signed has to be read before any of it is sent, up to `largest`. What the client sent in
//! place of what is written here is not sent, and neither is what `backend_token` or `headers` would write there: with `sigv4` that is
//! `Authorization`. Copies for a mirror are not signed. A request that lacks what the signature has to cover is answered 500 `sign/impossible`.
//!
//! # Example
//! ```yaml
//! sign:
//!   with: bucket
//! ```
//!
//! # Faults
//! None.

use std::sync::Arc;

use schemars::JsonSchema;
use serde_json::json;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::onward::Signer;
use tollgate_core::policy::{BuildCx, Built, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::Fault;
use tollgate_core::section;

use crate::kit::forms::{ShortForm, text_under, unknown_name, with_short};

section! {
    /// Signs requests for a service that asks for that.
    pub struct SignConfig {
        /// The name of the one that signs, under `signers`.
        with: Spanned<String>,
    }
}

impl PolicyConfig for SignConfig {
    const NAME: &'static str = "sign";
    const SUMMARY: &'static str = "Signs requests for a service that asks for that.";
    const EXAMPLE: &'static str = "with: bucket";
    const FAULTS: &'static [&'static Fault] = &[];
    const IS_ONWARD: bool = true;

    /// `bucket` → `{ with: bucket }`.
    fn desugar(node: Node) -> Node {
        text_under(node, "with")
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let signers = &cx.sources.signers;
        match signers.iter().find(|signer| signer.name() == self.with.value) {
            Some(signer) => Ok(vec![(Stage::Sign, Arc::new(Sign { signer: Arc::clone(signer) }))]),
            None => Err(unknown_name(
                format!("nobody called `{}` signs", self.with.value),
                &self.with,
                signers.iter().map(|signer| signer.name()),
                "name it under `signers` at the top of the file: `signers: { bucket: { sigv4: … } }`",
            )),
        }
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(SignConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<SignConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] =
    &[ShortForm { short: "bucket", long: "{ with: bucket }", schema: || json!({ "type": "string" }) }];

#[derive(Debug)]
struct Sign {
    signer: Arc<dyn Signer>,
}

impl Policy for Sign {
    fn hooks(&self) -> Hooks {
        Hooks { content: self.signer.most_content() > 0, ..Hooks::REQUEST }
    }

    fn wants_content(&self, _: &Exchange) -> Option<usize> {
        Some(self.signer.most_content())
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        self.signer.prepare(&mut x.head);
        x.onward.signer = Some(Arc::clone(&self.signer));
        Step::next()
    }

    fn describe(&self) -> String {
        format!("{}: {}", self.signer.name(), self.signer.describe())
    }
}

#[cfg(test)]
mod tests;
