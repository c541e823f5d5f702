//! Encrypted assertions (W3C, XML Encryption 1.1): AES-GCM, with a key that RSA-OAEP brings.
//!
//! Not AES-CBC: whoever may ask often whether a text opens can read it without the key (XML Encryption 1.1 §1.4 names the attack).
//! Not RSA PKCS #1 v1.5, for the like reason.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
};
use tollgate_core::problem::Problem;

use super::faults::{ENCRYPTED, MALFORMED, because};
use super::own_key::OwnKey;
use super::xml::{self, DSIG, Node, XENC, XENC11, escape};

/// Most keys that come with a text: one for each reader, of whom there is one.
const MOST_KEYS: usize = 4;

/// What is in an `EncryptedAssertion`, within an element that declares what was declared around it.
///
/// # Errors
/// None of our keys opens it, or it is encrypted in another way.
pub(super) fn open(encrypted: Node<'_>, keys: &[OwnKey]) -> Result<String, Problem> {
    let malformed = |why: String| because(&MALFORMED, why);
    let data = xml::one(encrypted, XENC, "EncryptedData").map_err(malformed)?;
    let method = algorithm(data).map_err(malformed)?;
    let aes = match method.attribute("Algorithm").unwrap_or_default() {
        "http://www.w3.org/2009/xmlenc11#aes128-gcm" => &AES_128_GCM,
        "http://www.w3.org/2009/xmlenc11#aes256-gcm" => &AES_256_GCM,
        _ => return Err(because(&ENCRYPTED, "a cipher that is not taken")),
    };
    let text = value(data).map_err(malformed)?;
    let info = xml::at_most_one(data, DSIG, "KeyInfo").map_err(malformed)?;
    // SAML 2.0 Core §6.1: beside the text, or within it.
    let inside = info.into_iter().flat_map(|info| xml::children(info, XENC, "EncryptedKey"));
    for encrypted_key in inside.chain(xml::children(encrypted, XENC, "EncryptedKey")).take(MOST_KEYS) {
        let wrapped = value(encrypted_key).map_err(malformed)?;
        let oaep = oaep(algorithm(encrypted_key).map_err(malformed)?)?;
        let opened = keys.iter().filter_map(|key| key.open(oaep, &wrapped)).find_map(|key| decrypt(aes, &key, &text));
        if let Some(opened) = opened {
            let opened = xml::decode(opened).map_err(malformed)?;
            return Ok(within(data, &opened));
        }
    }
    Err(because(&ENCRYPTED, "none of our keys opens it"))
}

fn algorithm(node: Node<'_>) -> Result<Node<'_>, String> {
    xml::one(node, XENC, "EncryptionMethod")
}

fn value(node: Node<'_>) -> Result<Vec<u8>, String> {
    let value = xml::text(xml::one(xml::one(node, XENC, "CipherData")?, XENC, "CipherValue")?)?;
    xml::base64(&value).ok_or_else(|| "a `CipherValue` that is not base64".to_owned())
}

/// §5.5.2. SHA-1 is weak where others choose what is hashed, which is not so here: the older name means it.
fn oaep(method: Node<'_>) -> Result<&'static OaepAlgorithm, Problem> {
    let other = || because(&ENCRYPTED, "a way to bring the key that is not taken");
    let digest = xml::at_most_one(method, DSIG, "DigestMethod").map_err(|why| because(&MALFORMED, why))?;
    let digest =
        digest.and_then(|digest| digest.attribute("Algorithm")).unwrap_or("http://www.w3.org/2000/09/xmldsig#sha1");
    let mask = xml::at_most_one(method, XENC11, "MGF").map_err(|why| because(&MALFORMED, why))?;
    let mask = mask.and_then(|mask| mask.attribute("Algorithm")).unwrap_or("http://www.w3.org/2009/xmlenc11#mgf1sha1");
    if xml::children(method, XENC, "OAEPparams").next().is_some() {
        return Err(other());
    }
    match (method.attribute("Algorithm").unwrap_or_default(), digest, mask) {
        (
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p" | "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2000/09/xmldsig#sha1",
            "http://www.w3.org/2009/xmlenc11#mgf1sha1",
        ) => Ok(&OAEP_SHA1_MGF1SHA1),
        (
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2001/04/xmlenc#sha256",
            "http://www.w3.org/2009/xmlenc11#mgf1sha256",
        ) => Ok(&OAEP_SHA256_MGF1SHA256),
        (
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2001/04/xmldsig-more#sha384" | "http://www.w3.org/2001/04/xmlenc#sha384",
            "http://www.w3.org/2009/xmlenc11#mgf1sha384",
        ) => Ok(&OAEP_SHA384_MGF1SHA384),
        (
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2001/04/xmlenc#sha512",
            "http://www.w3.org/2009/xmlenc11#mgf1sha512",
        ) => Ok(&OAEP_SHA512_MGF1SHA512),
        _ => Err(other()),
    }
}

/// §5.2.4: the nonce, the text, the tag.
fn decrypt(aes: &'static Algorithm, key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(aes, key).ok()?);
    let (nonce, text) = text.split_at_checked(NONCE_LEN)?;
    let mut text = text.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    key.open_in_place(nonce, Aad::empty(), &mut text).ok().map(|opened| opened.to_vec())
}

/// §4.4: what was encrypted stood here, and knows the prefixes that are declared here.
fn within(place: Node<'_>, opened: &str) -> String {
    let mut text = "<opened".to_owned();
    for space in place.namespaces().filter(|space| space.name() != Some("xml")) {
        let name = space.name().map_or_else(|| "xmlns".to_owned(), |prefix| format!("xmlns:{prefix}"));
        text.push_str(&format!(" {name}=\"{}\"", escape(space.uri())));
    }
    text.push('>');
    text.push_str(opened);
    text.push_str("</opened>");
    text
}
