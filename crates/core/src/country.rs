//! From which country an address is: a port. Who is let in by that is a policy's business.

use std::fmt;
use std::net::IpAddr;

use crate::principal::Standing;

/// A country, by its two letters (ISO 3166-1 alpha-2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters, in any case.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The letters, in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Nothing but letters ever gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Knows the countries of addresses.
pub trait Countries: fmt::Debug + Send + Sync + 'static {
    /// The country of this address, if it is known.
    fn of(&self, address: IpAddr) -> Option<Country>;

    /// What it is, in a few words.
    fn describe(&self) -> String;

    /// Whether its file can be used.
    fn standing(&self) -> Standing;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_has_two_letters() {
        assert_eq!(Country::read("de").unwrap().to_string(), "DE");
        assert_eq!(Country::read("dE"), Country::read("DE"));
        for text in ["", "D", "DEU", "D1", "Ä"] {
            assert_eq!(Country::read(text), None, "{text}");
        }
    }
}
