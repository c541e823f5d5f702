//! Which content coding a client takes: `Accept-Encoding` (RFC 9110 §12.5.3).

use crate::coding::Coding;

/// What a client takes, read from its `Accept-Encoding`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// There is such a field.
    is_said: bool,
    /// Names in lower case and weights in thousandths, as they came.
    listed: Vec<(Box<[u8]>, u16)>,
}

/// What is best for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This coding.
    Coding(Coding),
    /// The content as it is.
    Identity,
}

/// More names than anybody has codings for; what comes after them is not looked at.
const MOST: usize = 32;

impl Accepted {
    /// Reads the values of the field.
    #[must_use]
    pub fn read<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut accepted = Self::default();
        for value in values {
            accepted.is_said = true;
            for item in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty()) {
                if accepted.listed.len() < MOST {
                    let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
                    accepted.listed.push((name.into(), weight(parts)));
                }
            }
        }
        accepted
    }

    /// The weight of a coding in thousandths; 0: not taken. Without the field nothing but the content as it is may be sent:
    /// such clients are old or simple, and RFC 9110 lets a server choose.
    #[must_use]
    pub fn weight(&self, coding: Coding) -> u16 {
        // `x-gzip` is the same (RFC 9110 §8.4.1.3); `of` tells.
        let named = self.listed.iter().find(|(name, _)| Coding::of(name) == Some(coding));
        named.or_else(|| self.any()).map_or(0, |(_, weight)| *weight)
    }

    /// The weight of the content as it is: taken unless the client says otherwise.
    fn identity(&self) -> Option<u16> {
        let named = self.listed.iter().find(|(name, _)| **name == *b"identity");
        // `*;q=0` excludes it only where it is not named; a `*` of another weight does not speak of it.
        named.or_else(|| self.any().filter(|(_, weight)| *weight == 0)).map(|(_, weight)| *weight)
    }

    fn any(&self) -> Option<&(Box<[u8]>, u16)> {
        self.listed.iter().find(|(name, _)| **name == *b"*")
    }

    /// The best of those offered, in the order of our preference where the client has none. The content as it is wins only
    /// where the client gives it more weight than any of them.
    #[must_use]
    pub fn choose(&self, offered: impl IntoIterator<Item = Coding>) -> Choice {
        let mut best: Option<(Coding, u16)> = None;
        for coding in offered {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        match best {
            Some((_, weight)) if self.identity().is_some_and(|identity| identity > weight) => Choice::Identity,
            Some((coding, _)) => Choice::Coding(coding),
            None => Choice::Identity,
        }
    }
}

/// `q=0.5` as 500; 1000 without it. What is no weight counts as none: a client that writes nonsense gets plain content.
fn weight<'p>(parameters: impl Iterator<Item = &'p [u8]>) -> u16 {
    for parameter in parameters {
        if let Some(text) = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q=")) {
            return thousandths(text).unwrap_or(0);
        }
    }
    1000
}

/// `qvalue` of RFC 9110 §12.4.2: `0` to `1` with up to three decimals.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut value = match whole {
        b'0' => 0,
        b'1' => 1,
        _ => return None,
    };
    for at in 0..3 {
        let digit = decimals.get(at).copied().unwrap_or(b'0');
        value = value * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [Coding; 3] = [Coding::Br, Coding::Zstd, Coding::Gzip];

    fn choose(value: &str) -> Choice {
        Accepted::read([value.as_bytes()].into_iter()).choose(OURS)
    }

    #[test]
    fn our_preference_decides_where_the_client_has_none() {
        assert_eq!(choose("gzip, deflate, br"), Choice::Coding(Coding::Br));
        assert_eq!(choose("gzip, zstd"), Choice::Coding(Coding::Zstd));
        assert_eq!(choose("x-gzip"), Choice::Coding(Coding::Gzip));
        assert_eq!(choose("*"), Choice::Coding(Coding::Br));
    }

    #[test]
    fn weights_go_first() {
        assert_eq!(choose("br;q=0.5, gzip;q=0.8"), Choice::Coding(Coding::Gzip));
        assert_eq!(choose("br;q=0, *;q=0.1"), Choice::Coding(Coding::Zstd));
        assert_eq!(choose("gzip ; q=0.001, identity;q=0.0"), Choice::Coding(Coding::Gzip));
        assert_eq!(choose("identity, gzip;q=0.5"), Choice::Identity);
        assert_eq!(choose("identity;q=0.5, gzip;q=0.5"), Choice::Coding(Coding::Gzip));
        assert_eq!(choose("GZIP;Q=1.000"), Choice::Coding(Coding::Gzip));
    }

    #[test]
    fn what_is_not_taken_is_not_chosen() {
        for value in ["", "identity", "deflate", "*;q=0", "gzip;q=0", "br;q=0, zstd;q=0, gzip;q=0, identity;q=0"] {
            assert_eq!(choose(value), Choice::Identity, "{value}");
        }
        assert_eq!(Accepted::read([].into_iter()).choose(OURS), Choice::Identity);
    }

    #[test]
    fn nonsense_counts_as_not_taken() {
        for value in ["gzip;q=2", "gzip;q=0.1234", "gzip;q=", "gzip;q=1.5", "gzip;q=a", "gzip;q=.5", ";q=1", "gz ip"] {
            assert_eq!(choose(value), Choice::Identity, "{value}");
        }
        let long = "x, ".repeat(MOST) + "gzip";
        assert_eq!(choose(&long), Choice::Identity);
    }

    #[test]
    fn lines_are_one_list() {
        let accepted = Accepted::read([&b"deflate"[..], b"gzip"].into_iter());
        assert_eq!(accepted.choose(OURS), Choice::Coding(Coding::Gzip));
    }
}
