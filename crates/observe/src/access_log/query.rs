//! Queries as the log shows them. Logs are read by more people than may sign in as somebody else: values of parameters that
//! open doors are not written.

use std::borrow::Cow;

use tollgate_core::secrets::is_secret_pair;

/// How much of a query is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queries {
    /// All of it, but for the values of well-known secrets.
    #[default]
    Redacted,
    /// All of it.
    Full,
    /// The names of the parameters.
    Names,
    /// Nothing.
    Off,
}

/// What stands in place of a secret.
const HIDDEN: &[u8] = b"***";

impl Queries {
    /// A query, without its `?`.
    pub(super) fn query(self, query: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Off => None,
            Self::Full => Some(Cow::Borrowed(query)),
            Self::Redacted if pairs(query).all(|pair| hidden(pair).is_none()) => Some(Cow::Borrowed(query)),
            Self::Redacted | Self::Names => {
                let mut shown = Vec::with_capacity(query.len());
                for pair in pairs(query) {
                    let (kept, separator) = split(pair);
                    match (self, hidden(pair)) {
                        (Self::Names, _) => shown.extend_from_slice(name(kept)),
                        (_, Some(name)) => shown.extend([name, b"=", HIDDEN].concat()),
                        (_, None) => shown.extend_from_slice(kept),
                    }
                    shown.extend_from_slice(separator);
                }
                Some(Cow::Owned(shown))
            }
        }
    }

    /// A URL, of whose query the same is shown.
    pub(super) fn url(self, url: &[u8]) -> Cow<'_, [u8]> {
        let Some(mark) = url.iter().position(|b| *b == b'?').filter(|_| self != Self::Full) else {
            return Cow::Borrowed(url);
        };
        match self.query(&url[mark + 1..]) {
            Some(Cow::Borrowed(_)) => Cow::Borrowed(url),
            Some(Cow::Owned(shown)) => Cow::Owned([&url[..=mark], &shown].concat()),
            None => Cow::Borrowed(&url[..mark]),
        }
    }
}

/// The pairs of a query, each with the separator behind it.
fn pairs(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split_inclusive(|b| matches!(b, b'&' | b';' | b'#'))
}

/// A pair and its separator.
fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    let end = pair.len() - usize::from(pair.last().is_some_and(|b| matches!(b, b'&' | b';' | b'#')));
    pair.split_at(end)
}

fn name(pair: &[u8]) -> &[u8] {
    pair.split(|b| *b == b'=').next().unwrap_or_default()
}

/// The name of a pair whose value is a secret.
fn hidden(pair: &[u8]) -> Option<&[u8]> {
    let (pair, _) = split(pair);
    is_secret_pair(pair).then(|| name(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(queries: Queries, query: &str) -> Option<String> {
        queries.query(query.as_bytes()).map(|shown| String::from_utf8(shown.into_owned()).unwrap())
    }

    #[test]
    fn values_of_secrets_are_hidden_whatever_their_names_look_like() {
        for (query, expected) in [
            ("a=1&access_token=x&b", "a=1&access_token=***&b"),
            ("Api-Key=x", "Api-Key=***"),
            ("api.key=x;page=2", "api.key=***;page=2"),
            ("%61ccess%5Ftoken=x", "%61ccess%5Ftoken=***"),
            ("X-Amz-Signature=x&X-Amz-Security-Token=y", "X-Amz-Signature=***&X-Amz-Security-Token=***"),
            ("code=x=y=z&state=s", "code=***&state=s"),
            ("sig=&key=", "sig=***&key=***"),
            ("user[password]=x&auth%5Btoken%5D=y&a[b]=1", "user[password]=***&auth%5Btoken%5D=***&a[b]=1"),
            ("Subscription-Key=x&code_verifier=y", "Subscription-Key=***&code_verifier=***"),
            ("client_secret=x&refresh_token=y&csrfToken=z", "client_secret=***&refresh_token=***&csrfToken=***"),
        ] {
            assert_eq!(shown(Queries::Redacted, query).as_deref(), Some(expected));
        }
        for query in ["", "a=1", "token", "keyboard=x", "postcode=x&encode=y", "monkey=1", "passenger=2", "&&=&=x"] {
            assert!(matches!(Queries::Redacted.query(query.as_bytes()), Some(Cow::Borrowed(_))), "{query}");
        }
    }

    #[test]
    fn more_or_less_is_shown_as_asked_for() {
        assert_eq!(shown(Queries::Full, "token=x").as_deref(), Some("token=x"));
        assert_eq!(shown(Queries::Names, "a=1&token=x&b").as_deref(), Some("a&token&b"));
        assert_eq!(shown(Queries::Off, "a=1"), None);
    }

    #[test]
    fn the_query_of_a_url_is_shown_in_the_same_way() {
        let url = |queries: Queries, url: &str| String::from_utf8(queries.url(url.as_bytes()).into_owned()).unwrap();
        assert_eq!(url(Queries::Redacted, "https://a/b?code=x#c"), "https://a/b?code=***#c");
        assert_eq!(url(Queries::Redacted, "https://a/b?c=x"), "https://a/b?c=x");
        assert_eq!(url(Queries::Off, "https://a/b?c=x"), "https://a/b");
        assert_eq!(url(Queries::Names, "https://a/b?c=x&d"), "https://a/b?c&d");
        assert_eq!(url(Queries::Full, "https://a/b?code=x"), "https://a/b?code=x");
        assert_eq!(url(Queries::Off, "https://a/b"), "https://a/b");
    }
}
