//! Which name of a certificate says who somebody is, and which such names are let in.

use super::parsed::Parsed;

/// A kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The subject, as RFC 4514 writes it.
    Subject,
    /// The common name of the subject.
    CommonName,
    /// The alternative name that is one of the DNS.
    Dns,
    /// The one that is a URI.
    Uri,
    /// The one that is a mail address.
    Email,
    /// The URI, which has to be a SPIFFE ID.
    Spiffe,
}

/// Longest SPIFFE ID, in bytes (SPIFFE-ID §2.3).
const LONGEST_SPIFFE_ID: usize = 2048;

impl Kind {
    /// The names of this kind.
    ///
    /// # Errors
    /// There is none, or those that there are break the rules of SPIFFE.
    pub(super) fn of(self, certificate: &Parsed) -> Result<&[String], &'static str> {
        let names = match self {
            Self::Subject if certificate.subject.is_empty() => &[],
            Self::Subject => std::slice::from_ref(&certificate.subject),
            Self::CommonName => certificate.common_names.as_slice(),
            Self::Dns => certificate.dns.as_slice(),
            Self::Uri => certificate.uris.as_slice(),
            Self::Email => certificate.emails.as_slice(),
            Self::Spiffe => {
                spiffe(certificate)?;
                certificate.uris.as_slice()
            }
        };
        if names.iter().all(String::is_empty) { Err("no name of the kind that is asked for") } else { Ok(names) }
    }

    /// What parts of such a name stand between: `*` does not reach over these.
    fn separators(self) -> &'static [u8] {
        match self {
            Self::Subject => b",+",
            Self::CommonName => b"",
            Self::Dns => b".",
            Self::Uri | Self::Spiffe => b"/",
            Self::Email => b"@",
        }
    }

    /// Whether a name is one of those that `pattern` stands for: `*` stands for one part of a name, `**` for any number of them.
    pub(super) fn matches(self, pattern: &str, name: &str) -> bool {
        let separators = self.separators();
        let lower;
        let pattern = match self {
            Self::Dns => {
                lower = pattern.to_ascii_lowercase();
                lower.as_bytes()
            }
            _ => pattern.as_bytes(),
        };
        // Which lengths of the name the pattern stands for, as far as it was read.
        let name = name.as_bytes();
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        let mut at = 0;
        while at < pattern.len() {
            if pattern[at] == b'*' {
                let any = pattern.get(at + 1) == Some(&b'*');
                // At least one byte: a name without the part is another one.
                let mut next = vec![false; name.len() + 1];
                for end in 1..=name.len() {
                    let passes = any || !separators.contains(&name[end - 1]);
                    next[end] = passes && (reached[end - 1] || next[end - 1]);
                }
                reached = next;
                at += if any { 2 } else { 1 };
            } else {
                let mut next = vec![false; name.len() + 1];
                for end in 1..=name.len() {
                    next[end] = reached[end - 1] && name[end - 1] == pattern[at];
                }
                reached = next;
                at += 1;
            }
        }
        reached[name.len()]
    }
}

/// The trust domain of a SPIFFE ID.
pub(super) fn trust_domain(id: &str) -> Option<&str> {
    id.strip_prefix("spiffe://")?.split('/').next()
}

/// X509-SVID §2, §4.1, §4.3: a leaf has exactly one URI, which is a SPIFFE ID with a path; it vouches for nobody, and its key signs.
fn spiffe(certificate: &Parsed) -> Result<(), &'static str> {
    let [id] = certificate.uris.as_slice() else { return Err("not exactly one URI, as SPIFFE has it") };
    if certificate.may_vouch || !certificate.is_for_signatures {
        return Err("no leaf of SPIFFE: it may vouch for others, or its key does not sign");
    }
    if is_spiffe_id(id) { Ok(()) } else { Err("a URI that is no SPIFFE ID") }
}

/// SPIFFE-ID §2: neither a port, nor a query, nor encodings; no empty segments and no dots that lead elsewhere.
fn is_spiffe_id(id: &str) -> bool {
    let Some((domain, path)) = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else { return false };
    let in_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let in_segment = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_segment = |text: &str| !matches!(text, "" | "." | "..") && text.bytes().all(in_segment);
    id.len() <= LONGEST_SPIFFE_ID
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path.split('/').all(is_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_part_and_two_are_all() {
        for (kind, pattern, name, is_let_in) in [
            (Kind::Dns, "*.Example.org", "a.example.org", true),
            (Kind::Dns, "*.example.org", "a.b.example.org", false),
            (Kind::Dns, "**.example.org", "a.b.example.org", true),
            (Kind::Dns, "*.example.org", ".example.org", false),
            (Kind::Dns, "*.example.org", "example.org", false),
            (Kind::Dns, "a.example.org", "a.example.org.evil", false),
            (Kind::Spiffe, "spiffe://a.example/*", "spiffe://a.example/web", true),
            (Kind::Spiffe, "spiffe://a.example/*", "spiffe://a.example/web/admin", false),
            (Kind::Spiffe, "spiffe://a.example/**", "spiffe://a.example/web/admin", true),
            (Kind::Spiffe, "spiffe://a.example/ns/*/sa/shop", "spiffe://a.example/ns/x/sa/shop", true),
            (Kind::Spiffe, "spiffe://a.example/*", "spiffe://a.example.evil/web", false),
            (Kind::Subject, "CN=*,O=Shop", "CN=alice,O=Shop", true),
            (Kind::Subject, "CN=*,O=Shop", "CN=alice,OU=x,O=Shop", false),
            (Kind::Email, "*@example.org", "a@example.org", true),
            (Kind::Email, "*@example.org", "a@evil@example.org", false),
            (Kind::CommonName, "Alice", "alice", false),
            (Kind::CommonName, "", "", true),
        ] {
            assert_eq!(kind.matches(pattern, name), is_let_in, "{pattern} for {name}");
        }
    }

    #[test]
    fn a_spiffe_id_is_what_spiffe_says() {
        for id in ["spiffe://a.example/web", "spiffe://a-b_c.1/x/Y.z_-", "spiffe://a/..."] {
            assert!(is_spiffe_id(id), "{id}");
        }
        for id in [
            "spiffe://a.example",
            "spiffe://a.example/",
            "spiffe:///web",
            "spiffe://A.example/web",
            "spiffe://a.example:443/web",
            "spiffe://u@a.example/web",
            "spiffe://a.example/web/",
            "spiffe://a.example/a//b",
            "spiffe://a.example/../b",
            "spiffe://a.example/./b",
            "spiffe://a.example/%61",
            "spiffe://a.example/b?c",
            "spiffe://a.example/b#c",
            "SPIFFE://a.example/b",
            "https://a.example/b",
            &format!("spiffe://a.example/{}", "x".repeat(2048)),
        ] {
            assert!(!is_spiffe_id(id), "{id}");
        }
    }
}
