//! The test suite of AWS itself: `aws-signing-test-suite/v4` of the crate aws-sigv4 1.6.4 (Apache-2.0), each case with its
//! signature in the field and in the query. Its requests are for no service that there is: the paths are encoded once, and
//! some keep their dots.

use super::*;

#[derive(Deserialize)]
struct Case {
    name: String,
    dots: String,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: String,
    signed_fields: Vec<(String, String)>,
    canonical: String,
    presigned: String,
    presigned_canonical: String,
}

impl Case {
    /// Takes the request with these fields at this target, which must have this form.
    fn check(&self, target: &str, fields: &[(String, String)], form: &str) {
        let dots = if self.dots == "kept" { Dots::Kept } else { Dots::Removed };
        let style = PathStyle { dots, encoding: Encoding::Once };
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let host = fields.iter().find(|(name, _)| name == "Host").map(|(_, value)| value.as_str()).unwrap();
        let message = Message { method: &self.method, scheme: "https", host, path, query, fields: lines(fields) };
        let credential =
            Credential::of(&message).unwrap_or_else(|problem| panic!("{}: {problem:?}", self.name)).unwrap();
        let signed: Vec<&str> = credential.signed.iter().map(String::as_str).collect();
        let payload = Payload::Hash(hash(self.body.as_bytes())).text();
        let canonical = canonical::request(&message, style, &signed, &payload).unwrap();
        assert_eq!(String::from_utf8_lossy(&canonical), form, "{}", self.name);
        let (string, _) = canonical::string_to_sign(&credential.stamp, credential.scope(), &canonical);
        let secret = Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let holds = Keys::new(0).verifies(&secret, credential.scope(), string.as_bytes(), &credential.signature);
        assert!(holds, "{}", self.name);
    }
}

#[test]
fn the_suite_of_aws_holds() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../suite.json")).unwrap();
    assert_eq!(cases.len(), 38);
    for case in &cases {
        case.check(&case.target, &case.signed_fields, &case.canonical);
        // Adds the token of a session to an URL that is signed already. Here it has to be signed.
        if case.name != "post-sts-header-after" {
            case.check(&case.presigned, &case.fields, &case.presigned_canonical);
        }
    }
}

/// "Signature Calculation Examples" of the S3 API Reference: the request, its fields beside `Host` and the date, and its signature.
type Example<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn the_examples_of_the_s3_reference_hold() {
    let range = [("Range", "bytes=0-9")];
    let put = [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    let get = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let put_signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
    let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    let examples: [Example<'_>; 4] = [
        ("GET", "/test.txt", "", "", &range, get),
        ("PUT", "/test%24file.text", "", "Welcome to Amazon S3.", &put, put_signature),
        ("GET", "/", "lifecycle", "", &[], lifecycle),
        ("GET", "/", "max-keys=2&prefix=J", "", &[], list),
    ];
    let (host, scheme) = ("examplebucket.s3.amazonaws.com", "https");
    // 2013-05-24.
    let now = at(1_369_353_600);
    let secret = Secret::new(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let scope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
    let verify = |message: &Message<'_>, body: &str| {
        let lookup = |key: &str, _: Option<&str>| (key == "AKIAIOSFODNN7EXAMPLE").then(|| secret.clone());
        Verifier::new(settings()).verify(message, Some(&hash(body.as_bytes())), now, lookup)
    };
    for (method, path, query, body, more, signature) in examples {
        let content = Payload::Hash(hash(body.as_bytes())).text();
        let mut fields = vec![("x-amz-content-sha256", content.as_str()), ("x-amz-date", "20130524T000000Z")];
        fields.extend(more);
        let mut names: Vec<String> = fields.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.push("host".to_owned());
        names.sort();
        let signed = names.join(";");
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope},SignedHeaders={signed},Signature={signature}");
        fields.push(("Authorization", &authorization));
        let fields = fields.into_iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let message = Message { method, scheme, host, path, query: Some(query), fields };
        assert!(verify(&message, body).is_ok_and(|verified| verified.is_some()), "{method} {path}?{query}");
    }
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let message = Message { method: "GET", scheme, host, path: "/test.txt", query: Some(query), fields: Vec::new() };
    assert!(verify(&message, "").is_ok_and(|verified| verified.is_some()));
}
