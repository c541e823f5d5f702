//! Answers of identity providers (SAML 2.0 Core §3.3.3, Profiles §4.1.4.3), and assertions that tokens are asked with (RFC 7522).

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use tollgate_core::problem::Problem;

use super::assertion::{self, Accepted, Use};
use super::binding::Brought;
use super::encryption;
use super::faults::{ISSUER, MALFORMED, METADATA, RECIPIENT, SIGNATURE, STATUS, because};
use super::own_key::OwnKey;
use super::provider::Provider;
use super::signature::{self, Signed};
use super::xml::{self, DSIG, Document, MESSAGE, Node, SAML, SAMLP};
use crate::checks::{Check, on};

/// What all of these begin with, before the word that tells more.
const STATUS_PREFIX: &str = "urn:oasis:names:tc:SAML:2.0:status:";

/// What an answer must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who gives it, and with which keys.
    pub provider: &'a Provider,
    /// Whom assertions are for: one of these, letter by letter.
    pub audiences: &'a [String],
    /// The address that it is sent to.
    pub recipient: &'a str,
    /// Ways to sign in, of which it must be one; empty: any (SAML 2.0 Authentication Context).
    pub contexts: &'a [String],
    /// What must be signed.
    pub signed: MustBeSigned,
    /// Our keys: one of them opens what is encrypted.
    pub keys: &'a [OwnKey],
    /// By how much clocks may differ.
    pub skew: Duration,
}

/// What must be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MustBeSigned {
    /// The assertion, or the response that it stands in.
    #[default]
    Either,
    /// The assertion itself.
    Assertion,
    /// The response and the assertion.
    Both,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers<'a> {
    /// The request with this ID.
    Request(&'a str),
    /// None: the provider began.
    Nothing,
}

impl Answers<'_> {
    /// SAML 2.0 Profiles §4.1.5: what was not asked for must not say that it was.
    pub(super) fn judge(self, node: Node<'_>) -> Result<(), Problem> {
        let said = node.attribute("InResponseTo");
        let fits = match self {
            Self::Request(id) => said == Some(id),
            Self::Nothing => said.is_none(),
        };
        if fits || !on(Check::SamlQuestion) { Ok(()) } else { Err(because(&RECIPIENT, "another `InResponseTo`")) }
    }
}

impl Expected<'_> {
    /// Judges what a provider answers to a question, or of its own accord: by form (SAML 2.0 Profiles §4.1.2). Whether it was used
    /// before is not looked at: that is for whoever keeps sessions of sign-ins.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge_response(
        &self,
        brought: &Brought,
        answers: Answers<'_>,
        now: SystemTime,
    ) -> Result<Accepted, Problem> {
        self.judge_provider(now)?;
        let text = brought.answer_by_form().ok_or_else(|| because(&MALFORMED, "no answer by form"))?;
        let document = read(text)?;
        let response = document.root_element();
        if !xml::is(response, SAMLP, "Response") {
            return Err(because(&MALFORMED, "no `Response`"));
        }
        let holder = at_most_one_assertion(response)?;
        only_signed(&document, &[Some(response), holder])?;
        let outer = signature::of(response)?;
        let outer = outer.map(|own| signature::verify(response, own, &self.provider.certificates)).transpose()?;
        match &outer {
            Some(signed) => self.judge_envelope(signed.read()?.root_element(), Envelope::Signed, answers, now)?,
            None => self.judge_envelope(response, Envelope::Open, answers, now)?,
        }
        let Some(holder) = holder else { return Err(because(&MALFORMED, "no assertion")) };
        let signed = self.trusted(holder, outer.as_ref())?;
        assertion::judge(self, signed.read()?.root_element(), Use::SignIn(answers), now)
    }

    /// Judges the `assertion` that a token is asked with (RFC 7522 §2.1): it is signed itself, and `recipient` is the token endpoint.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge_grant(&self, assertion: &str, now: SystemTime) -> Result<Accepted, Problem> {
        // RFC 7522 §2.1: without padding and line breaks, but some pad.
        let bytes = BASE64URL_NOPAD.decode(assertion.trim_end_matches('=').as_bytes());
        let bytes = bytes.map_err(|_| because(&MALFORMED, "not base64url"))?;
        self.judge_provider(now)?;
        let text = xml::decode(bytes).map_err(|why| because(&MALFORMED, why))?;
        let document = read(&text)?;
        let assertion = document.root_element();
        if !xml::is(assertion, SAML, "Assertion") {
            return Err(because(&MALFORMED, "no `Assertion`"));
        }
        only_signed(&document, &[Some(assertion)])?;
        let signature = signature::of(assertion)?.ok_or_else(|| because(&SIGNATURE, "not signed"))?;
        let signed = signature::verify(assertion, signature, &self.provider.certificates)?;
        assertion::judge(self, signed.read()?.root_element(), Use::Grant, now)
    }

    /// Whether the provider's metadata still holds.
    pub(super) fn judge_provider(&self, now: SystemTime) -> Result<(), Problem> {
        if self.provider.valid_until.is_some_and(|until| until <= now) { Err(METADATA.problem()) } else { Ok(()) }
    }

    /// What stands around the assertion. Where it is not signed, it can make things worse, but never better: all of it is said in
    /// the assertion, too.
    fn judge_envelope(
        &self,
        response: Node<'_>,
        envelope: Envelope,
        answers: Answers<'_>,
        now: SystemTime,
    ) -> Result<(), Problem> {
        self.judge_head(response, now)?;
        judge_destination(response, envelope, self.recipient)?;
        let issuer = xml::at_most_one(response, SAML, "Issuer").and_then(|issuer| issuer.map(xml::text).transpose());
        if issuer.map_err(|why| because(&MALFORMED, why))?.is_some_and(|issuer| issuer != self.provider.entity_id) {
            return Err(because(&ISSUER, "another `Issuer` of the response"));
        }
        answers.judge(response)?;
        judge_status(response)
    }

    /// The assertion as it was signed, by itself or with the response around it.
    fn trusted(&self, holder: Node<'_>, outer: Option<&Signed>) -> Result<Signed, Problem> {
        if self.signed == MustBeSigned::Both && outer.is_none() {
            return Err(because(&SIGNATURE, "the response is not signed"));
        }
        if xml::is(holder, SAML, "Assertion") {
            if let Some(own) = signature::of(holder)? {
                return signature::verify(holder, own, &self.provider.certificates);
            }
            let document = self.around(outer)?.read()?;
            return Ok(Signed::part(the_assertion(document.root_element())?));
        }
        // If the response is signed: what was signed of it.
        let opened = match outer {
            Some(signed) => encryption::open(the_assertion(signed.read()?.root_element())?, self.keys)?,
            None => encryption::open(holder, self.keys)?,
        };
        let document = read(&opened)?;
        let assertion = the_assertion(document.root_element())?;
        only_signed(&document, &[Some(assertion)])?;
        match signature::of(assertion)? {
            Some(own) => signature::verify(assertion, own, &self.provider.certificates),
            None => self.around(outer).map(|_| Signed::part(assertion)),
        }
    }

    /// The signed response around an assertion without a signature of its own.
    fn around<'s>(&self, outer: Option<&'s Signed>) -> Result<&'s Signed, Problem> {
        let outer = outer.filter(|_| self.signed == MustBeSigned::Either);
        outer.ok_or_else(|| because(&SIGNATURE, "the assertion is not signed"))
    }
}

/// Whether it is known who wrote what stands around an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// It is.
    Signed,
    /// Anybody may have.
    Open,
}

/// A document of strangers, within bounds and without an ID that stands twice.
pub(super) fn read(text: &str) -> Result<Document<'_>, Problem> {
    let malformed = |why: String| because(&MALFORMED, why);
    let document = xml::read(text, MESSAGE).map_err(malformed)?;
    xml::has_unique_ids(&document).map_err(malformed)?;
    Ok(document)
}

/// SAML 2.0 Bindings §3.4.5.2, §3.5.5.2: what is signed says where it is sent.
pub(super) fn judge_destination(message: Node<'_>, envelope: Envelope, ours: &str) -> Result<(), Problem> {
    match (message.attribute("Destination"), envelope) {
        (Some(said), _) if said == ours || !on(Check::SamlDestination) => Ok(()),
        (None, Envelope::Open) => Ok(()),
        _ => Err(because(&RECIPIENT, "another `Destination`, or none")),
    }
}

/// SAML 2.0 Core §3.2.2.2: whether it worked.
pub(super) fn judge_status(response: Node<'_>) -> Result<(), Problem> {
    let status = xml::one(response, SAMLP, "Status").map_err(|why| because(&MALFORMED, why))?;
    let codes: Vec<&str> = status
        .descendants()
        .filter(|node| xml::is(*node, SAMLP, "StatusCode"))
        .filter_map(|node| node.attribute("Value")?.strip_prefix(STATUS_PREFIX))
        .filter(|word| word.len() < 40 && word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .collect();
    let first = xml::one(status, SAMLP, "StatusCode").map_err(|why| because(&MALFORMED, why))?;
    if first.attribute("Value").and_then(|code| code.strip_prefix(STATUS_PREFIX)) == Some("Success")
        || !on(Check::SamlStatus)
    {
        return Ok(());
    }
    Err(because(&STATUS, format!("it says {}", if codes.is_empty() { "no code".to_owned() } else { codes.join(", ") })))
}

/// The assertion of a response, open or encrypted. Several may be said to be one answer, but nobody does, and each would have to be
/// judged by itself.
fn at_most_one_assertion(response: Node<'_>) -> Result<Option<Node<'_>>, Problem> {
    let names = ["Assertion", "EncryptedAssertion"];
    let mut all = response.children().filter(|child| names.iter().any(|name| xml::is(*child, SAML, name)));
    match (all.next(), all.next()) {
        (first, None) => Ok(first),
        (first, _) if !on(Check::SamlSeveral) => Ok(first),
        _ => Err(because(&MALFORMED, "more than one assertion")),
    }
}

fn the_assertion(around: Node<'_>) -> Result<Node<'_>, Problem> {
    at_most_one_assertion(around)?.ok_or_else(|| because(&MALFORMED, "no assertion"))
}

/// Nothing but these is signed: where another signature stands, somebody has moved things about.
pub(super) fn only_signed(document: &Document<'_>, places: &[Option<Node<'_>>]) -> Result<(), Problem> {
    let places: Vec<_> = places.iter().flatten().map(Node::id).collect();
    let is_elsewhere = |node: Node<'_>| node.parent().is_none_or(|parent| !places.contains(&parent.id()));
    let mut all = document.descendants().filter(|node| xml::is(*node, DSIG, "Signature"));
    if on(Check::SamlElsewhere) && all.any(is_elsewhere) {
        Err(because(&SIGNATURE, "a signature where none belongs"))
    } else {
        Ok(())
    }
}
