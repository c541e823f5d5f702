//! Tokens in the `Authorization` field: of whoever bears them (RFC 6750 §2.1), or with a proof (RFC 9449 §7.1). Not those in a form or a
//! query, which end up in logs.

use tollgate_core::head::Fields;
use tollgate_core::problem::Problem;

use crate::faults::{HEADER, because};

/// How a token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// It is good for whoever has it.
    Bearer,
    /// With a proof that its sender has the key to which it is bound.
    Dpop,
}

/// A token, and how it was sent.
#[derive(Clone, Copy)]
pub struct Sent<'x> {
    /// How.
    pub scheme: Scheme,
    /// The token.
    pub token: &'x str,
}

/// The token of a request; `None`: its client does not claim to have one.
///
/// # Errors
/// `bearer/malformed`: more than one `Authorization` field, or what follows the scheme is no token.
pub fn sent(fields: &Fields) -> Result<Option<Sent<'_>>, Problem> {
    let mut all = fields.all("authorization");
    let Some(field) = all.next() else { return Ok(None) };
    let (scheme, rest) = field.split_at(field.iter().position(|b| *b == b' ').unwrap_or(field.len()));
    if all.next().is_some() {
        return Err(because(&HEADER, "more than one field"));
    }
    // Its case does not matter (RFC 9110 §11.1).
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case(b"Bearer") => Scheme::Bearer,
        _ if scheme.eq_ignore_ascii_case(b"DPoP") => Scheme::Dpop,
        _ => return Ok(None),
    };
    let token = rest.trim_ascii();
    match str::from_utf8(token) {
        Ok(text) if is_token68(token) => Ok(Some(Sent { scheme, token: text })),
        _ => Err(because(&HEADER, "no token68")),
    }
}

/// The token of a request, if whoever bears it may use it; `None`: its client does not claim to have one.
///
/// # Errors
/// As [`sent`].
pub fn token(fields: &Fields) -> Result<Option<&str>, Problem> {
    Ok(sent(fields)?.filter(|sent| sent.scheme == Scheme::Bearer).map(|sent| sent.token))
}

/// RFC 6750 §2.1 `b64token`, which is `token68` of RFC 9110 §11.2.
fn is_token68(token: &[u8]) -> bool {
    let body = token.trim_ascii_end();
    let end = body.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    end > 0
        && body[..end].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        values.iter().for_each(|value| fields.add("Authorization", value.to_string()));
        fields
    }

    #[test]
    fn one_field_with_one_token() {
        for value in ["Bearer abc.def", "bearer abc.def", "BEARER   abc.def"] {
            assert_eq!(token(&fields(&[value])).unwrap(), Some("abc.def"), "{value}");
        }
        for (value, scheme) in [("Bearer a", Scheme::Bearer), ("DPoP a", Scheme::Dpop), ("dpop a", Scheme::Dpop)] {
            assert_eq!(sent(&fields(&[value])).unwrap().map(|sent| sent.scheme), Some(scheme));
        }
        for values in [&[][..], &["Basic abc"], &["Bearerabc"], &["Token abc"]] {
            assert_eq!(token(&fields(values)).unwrap(), None, "{values:?}");
        }
        for values in
            [&["Bearer"][..], &["Bearer "], &["Bearer a b"], &["Bearer a,b"], &["Bearer =="], &["Bearer a", "Bearer a"]]
        {
            assert!(token(&fields(values)).is_err(), "{values:?}");
        }
    }
}
