//! Signatures within XML (W3C, XML Signature 1.1), of the one shape that SAML 2.0 Core §5.4 asks for.
//!
//! What holds is not an element of the document but the very text that was signed: it is read anew, and nothing else. So it does
//! not matter what stands around it, or what another reader would have taken for the signed element (signature wrapping).

use aws_lc_rs::digest;
use data_encoding::BASE64;
use tollgate_core::problem::Problem;

use super::canonical::{Canonical, EXCLUSIVE};
use super::certificate::{Certificate, Method, digest_of};
use super::faults::{MALFORMED, SIGNATURE, because};
use super::own_key::OwnKey;
use super::xml::{self, DSIG, Document, MESSAGE, Node, SAML};
use crate::checks::{Check, on};

/// What is left out of what is signed: the signature itself.
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// How what we send is digested.
const DIGEST: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
/// Most nodes of `SignedInfo`: it is written before anything is known of who made it.
const MOST_OF_INFO: usize = 64;

/// What somebody signed, letter by letter, without the signature.
#[derive(Debug)]
pub(super) struct Signed(String);

impl Signed {
    /// A part of what was signed.
    pub(super) fn part(node: Node<'_>) -> Self {
        Self(Canonical::default().write(node, None))
    }

    /// Reads it anew.
    pub(super) fn read(&self) -> Result<Document<'_>, Problem> {
        xml::read(&self.0, MESSAGE).map_err(|why| because(&MALFORMED, why))
    }
}

/// The signature of an element: it stands directly in it.
///
/// # Errors
/// There are several.
pub(super) fn of(element: Node<'_>) -> Result<Option<Node<'_>>, Problem> {
    xml::at_most_one(element, DSIG, "Signature").map_err(|why| because(&SIGNATURE, why))
}

/// What is signed of an element that has this signature, if one of these keys made it. What the signature says of keys is not read.
///
/// # Errors
/// It does not hold, or is of a shape that is not taken.
pub(super) fn verify(element: Node<'_>, signature: Node<'_>, keys: &[Certificate]) -> Result<Signed, Problem> {
    let wrong = |why: String| because(&SIGNATURE, why);
    let (written, value) = parts(signature).map_err(wrong)?;
    let document = xml::read(&written, MESSAGE).map_err(wrong)?;
    let info = Info::read(document.root_element()).map_err(wrong)?;
    if on(Check::SamlSignature) && !keys.iter().any(|key| key.verifies(info.method, written.as_bytes(), &value)) {
        return Err(because(&SIGNATURE, "no key of the provider made it"));
    }
    // The ID is that of the element which is used; that no other one has it was seen before.
    if on(Check::SamlReference) && element.attribute("ID") != Some(info.id) {
        return Err(because(&SIGNATURE, "it is for another element"));
    }
    let text = info.canonical.write(element, Some(signature.id()));
    if on(Check::SamlDigest) && digest::digest(info.digest, text.as_bytes()).as_ref() != info.value {
        return Err(because(&SIGNATURE, "the digest is another one"));
    }
    Ok(Signed(text))
}

/// `SignedInfo` as it was signed, and the signature of it.
fn parts(signature: Node<'_>) -> Result<(String, Vec<u8>), String> {
    let known = ["SignedInfo", "SignatureValue", "KeyInfo"];
    let mut inside = signature.children().filter(Node::is_element);
    if inside.any(|child| !known.iter().any(|name| xml::is(child, DSIG, name))) {
        return Err("more in the signature than belongs there".to_owned());
    }
    let info = xml::one(signature, DSIG, "SignedInfo")?;
    if info.descendants().take(MOST_OF_INFO + 1).count() > MOST_OF_INFO {
        return Err("too large a `SignedInfo`".to_owned());
    }
    let written = Canonical::of(xml::one(info, DSIG, "CanonicalizationMethod")?)?.write(info, None);
    let value = xml::text(xml::one(signature, DSIG, "SignatureValue")?)?;
    let value = xml::base64(&value).ok_or_else(|| "a `SignatureValue` that is not base64".to_owned())?;
    Ok((written, value))
}

/// What `SignedInfo` says.
struct Info<'t> {
    method: Method,
    /// Of the element that is signed.
    id: &'t str,
    canonical: Canonical,
    digest: &'static digest::Algorithm,
    value: Vec<u8>,
}

impl<'t> Info<'t> {
    fn read(info: Node<'t>) -> Result<Self, String> {
        let [_, method, reference] = elements(info, ["CanonicalizationMethod", "SignatureMethod", "Reference"])?;
        let method = Method::of(xml::attribute(method, "Algorithm")?)
            .ok_or_else(|| "a way to sign that is not taken".to_owned())?;
        let [transforms, by, value] = elements(reference, ["Transforms", "DigestMethod", "DigestValue"])?;
        let [enveloped, canonical] = elements(transforms, ["Transform", "Transform"])?;
        if enveloped.attribute("Algorithm") != Some(ENVELOPED) || enveloped.children().any(|child| child.is_element()) {
            return Err("another transform where that of an enveloped signature belongs".to_owned());
        }
        let canonical = Canonical::of(canonical)?;
        // Empty: the whole document, whatever it is. SAML 2.0 Core §5.4.2: always the ID.
        let id = reference.attribute("URI").and_then(|uri| uri.strip_prefix('#')).filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| "a reference that is not to an ID".to_owned())?;
        let digest =
            digest_of(xml::attribute(by, "Algorithm")?).ok_or_else(|| "a digest that is not taken".to_owned())?;
        let value = xml::base64(&xml::text(value)?).ok_or_else(|| "a `DigestValue` that is not base64".to_owned())?;
        Ok(Self { method, id, canonical, digest, value })
    }
}

/// The elements in an element: exactly these, in this order.
fn elements<'t, const N: usize>(node: Node<'t>, names: [&str; N]) -> Result<[Node<'t>; N], String> {
    let inside: Vec<Node<'t>> = node.children().filter(Node::is_element).collect();
    let other = || format!("`{}` has not exactly {}", node.tag_name().name(), names.join(", "));
    let inside = <[Node<'t>; N]>::try_from(inside).map_err(|_| other())?;
    let fits = inside.iter().zip(names).all(|(child, name)| xml::is(*child, DSIG, name));
    if fits { Ok(inside) } else { Err(other()) }
}

/// A message with a signature by this key: that stands behind the `Issuer`, as the schema wants it.
///
/// # Errors
/// It is none that can be signed, or the system has no random numbers.
pub(super) fn sign(message: &str, key: &OwnKey) -> Result<String, String> {
    seal(message, &info(message, key.method())?, key)
}

/// `SignedInfo` for a message, canonical as it stands.
fn info(message: &str, method: Method) -> Result<String, String> {
    let document = xml::read(message, MESSAGE)?;
    let root = document.root_element();
    let text = Canonical::default().write(root, None);
    let value = BASE64.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    Ok(format!(
        "<ds:SignedInfo xmlns:ds=\"{DSIG}\">\
         <ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"{method}\"></ds:SignatureMethod><ds:Reference URI=\"#{id}\"><ds:Transforms>\
         <ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform><ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform>\
         </ds:Transforms><ds:DigestMethod Algorithm=\"{digest}\"></ds:DigestMethod>\
         <ds:DigestValue>{value}</ds:DigestValue></ds:Reference></ds:SignedInfo>",
        method = method.name(),
        id = xml::escape(xml::attribute(root, "ID")?),
        digest = DIGEST,
    ))
}

/// Signs `SignedInfo`, and puts it into the message.
fn seal(message: &str, info: &str, key: &OwnKey) -> Result<String, String> {
    let document = xml::read(message, MESSAGE)?;
    let issuer = xml::one(document.root_element(), SAML, "Issuer")?.range();
    let signature = format!(
        "<ds:Signature xmlns:ds=\"{DSIG}\">{info}<ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>\
         <ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>",
        BASE64.encode(&key.sign(info.as_bytes())?),
        BASE64.encode(key.certificate()),
    );
    let (before, behind) = message.split_at_checked(issuer.end).ok_or_else(|| "no place for it".to_owned())?;
    Ok(format!("{before}{signature}{behind}"))
}

#[cfg(test)]
pub(super) mod forging {
    //! For tests: signatures of other shapes, by the right key.

    use super::*;

    /// A message that is signed over another `SignedInfo` than [`sign`] makes.
    pub(in super::super) fn forge(message: &str, key: &OwnKey, alter: impl Fn(&str) -> String) -> String {
        let altered = alter(&info(message, key.method()).unwrap());
        let document = xml::read(&altered, MESSAGE).unwrap();
        seal(message, &Canonical::default().write(document.root_element(), None), key).unwrap()
    }
}
