//! The signatures of xmlsec1 hold only if what is digested is letter by letter what xmlsec1 has digested.

use super::super::signature::{self, sign};
use super::super::xml::{self, MESSAGE};
use super::*;

fn keys() -> Vec<Certificate> {
    ["idp", "p256", "p384"].map(|name| Certificate::from_der(key(name).certificate()).unwrap()).into()
}

/// What is signed of the element with an ID.
fn verified(text: &str) -> Result<String, Problem> {
    let text = xml::decode(text.into()).unwrap();
    let document = xml::read(&text, MESSAGE).unwrap();
    let element = document.descendants().find(|node| node.attribute("ID") == Some("it")).unwrap();
    let own = signature::of(element)?.unwrap();
    let signed = signature::verify(element, own, &keys())?;
    signed.read().map(|document| document.input_text().to_owned())
}

#[test]
fn what_xmlsec1_signs_is_read_as_it_was_signed() {
    for (name, by) in [
        ("plain", "idp"),
        ("prefixes", "idp"),
        ("default", "p256"),
        ("around", "idp"),
        ("inclusive", "p384"),
        ("text", "p256"),
        ("attributes", "idp"),
    ] {
        let text = data(&format!("canonical-{name}-{by}.xml"));
        let read = verified(&text).unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
        // What is canonical stays as it is.
        let document = xml::read(&read, MESSAGE).unwrap();
        let again = super::super::canonical::Canonical::default().write(document.root_element(), None);
        if name != "inclusive" {
            assert_eq!(again, read, "{name}");
        }
        let other = replaced(&text, "ID=\"it\"", "ID=\"it\" more=\"\"");
        assert_eq!(verified(&other).unwrap_err().cause.as_deref(), Some("the digest is another one"), "{name}");
    }
}

#[test]
fn of_comments_and_sections_the_text_alone_is_left() {
    let read = verified(&data("canonical-text-p256.xml")).unwrap();
    let expected = "<a ID=\"it\">\n &lt;&gt;&amp;\"' &#xD; \t\t \n &lt;b&gt;&amp;amp;]]&gt; ä€😀 after<b></b></a>";
    assert_eq!(read, expected);
}

#[test]
fn a_shared_secret_signs_nothing() {
    let problem = verified(&replaced(&data("hmac.xml"), "<?xml version=\"1.0\"?>", "")).unwrap_err();
    assert_eq!(
        (problem.fault.slug, problem.cause.as_deref()),
        ("saml/signature", Some("a way to sign that is not taken"))
    );
}

#[test]
fn what_we_sign_we_verify() {
    for name in ["idp", "p256", "p384"] {
        let text = "<a ID=\"it\" x='1'  b=\"&#10;\"><s:Issuer xmlns:s=\"urn:oasis:names:tc:SAML:2.0:assertion\">x</s:Issuer><b/></a>";
        let signed = sign(text, &key(name)).unwrap();
        assert!(verified(&signed).is_ok(), "{name}");
        assert!(verified(&replaced(&signed, "x='1'", "x='2'")).is_err(), "{name}");
    }
}

/// Documents by chance, as libxml2 writes them, and as xmlsec1 digests them (`testdata/saml/canonical.py`).
#[test]
fn what_libxml2_writes_we_write() {
    let path = std::env::var("TOLLGATE_CANONICAL").ok();
    let text = path.map_or_else(|| data("canonical.json"), |path| std::fs::read_to_string(path).unwrap());
    let cases: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&text).unwrap();
    for case in cases {
        let said = |name: &str| case[name].as_str().unwrap();
        let text = xml::decode(said("text").into()).unwrap();
        let document = xml::read(&text, MESSAGE).unwrap();
        let element = document.root_element().first_element_child().unwrap();
        let method = format!(
            "<m Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"><c:InclusiveNamespaces \
             xmlns:c=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"{}\"/></m>",
            said("prefixes")
        );
        let method = xml::read(&method, MESSAGE).unwrap();
        let written = super::super::canonical::Canonical::of(method.root_element()).unwrap().write(element, None);
        if case.contains_key("canonical") {
            assert_eq!(written, said("canonical"), "{:?} with {:?}", said("text"), said("prefixes"));
        } else {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, written.as_bytes());
            let shown = (&written, said("text"), said("prefixes"));
            assert_eq!(BASE64.encode(digest.as_ref()), said("digest"), "{shown:?}");
        }
    }
}
