//! Metadata of both sides.

use super::*;

#[test]
fn the_metadata_of_pysaml2_is_understood() {
    let provider = provider();
    assert_eq!(provider.entity_id, "https://idp.example/metadata");
    assert_eq!(provider.sign_in_by(Binding::Redirect), Some("https://idp.example/sso/redirect"));
    assert_eq!(provider.sign_in_by(Binding::Post), Some("https://idp.example/sso/post"));
    assert_eq!((provider.sign_in.len(), provider.logout.len(), provider.certificates.len()), (2, 2, 1));
    assert_eq!((provider.requests, provider.valid_until), (Requests::Signed, None));
    assert_eq!(provider.certificates[0].der(), key("idp").certificate());
}

#[test]
fn of_several_entities_one_is_named() {
    let one = data("idp-metadata.xml");
    let other = replaced(&one, "https://idp.example/metadata", "https://other.example");
    let until = "validUntil=\"2026-02-01T00:00:00Z\"";
    let both = format!(
        "<m:EntitiesDescriptor xmlns:m=\"urn:oasis:names:tc:SAML:2.0:metadata\" {until}>{one}{other}</m:EntitiesDescriptor>"
    );
    let read = |text: &str, name: Option<&str>| Provider::read(text.as_bytes(), name);
    let found = read(&both, Some("https://other.example")).unwrap();
    assert_eq!((found.entity_id.as_str(), found.valid_until), ("https://other.example", Some(at(1_769_904_000))));
    assert!(read(&both, None).unwrap_err().contains("several"));
    assert!(read(&both, Some("x")).unwrap_err().contains("no `EntityDescriptor` of `x`"));
    let sooner =
        replaced(&both, "<ns0:IDPSSODescriptor ", "<ns0:IDPSSODescriptor validUntil=\"2026-01-15T00:00:00Z\" ");
    let found = read(&sooner, Some("https://other.example")).unwrap();
    assert_eq!(found.valid_until, Some(at(1_768_435_200)), "the earliest counts");
}

#[test]
fn several_certificates_are_taken_for_a_change_of_keys() {
    let text = data("idp-metadata.xml");
    let (start, end) = (text.find("<ns0:KeyDescriptor").unwrap(), text.rfind("</ns0:KeyDescriptor>").unwrap() + 20);
    let descriptor = |usage: &str, name: &str| {
        let certificate = BASE64.encode(key(name).certificate());
        format!(
            "<ns0:KeyDescriptor{usage}><ns2:KeyInfo><ns2:X509Data><ns2:X509Certificate>\n{certificate}\n\
             </ns2:X509Certificate></ns2:X509Data></ns2:KeyInfo></ns0:KeyDescriptor>"
        )
    };
    let with = |keys: &str| {
        let text = format!("{}{keys}{}", &text[..start], &text[end..]);
        Provider::read(text.as_bytes(), None).map(|provider| provider.certificates.len())
    };
    let (signing, any) = (descriptor(" use=\"signing\"", "idp"), descriptor("", "next"));
    assert_eq!(with(&format!("{signing}{any}{}", descriptor(" use=\"encryption\"", "other"))), Ok(2));
    let broken = replaced(&signing, "MII", "AAA");
    assert_eq!(with(&format!("{broken}{any}")), Ok(1), "one that cannot be read does no harm");
    assert_eq!(with(&broken), Err("no certificate".to_owned()));
    assert_eq!(with(""), Err("it has no certificate for signing".to_owned()));
}

#[test]
fn metadata_without_what_is_needed_is_refused() {
    let good = data("idp-metadata.xml");
    for (what, by, why) in [
        ("ns0:IDPSSODescriptor", "ns0:SPSSODescriptor", "no `IDPSSODescriptor`"),
        ("urn:oasis:names:tc:SAML:2.0:protocol", "urn:oasis:names:tc:SAML:1.1:protocol", "no `IDPSSODescriptor`"),
        ("ns0:SingleSignOnService", "ns0:ArtifactResolutionService", "no `SingleSignOnService`"),
        ("https://idp.example/sso/post", "javascript:alert(1)", "none of the web"),
        ("entityID", "other", "no `entityID`"),
        ("<ns0:EntityDescriptor", "<!DOCTYPE x><ns0:EntityDescriptor", "a document type"),
    ] {
        let told = Provider::read(replaced(&good, what, by).as_bytes(), None).unwrap_err();
        assert!(told.contains(why), "{what}: {told}");
    }
    assert!(Provider::read(b"{}", None).unwrap_err().starts_with("not well-formed"));
}

#[test]
fn a_key_and_its_certificate_belong_together() {
    let read = |key: &str, certificate: &str| {
        OwnKey::from_pem(&format!("{}{}", data(&format!("{key}.key")), data(&format!("{certificate}.crt"))))
    };
    for name in ["sp", "p256", "p384"] {
        let key = read(name, name).unwrap();
        assert_eq!(key.is_for_opening(), name == "sp");
        assert!(!format!("{key:?}").contains("pair"));
    }
    assert_eq!(read("sp", "idp").unwrap_err(), "the certificate is for another key");
    assert_eq!(read("p256", "p384").unwrap_err(), "the certificate is for another key");
    assert!(OwnKey::from_pem(&data("sp.key")).unwrap_err().contains("no certificate"));
    assert!(OwnKey::from_pem(&data("sp.crt")).unwrap_err().contains("no private key"));
}

#[test]
fn a_certificate_is_for_the_methods_of_its_kind() {
    for (name, methods) in
        [("idp", "[RsaSha256, RsaSha384, RsaSha512]"), ("p256", "[EcdsaSha256]"), ("p384", "[EcdsaSha384]")]
    {
        let certificate = Certificate::from_der(key(name).certificate()).unwrap();
        assert_eq!(format!("{certificate:?}"), format!("Certificate {{ methods: {methods}, .. }}"), "{name}");
        let longer = [key(name).certificate(), b"x"].concat();
        assert!(Certificate::from_der(&longer).is_err());
    }
    for method in Method::ALL {
        assert_eq!(Method::of(method.name()), Some(method));
    }
}
