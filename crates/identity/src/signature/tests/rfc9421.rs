//! RFC 9421, Appendix B: its keys, and the requests and signatures that it shows.

use super::*;

/// B.1.2.
const RSA_PSS: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----
";
/// B.1.3.
const ECC_P256: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----
";
/// B.1.4.
const ED25519: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";
/// B.1.4, its private half.
const ED25519_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
";
/// B.1.5.
const SHARED: &[u8] = b"uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
/// All were made at this time.
const CREATED: u64 = 1_618_884_473;

const B21: &str = "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsc\
     kzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXe\
     hhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9\
     mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==";
const B22: &str = "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkS\
     owOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkj\
     qpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAox\
     k//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==";
const B23: &str = "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp76\
     8ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQo\
     Ld7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX\
     2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==";
const B24: &str = "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==";
const B25: &str = "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=";
const B26: &str = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
/// B.3.
const TTRP: &str = "xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==";
const CLIENT_CERT: &str = ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEl\
     udGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQY\
     IKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo\
     9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAw\
     wCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4\
     /Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:";
/// B.4.
const TRANSFORM: &str = "ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA==";

/// The request of B.2.
fn request() -> Message<'static> {
    let fields: [(&str, &str); 4] = [
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        (
            "Content-Digest",
            "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
        ),
        ("Content-Length", "18"),
    ];
    message("POST", "example.com", "/foo", "param=Value&Pet=dog", &fields)
}

fn message<'a>(
    method: &'a str,
    host: &'a str,
    path: &'a str,
    query: &'a str,
    fields: &[(&'a str, &'a str)],
) -> Message<'a> {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    Message { method, scheme: "https", host, path, query: Some(query), fields }
}

fn pem(algorithm: Algorithm, text: &str) -> Arc<VerifyingKey> {
    Arc::new(VerifyingKey::from_pem(algorithm, text).unwrap())
}

fn shared() -> Vec<u8> {
    data_encoding::BASE64.decode(SHARED).unwrap()
}

/// Whether this key takes the request with this signature.
fn is_taken(message: &Message<'_>, key: &Arc<VerifyingKey>, label: &str, input: &str, signature: &str) -> bool {
    let (input, signature) = (format!("{label}={input}"), format!("{label}=:{signature}:"));
    let mut message = message.clone();
    message.fields.extend([(INPUT.as_bytes(), input.as_bytes()), (SIGNATURE.as_bytes(), signature.as_bytes())]);
    let verified = Verifier::new(expected()).verify(&message, at(CREATED), |_| Some(Arc::clone(key)));
    matches!(verified, Ok(Some(verified)) if verified.label == label)
}

#[test]
fn the_requests_of_b_2_are_taken() {
    let pss = pem(Algorithm::RsaPssSha512, RSA_PSS);
    let b21 = r#"();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#;
    let b22 = r#"("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#;
    let b23 = r#"("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#;
    for (label, input, signature) in [("sig-b21", b21, B21), ("sig-b22", b22, B22), ("sig-b23", b23, B23)] {
        assert!(is_taken(&request(), &pss, label, input, signature), "{label}");
        let wrong = format!("A{}", &signature[1..]);
        assert!(!is_taken(&request(), &pss, label, input, &wrong), "{label}");
    }
    let b25 = r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
    let secret = Arc::new(VerifyingKey::shared(&shared()).unwrap());
    assert!(is_taken(&request(), &secret, "sig-b25", b25, B25));
    assert!(!is_taken(&Message { host: "example.org", ..request() }, &secret, "sig-b25", b25, B25));
    ed25519(&pem(Algorithm::Ed25519, ED25519));
}

/// B.2.6.
pub(super) fn ed25519(key: &Arc<VerifyingKey>) {
    let b26 = r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#;
    assert!(is_taken(&request(), key, "sig-b26", b26, B26));
    assert!(!is_taken(&Message { path: "/foo/", ..request() }, key, "sig-b26", b26, B26));
}

#[test]
fn the_key_of_b_2_4_made_the_signature_of_its_answer() {
    // Signatures of answers are not read here: this is the base that the RFC shows.
    let base = "\"@status\": 200\n\"content-type\": application/json\n\"content-digest\": \
        sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:\n\
        \"content-length\": 23\n\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-length\")\
        ;created=1618884473;keyid=\"test-key-ecc-p256\"";
    let signature = data_encoding::BASE64.decode(B24.as_bytes()).unwrap();
    let key = pem(Algorithm::EcdsaP256Sha256, ECC_P256);
    assert!(key.verifies(base.as_bytes(), &signature) && !key.verifies(b"other", &signature));
}

#[test]
fn a_proxy_that_signs_for_its_service_is_believed() {
    // B.3.
    let fields = [("Client-Cert", CLIENT_CERT)];
    let message = message("POST", "service.internal.example", "/foo", "param=Value&Pet=dog", &fields);
    let input =
        r#"("@path" "@query" "@method" "@authority" "client-cert");created=1618884473;keyid="test-key-ecc-p256""#;
    assert!(is_taken(&message, &pem(Algorithm::EcdsaP256Sha256, ECC_P256), "ttrp", input, TTRP));
}

#[test]
fn what_proxies_may_change_breaks_no_signature_and_all_else_does() {
    // B.4.
    let input = r#"("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519""#;
    let key = pem(Algorithm::Ed25519, ED25519);
    let (json, any, both) = (("Accept", "application/json"), ("Accept", "*/*"), ("Accept", "application/json, */*"));
    let query = "name1=Value1&Name2=value2";
    let more = "name1=Value1&Name2=value2&param=added";
    for (message, told) in [
        (message("GET", "example.org", "/demo", query, &[json, any]), true),
        (message("GET", "example.org", "/demo", more, &[json, any, ("Accept-Language", "en-US,en;q=0.5")]), true),
        (
            message("GET", "example.org", "/demo", query, &[("Referer", "https://developer.example.org/demo"), both]),
            true,
        ),
        (message("POST", "example.com", "/demo", query, &[json, any]), false),
        (message("GET", "example.org", "/demo", query, &[any, json]), false),
    ] {
        assert_eq!(is_taken(&message, &key, "transform", input, TRANSFORM), told);
    }
}

#[test]
fn signatures_that_are_not_random_are_made_as_in_b_2() {
    let field = |name: &str| Component::Field(name.to_owned());
    let ed = SigningKey::from_pem(Algorithm::Ed25519, ED25519_PRIVATE).unwrap();
    let b26 = vec![
        field("date"),
        Component::Method,
        Component::Path,
        Component::Authority,
        field("content-type"),
        field("content-length"),
    ];
    let secret = SigningKey::shared(&shared()).unwrap();
    let b25 = vec![field("date"), Component::Authority, field("content-type")];
    for (label, key, name, components, signature) in
        [("sig-b25", secret, "test-shared-secret", b25, B25), ("sig-b26", ed, "test-key-ed25519", b26, B26)]
    {
        let settings = Settings { key: Some(name.to_owned()), components, ..settings() };
        let [_, made] = Signer::new(label, Arc::new(key), settings).unwrap().sign(&request(), at(CREATED)).unwrap();
        assert_eq!(made, (SIGNATURE, format!("{label}=:{signature}:")));
    }
}

#[test]
fn components_are_what_section_2_shows() {
    let fields = [
        ("X-OWS-Header", "  Leading and trailing whitespace.  "),
        ("Cache-Control", "max-age=60"),
        ("Cache-Control", "   must-revalidate"),
        ("Example-Dict", " a=1,    b=2;x=1;y=2,   c=(a   b   c)"),
        ("X-Empty-Header", ""),
    ];
    let query = "var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something&qux=&b=1&b=2";
    let message = message("POST", "www.Example.com:443", "/path", query, &fields);
    for (component, line) in [
        ("x-ows-header", "\"x-ows-header\": Leading and trailing whitespace."),
        ("cache-control", "\"cache-control\": max-age=60, must-revalidate"),
        ("example-dict", "\"example-dict\": a=1,    b=2;x=1;y=2,   c=(a   b   c)"),
        ("x-empty-header", "\"x-empty-header\": "),
        ("@method", "\"@method\": POST"),
        ("@authority", "\"@authority\": www.example.com"),
        ("@scheme", "\"@scheme\": https"),
        ("@path", "\"@path\": /path"),
        ("@query-param;name=\"var\"", "\"@query-param\";name=\"var\": this%20is%20a%20big%0Amultiline%20value"),
        ("@query-param;name=\"bar\"", "\"@query-param\";name=\"bar\": with%20plus%20whitespace"),
        ("@query-param;name=\"fa%C3%A7ade%22%3A%20\"", "\"@query-param\";name=\"fa%C3%A7ade%22%3A%20\": something"),
        ("@query-param;name=\"qux\"", "\"@query-param\";name=\"qux\": "),
    ] {
        let component = Component::read(component).unwrap();
        let list = InnerList { items: vec![component.item()], parameters: Vec::new() };
        let base = base(&message, &[component], &list).unwrap();
        assert_eq!(base.lines().next(), Some(line));
    }
    let refused = |text: &str, message: &Message<'_>| {
        let component = Component::read(text).unwrap();
        base(message, &[component], &InnerList { items: Vec::new(), parameters: Vec::new() }).unwrap_err()
    };
    assert!(refused("@query-param;name=\"b\"", &message).contains("more than once"));
    assert!(refused("@query-param;name=\"c\"", &message).contains("not in the query"));
    assert!(refused("date", &message).contains("not in the request"));
    for text in [
        "@status",
        "Date",
        "@query-param",
        "@query-param;name=1",
        "@query-param;name=\"a\";req",
        "date;sf",
        "a b",
        "",
        ";a",
        "@path;x,b",
    ] {
        assert!(Component::read(text).is_err(), "{text}");
    }
    let plain = Message { scheme: "http", host: "h:80", path: "*", query: None, ..message };
    for (component, value) in
        [("@target-uri", "http://h:80"), ("@request-target", "*"), ("@query", "?"), ("host", "h:80")]
    {
        let component = Component::read(component).unwrap();
        let base =
            base(&plain, std::slice::from_ref(&component), &InnerList { items: Vec::new(), parameters: Vec::new() })
                .unwrap();
        assert_eq!(base.lines().next(), Some(&*format!("{component}: {value}")));
    }
}
