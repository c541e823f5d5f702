//! How services may read a path that the gateway takes as it is: servlet containers drop parameters (`/admin;x` is `/admin`),
//! some servers decode `%2F`. Told here; what follows from it is the plan's to say.

use std::iter::once;

use super::{decoded_wholly, normalised};

/// One liberty that services take with paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What follows `;` in a segment is dropped.
    WithoutParameters,
    /// `%2F` is a separator; so is `%252F`, for who decodes twice.
    SlashesDecoded,
}

impl Reading {
    /// Whether it makes a difference to this path, which is in normal form.
    #[must_use]
    pub fn concerns(self, path: &[u8]) -> bool {
        match self {
            Self::WithoutParameters => path.contains(&b';'),
            Self::SlashesDecoded => path.contains(&b'%') && self.read(path).len() != path.len(),
        }
    }

    fn read(self, path: &[u8]) -> Vec<u8> {
        match self {
            Self::WithoutParameters => {
                let bare = path.split(|b| *b == b'/').map(|segment| segment.split(|b| *b == b';').next());
                bare.map(Option::unwrap_or_default).collect::<Vec<_>>().join(&b'/')
            }
            Self::SlashesDecoded => {
                let (mut read, mut rest) = (Vec::with_capacity(path.len()), path);
                while let Some(first) = rest.first() {
                    let (byte, behind) = decoded_wholly(rest);
                    if byte == b'/' {
                        read.push(b'/');
                        rest = behind;
                    } else {
                        read.push(*first);
                        rest = &rest[1..];
                    }
                }
                read
            }
        }
    }
}

/// Every other way to read `path`, which is in normal form: by each of `liberties` that concerns it, and by two of them in
/// either order. Each is in normal form again.
#[must_use]
pub fn readings(path: &[u8], liberties: &[Reading]) -> Vec<Vec<u8>> {
    let concerning = || liberties.iter().filter(|liberty| liberty.concerns(path));
    let mut all: Vec<Vec<u8>> = Vec::new();
    for first in concerning() {
        let read = first.read(path);
        let others = concerning().filter(|second| *second != first).map(|second| second.read(&read));
        for read in others.chain(once(read.clone())) {
            let normal = normalised(&read).map(std::borrow::Cow::into_owned).unwrap_or(read);
            if normal != path && !all.contains(&normal) {
                all.push(normal);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Reading] = &[Reading::WithoutParameters, Reading::SlashesDecoded];

    fn read(path: &str, liberties: &[Reading]) -> Vec<String> {
        let mut all: Vec<String> =
            readings(path.as_bytes(), liberties).into_iter().map(|path| String::from_utf8(path).unwrap()).collect();
        all.sort();
        all
    }

    #[test]
    fn each_liberty_and_both_in_either_order() {
        let table: [(&str, &[&str]); 11] = [
            ("/a/b", &[]),
            ("/a%41", &[]),
            ("/admin;x/secret", &["/admin/secret"]),
            ("/a/;x/b", &["/a/b"]),
            ("/a/;x", &["/a/"]),
            ("/;x", &["/"]),
            ("/admin%2Fsecret", &["/admin/secret"]),
            ("/admin%252Fsecret", &["/admin/secret"]),
            ("/a%2F%2Fb%2F", &["/a/b/"]),
            ("/a;x%2Fb", &["/a", "/a/b", "/a;x/b"]),
            ("/a%2Fb;x", &["/a%2Fb", "/a/b", "/a/b;x"]),
        ];
        for (path, expected) in table {
            assert_eq!(read(path, BOTH), expected, "{path}");
        }
    }

    #[test]
    fn only_the_liberties_asked_for_are_taken() {
        assert_eq!(read("/a;x%2Fb", &[Reading::WithoutParameters]), ["/a"]);
        assert_eq!(read("/a;x%2Fb", &[Reading::SlashesDecoded]), ["/a;x/b"]);
        assert!(read("/a;x%2Fb", &[]).is_empty());
        assert!(!Reading::SlashesDecoded.concerns(b"/a%20b;c"));
    }
}
