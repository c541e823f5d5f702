//! From the path of a request to a path below the directory.

use tollgate_core::path::percent_decode;

/// A path below the directory, decoded, without a slash at either end. Nothing in it leads up, or is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Below {
    /// Empty: the directory itself.
    pub(crate) path: Vec<u8>,
    /// The request's path ends in a slash: it asks for a directory.
    pub(crate) is_directory: bool,
}

impl Below {
    /// What a normal path means, once the first segments are skipped. `None`: nothing that could be shown.
    pub(crate) fn of(path: &str, skip: usize) -> Option<Self> {
        let mut segments = path.split('/').skip(1 + skip).peekable();
        let mut below = Vec::with_capacity(path.len());
        let mut is_directory = false;
        while let Some(segment) = segments.next() {
            if segment.is_empty() {
                // Only the last one can be: a normal path has no two slashes in a row.
                is_directory = segments.peek().is_none();
                continue;
            }
            let name = percent_decode(segment.as_bytes());
            if !is_shown(&name) {
                return None;
            }
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&name);
        }
        Some(Self { path: below, is_directory })
    }
}

/// Whether a name may be shown. A slash that was encoded is part of a name, and no file has such a name; a name that begins
/// with a dot is not meant for others, but for one (RFC 8615).
pub(crate) fn is_shown(name: &[u8]) -> bool {
    !name.is_empty() && (name[0] != b'.' || name == b".well-known") && !name.iter().any(|b| matches!(b, b'/' | b'\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(path: &str, skip: usize) -> Option<(String, bool)> {
        let below = Below::of(path, skip)?;
        Some((String::from_utf8(below.path).unwrap(), below.is_directory))
    }

    #[test]
    fn what_follows_the_route_is_the_path_below() {
        assert_eq!(below("/", 0), Some((String::new(), true)));
        assert_eq!(below("/static", 1), Some((String::new(), false)));
        assert_eq!(below("/static/", 1), Some((String::new(), true)));
        assert_eq!(below("/static/a/b%20c.txt", 1), Some(("a/b c.txt".into(), false)));
        assert_eq!(below("/u/7/files/a/", 3), Some(("a".into(), true)));
    }

    #[test]
    fn nothing_hidden_is_found() {
        for path in ["/.git", "/a/.env", "/a%2Fb", "/%2E%2E", "/a/..", "/a%00", "/.well-known%2F.."] {
            assert_eq!(below(path, 0), None, "{path}");
        }
        assert_eq!(below("/.well-known/security.txt", 0).unwrap().0, ".well-known/security.txt");
    }
}
