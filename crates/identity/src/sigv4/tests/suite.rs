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
