//! What a condition may ask about a request.

use std::borrow::Cow;

use tollgate_core::facts::ClientAddress;

/// A request as conditions see it. Nothing is asked for twice without need, so answers may be looked up each time.
pub trait Facts {
    /// The method as it was sent.
    fn method(&self) -> &str;

    /// The path in its normal form, without the query.
    fn path(&self) -> &str;

    /// The host without its port, in any case.
    fn host(&self) -> &str;

    /// `http` or `https`, as the client sees it.
    fn scheme(&self) -> &str;

    /// The client's address. As a text, a client without one is `unix`; no network has it.
    fn ip(&self) -> ClientAddress;

    /// The value of the first field with this name, which is in lower case. `None` if it is not there or no text.
    fn header(&self, name: &str) -> Option<&str>;

    /// Whether there is a field with this name, whatever its value.
    fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    /// The first value of a parameter of the query, decoded: see [`query_value`].
    fn query(&self, name: &str) -> Option<Cow<'_, str>>;

    /// The value of a cookie: see [`cookie_value`].
    fn cookie(&self, name: &str) -> Option<&str>;
}

/// The first value of the parameter `name` in a query (without its `?`). Names and values are decoded as forms
/// are: `+` is a blank, `%41` an `A`; what is no UTF-8 becomes U+FFFD. Allocates only where something is encoded.
#[must_use]
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decoded(key) == name).then(|| form_decoded(value))
    })
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    let decoded = tollgate_core::path::percent_decode(spaced.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The value of the first cookie with this name in a `Cookie` field (RFC 6265 §4.2.1), as it was sent.
#[must_use]
pub fn cookie_value<'c>(field: &'c str, name: &str) -> Option<&'c str> {
    let mut pairs = field.split(';').filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_query_value_counts_decoded() {
        let query = "a=1&b=x+y%21&a=2&&flag&%63=%zz&e=";
        let value = |name| query_value(query, name);
        assert!(matches!(value("a"), Some(Cow::Borrowed("1"))));
        assert_eq!(value("b").as_deref(), Some("x y!"));
        assert_eq!(value("flag").as_deref(), Some(""));
        assert_eq!(value("c").as_deref(), Some("%zz"));
        assert_eq!(value("e").as_deref(), Some(""));
        assert_eq!(value("d"), None);
        assert_eq!(query_value("", ""), None);
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let field = "session=abc; theme=dark;x=\"1=2\"";
        assert_eq!(cookie_value(field, "session"), Some("abc"));
        assert_eq!(cookie_value(field, "theme"), Some("dark"));
        assert_eq!(cookie_value(field, "x"), Some("\"1=2\""));
        assert_eq!(cookie_value(field, "sess"), None);
    }
}
