//! What is a secret, going by its name: what opens doors is neither logged nor handed to those whom it does not concern.

use crate::path::percent_decode;

/// Names of secrets, compared without case, `-`, `_` and `.`.
const SECRETS: &[&[u8]] = &[
    b"auth",
    b"code",
    b"codeverifier",
    b"credential",
    b"credentials",
    b"dpop",
    b"jwt",
    b"key",
    b"otp",
    b"pass",
    b"passwd",
    b"pin",
    b"pwd",
    b"samlrequest",
    b"samlresponse",
    b"session",
    b"sid",
    b"sig",
    b"ticket",
    b"xauth",
];
/// The same, for what a name ends in: `access_token`, `X-Amz-Signature`.
const ENDINGS: &[&[u8]] = &[
    b"accesskey",
    b"apikey",
    b"assertion",
    b"authkey",
    b"authorization",
    b"cookie",
    b"functionskey",
    b"passcode",
    b"passphrase",
    b"password",
    b"privatekey",
    b"secret",
    b"secretkey",
    b"sessid",
    b"sessionid",
    b"signature",
    b"subscriptionkey",
    b"token",
];

/// Whether a field, cookie or parameter of this name usually carries what lets somebody in.
#[must_use]
pub fn is_secret(name: &[u8]) -> bool {
    let bare = name.iter().filter(|b| !matches!(b, b'-' | b'_' | b'.')).count();
    let same = |known: &&[u8]| ends_in(name, known) && bare == known.len();
    SECRETS.iter().any(same) || ENDINGS.iter().any(|known| ends_in(name, known))
}

/// Whether the name ends in `known`, without case, `-`, `_` and `.`.
fn ends_in(name: &[u8], known: &[u8]) -> bool {
    let mut letters = name.iter().rev().filter(|b| !matches!(b, b'-' | b'_' | b'.'));
    known.iter().rev().all(|letter| letters.next().is_some_and(|have| have.eq_ignore_ascii_case(letter)))
}

/// A query without its `?`, and without the parameters whose names tell of secrets; `None`: there are none.
#[must_use]
pub fn without_secrets(query: &[u8]) -> Option<Vec<u8>> {
    let is_separator = |b: &u8| matches!(b, b'&' | b';');
    let mut left = Vec::with_capacity(query.len());
    for piece in query.split_inclusive(is_separator) {
        let pair = piece.strip_suffix(b"&").or_else(|| piece.strip_suffix(b";")).unwrap_or(piece);
        left.extend_from_slice(if is_secret_pair(pair) { b"" } else { piece });
    }
    let is_cut = left.len() < query.len();
    // What stood before the last parameter separates it from nothing now.
    if is_cut && !query.ends_with(b"&") && !query.ends_with(b";") {
        left.truncate(left.len() - usize::from(left.last().is_some_and(is_separator)));
    }
    is_cut.then_some(left)
}

/// Whether the name of a pair, `name=value`, tells of a secret.
#[must_use]
pub fn is_secret_pair(pair: &[u8]) -> bool {
    let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
    let plain = percent_decode(name);
    // `user[password]` is two names.
    let mut parts = plain.split(|b| matches!(b, b'[' | b']')).filter(|part| !part.is_empty());
    name.len() < pair.len() && parts.any(is_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_a_secret() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "X-Api-Key",
            "x_access_token",
            "Cookie",
            "Set-Cookie",
            "sid",
            "DPoP",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in [
            "X-Auth",
            "X-Auth-Key",
            "x-functions-key",
            "secret_key",
            "private-key",
            "passcode",
            "PHPSESSID",
            "jsessionid",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in ["Accept", "Idempotency-Key", "X-Keyboard", "If-Match", "Sec-WebSocket-Key", ""] {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_query_loses_its_secrets_and_nothing_else() {
        let left = |query: &str| without_secrets(query.as_bytes()).map(|left| String::from_utf8(left).unwrap());
        assert_eq!(left("a=1&access_token=x&b").as_deref(), Some("a=1&b"));
        assert_eq!(left("%61pi_key=x&a=1;b=2").as_deref(), Some("a=1;b=2"));
        assert_eq!(left("user[password]=x").as_deref(), Some(""));
        assert_eq!(left("sig=x&a=1").as_deref(), Some("a=1"));
        assert_eq!(left("a=1;sig=x").as_deref(), Some("a=1"));
        assert_eq!(left("a=1&&token&b="), None);
    }
}
