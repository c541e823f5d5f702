//! How messages travel by browser (SAML 2.0 Bindings): in the query of a redirect (§3.4), or in a form that sends itself (§3.5).

use std::io::{Read, Write};

use aws_lc_rs::digest;
use data_encoding::BASE64;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use tollgate_core::problem::Problem;

use super::certificate::{Certificate, Method};
use super::faults::{MALFORMED, SIGNATURE, because};
use super::own_key::OwnKey;
use super::provider::{Binding, Endpoint};
use super::response::Envelope;
use super::signature::{self, Signed};
use super::xml::{self, LARGEST, Node, escape};

/// The longest `RelayState` (§3.4.3, §3.5.3).
const LONGEST_STATE: usize = 80;
/// What sends the form. Its digest is in the policy of the page, so that no other script runs there.
const SCRIPT: &str = "document.forms[0].submit()";

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks.
    Request,
    /// It answers.
    Answer,
}

impl Kind {
    /// The parameter that has it.
    fn parameter(self) -> &'static str {
        match self {
            Self::Request => "SAMLRequest",
            Self::Answer => "SAMLResponse",
        }
    }
}

/// What the browser is told, so that it brings a message to the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// To go to this address (`Location`, with 302 or 303).
    Redirect(String),
    /// To show this page.
    Page(Page),
}

/// A page with a form that sends itself, or with a button where scripts do not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// It, in HTML and UTF-8. It must not be stored: `Cache-Control: no-store`.
    pub html: String,
    /// What its `Content-Security-Policy` has to be.
    pub policy: String,
}

/// Sends a message to an endpoint, signed if there is a key.
///
/// # Errors
/// The state is too long, or the system has no random numbers.
pub(super) fn send(
    message: &str,
    kind: Kind,
    to: &Endpoint,
    state: Option<&str>,
    key: Option<&OwnKey>,
) -> Result<Sent, String> {
    if state.is_some_and(|state| state.len() > LONGEST_STATE) {
        return Err(format!("a state of more than {LONGEST_STATE} bytes"));
    }
    let location = address(to, kind);
    match to.binding {
        Binding::Redirect => redirect(message, kind, location, state, key).map(Sent::Redirect),
        Binding::Post => {
            let message =
                key.map(|key| signature::sign(message, key)).transpose()?.unwrap_or_else(|| message.to_owned());
            Ok(Sent::Page(page(&message, kind, location, state)))
        }
    }
}

/// Where an endpoint takes what is of this kind.
pub(super) fn address(endpoint: &Endpoint, kind: Kind) -> &str {
    match (&endpoint.response_location, kind) {
        (Some(location), Kind::Answer) => location,
        _ => &endpoint.location,
    }
}

/// §3.4.4.1: what is signed is the text of the query, and the signature is a part of it, too.
fn redirect(
    message: &str,
    kind: Kind,
    location: &str,
    state: Option<&str>,
    key: Option<&OwnKey>,
) -> Result<String, String> {
    let packed = deflate(message.as_bytes()).map_err(|error| error.to_string())?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair(kind.parameter(), &BASE64.encode(&packed));
    if let Some(state) = state {
        query.append_pair("RelayState", state);
    }
    if let Some(key) = key {
        query.append_pair("SigAlg", key.method().name());
    }
    let mut query = query.finish();
    if let Some(key) = key {
        let value = BASE64.encode(&key.sign(query.as_bytes())?);
        query = form_urlencoded::Serializer::new(query).append_pair("Signature", &value).finish();
    }
    let separator = if location.contains('?') { '&' } else { '?' };
    Ok(format!("{location}{separator}{query}"))
}

fn deflate(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}

fn page(message: &str, kind: Kind, location: &str, state: Option<&str>) -> Page {
    let hidden =
        |name: &str, value: &str| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>One moment</title></head><body>\
         <form method=\"post\" action=\"{}\">{}{}<noscript><button>Continue</button></noscript></form>\
         <script>{SCRIPT}</script></body></html>\n",
        escape(location),
        hidden(kind.parameter(), &BASE64.encode(message.as_bytes())),
        state.map(|state| hidden("RelayState", state)).unwrap_or_default(),
    );
    let script = BASE64.encode(digest::digest(&digest::SHA256, SCRIPT.as_bytes()).as_ref());
    // Not `form-action`: some browsers hold it against a redirect of the provider's own, too.
    let policy = format!("default-src 'none'; script-src 'sha256-{script}'; base-uri 'none'; frame-ancestors 'none'");
    Page { html, policy }
}

/// A message that a browser brought, not believed yet.
#[derive(Debug)]
pub struct Brought {
    kind: Kind,
    state: Option<String>,
    message: String,
    proof: Proof,
}

/// Where the signature is.
#[derive(Debug)]
enum Proof {
    /// In the message.
    Inside,
    /// Beside it: what is signed, how, and the signature.
    Beside(String, Method, Vec<u8>),
    /// Nowhere.
    Nowhere,
}

impl Brought {
    /// Reads the query of a redirect, as it was sent.
    ///
    /// # Errors
    /// It has no message, or one that cannot be read.
    pub fn in_query(query: &str) -> Result<Self, Problem> {
        let (kind, message) = message(query)?;
        if value(query, "SAMLEncoding")?.is_some_and(|how| !how.ends_with(":DEFLATE")) {
            return Err(because(&MALFORMED, "another encoding"));
        }
        let mut bytes = Vec::new();
        // One byte more than is read, so that what is cut short is not taken for whole.
        let mut reader = DeflateDecoder::new(message.as_slice()).take(LARGEST as u64 + 1);
        reader.read_to_end(&mut bytes).map_err(|_| because(&MALFORMED, "not deflated"))?;
        let proof = match (value(query, "SigAlg")?, value(query, "Signature")?) {
            (Some(method), Some(signature)) => {
                let method =
                    Method::of(&method).ok_or_else(|| because(&SIGNATURE, "a way to sign that is not taken"))?;
                let signature = xml::base64(&signature).ok_or_else(|| because(&MALFORMED, "not base64"))?;
                Proof::Beside(signed_part(query, kind)?, method, signature)
            }
            _ => Proof::Nowhere,
        };
        Ok(Self { kind, state: value(query, "RelayState")?, message: decode(bytes)?, proof })
    }

    /// Reads the body of a form (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// It has no message, or one that cannot be read.
    pub fn in_form(body: &str) -> Result<Self, Problem> {
        let (kind, message) = message(body)?;
        Ok(Self { kind, state: value(body, "RelayState")?, message: decode(message)?, proof: Proof::Inside })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was sent along with it. Anybody may have written it.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The message, if it is an answer that came by form.
    pub(super) fn answer_by_form(&self) -> Option<&str> {
        (self.kind == Kind::Answer && matches!(self.proof, Proof::Inside)).then_some(self.message.as_str())
    }

    /// The message, as one of these keys signed it.
    ///
    /// # Errors
    /// It is not signed, or cannot be read.
    pub(super) fn signed(&self, keys: &[Certificate]) -> Result<Signed, Problem> {
        let document = super::response::read(&self.message)?;
        let root = document.root_element();
        match &self.proof {
            Proof::Nowhere => Err(because(&SIGNATURE, "not signed")),
            Proof::Beside(text, method, signature) => {
                if !keys.iter().any(|key| key.verifies(*method, text.as_bytes(), signature)) {
                    return Err(because(&SIGNATURE, "no key of the provider made it"));
                }
                Ok(Signed::part(root))
            }
            Proof::Inside => {
                super::response::only_signed(&document, &[Some(root)])?;
                let own: Option<Node<'_>> = signature::of(root)?;
                signature::verify(root, own.ok_or_else(|| because(&SIGNATURE, "not signed"))?, keys)
            }
        }
    }

    /// For what is read of it: it is always signed.
    pub(super) const ENVELOPE: Envelope = Envelope::Signed;
}

fn decode(bytes: Vec<u8>) -> Result<String, Problem> {
    xml::decode(bytes).map_err(|why| because(&MALFORMED, why))
}

/// The one message of a query or form, decoded.
fn message(text: &str) -> Result<(Kind, Vec<u8>), Problem> {
    // Base64 is a third longer, and an encoded letter up to three.
    if text.len() > LARGEST * 4 {
        return Err(because(&MALFORMED, "too large"));
    }
    let (kind, message) = match (value(text, "SAMLRequest")?, value(text, "SAMLResponse")?) {
        (Some(message), None) => (Kind::Request, message),
        (None, Some(message)) => (Kind::Answer, message),
        _ => return Err(because(&MALFORMED, "not one message")),
    };
    xml::base64(&message).map(|message| (kind, message)).ok_or_else(|| because(&MALFORMED, "not base64"))
}

/// The parameter of this name, if it is there. Of two, another reader may take the other one.
fn value(text: &str, name: &str) -> Result<Option<String>, Problem> {
    let mut all = form_urlencoded::parse(text.as_bytes()).filter(|(key, _)| key == name);
    match (all.next(), all.next()) {
        (first, None) => Ok(first.map(|(_, value)| value.into_owned())),
        _ => Err(because(&MALFORMED, "a parameter stands twice")),
    }
}

/// §3.4.4.1: what is signed of a query, encoded as it was sent, in this order.
fn signed_part(query: &str, kind: Kind) -> Result<String, Problem> {
    let as_sent = |name: &str| query.split('&').find(|pair| pair.split_once('=').is_some_and(|(key, _)| key == name));
    let mut parts = Vec::new();
    for name in [kind.parameter(), "RelayState", "SigAlg"] {
        match (as_sent(name), value(query, name)?) {
            (Some(part), Some(_)) => parts.push(part),
            (None, None) => {}
            // It is read, and would not be signed.
            _ => return Err(because(&MALFORMED, "a parameter with an encoded name")),
        }
    }
    Ok(parts.join("&"))
}
