//! The page of a policy: the `//!` lines at the head of its file, which are the docs of the code and of the product alike.
//!
//! Cut out when compiled, so that the rest of the source does not end up in the binary.

/// How many bytes at the start of `source` are its page.
pub(crate) const fn len(source: &str) -> usize {
    let bytes = source.as_bytes();
    let mut at = 0;
    while at + 2 < bytes.len() && bytes[at] == b'/' && bytes[at + 1] == b'/' && bytes[at + 2] == b'!' {
        while at < bytes.len() && bytes[at] != b'\n' {
            at += 1;
        }
        at += 1;
    }
    at
}

/// The first `N` bytes of `source`.
pub(crate) const fn copy<const N: usize>(source: &str) -> [u8; N] {
    let mut page = [0; N];
    let mut at = 0;
    while at < N {
        page[at] = source.as_bytes()[at];
        at += 1;
    }
    page
}

/// The page as Markdown.
pub(crate) fn text(page: &[u8]) -> String {
    let lines = String::from_utf8_lossy(page);
    let bare = |line: &str| {
        let text = line.strip_prefix("//!").unwrap_or(line);
        format!("{}\n", text.strip_prefix(' ').unwrap_or(text))
    };
    lines.lines().map(bare).collect()
}
