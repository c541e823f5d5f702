//! What is in a directory, as a page.

use std::fmt::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType};

use crate::lookup::is_shown;

/// Names beyond this are left out; a page has an end.
const MOST: usize = 10_000;

/// The page of a directory that is shown at this path, which ends in a slash.
pub(crate) fn page(directory: &OwnedFd, path: &str) -> std::io::Result<String> {
    let mut names: Vec<(bool, Vec<u8>)> = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        // What cannot be told apart without another look is shown without a slash; its link leads on to the one with it.
        if is_shown(name) && names.len() < MOST {
            names.push((entry.file_type() != FileType::Directory, name.to_vec()));
        }
    }
    names.sort();
    let title = escaped(path.as_bytes());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body>\n\
         <h1>{title}</h1>\n<ul>\n"
    );
    if path != "/" {
        page.push_str("<li><a href=\"../\">../</a></li>\n");
    }
    for (is_file, name) in names {
        let slash = if is_file { "" } else { "/" };
        // Writing to memory does not fail.
        let _ = writeln!(page, "<li><a href=\"./{}{slash}\">{}{slash}</a></li>", encoded(&name), escaped(&name));
    }
    page.push_str("</ul>\n</body>\n</html>\n");
    Ok(page)
}

/// A name as a segment of a URL: whatever is not unreserved (RFC 3986 §2.3) is encoded.
fn encoded(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// A text within a page.
fn escaped(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["<b>\"&'.txt", "ä b", ".hidden", "plain"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("below")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap().into();
        let page = page(&root, "/a/").unwrap();
        let items: Vec<&str> = page.lines().filter(|line| line.starts_with("<li>")).collect();
        assert_eq!(
            items,
            [
                "<li><a href=\"../\">../</a></li>",
                "<li><a href=\"./below/\">below/</a></li>",
                "<li><a href=\"./%3Cb%3E%22%26%27.txt\">&lt;b&gt;&quot;&amp;&#39;.txt</a></li>",
                "<li><a href=\"./plain\">plain</a></li>",
                "<li><a href=\"./%C3%A4%20b\">ä b</a></li>",
            ]
        );
    }
}
