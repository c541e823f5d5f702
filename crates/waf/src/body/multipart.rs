//! Forms in parts (RFC 7578): fields are arguments; of files the names and sizes are known, and their content is not looked at.

use super::{Broken, File, Parts};

/// Most header lines of a part.
const MOST_HEADERS: usize = 20;
/// Longest boundary (RFC 2046 §5.1.1).
const LONGEST_BOUNDARY: usize = 70;

pub(super) fn read(content_type: &[u8], body: &[u8], parts: &mut Parts) -> Result<(), Broken> {
    let delimiter = [b"--", &boundary(content_type, parts)?[..]].concat();
    let mut rest = body;
    // Of what stands before the first part nobody knows who reads it.
    if !rest.starts_with(&delimiter) {
        let at =
            memchr::memmem::find(rest, &[b"\r\n", &delimiter[..]].concat()).ok_or("the boundary is not in the body")?;
        doubt(parts, "something stands before the first part");
        rest = &rest[at + 2..];
    }
    let (next, next_bare) = ([b"\r\n", &delimiter[..]].concat(), [b"\n", &delimiter[..]].concat());
    loop {
        rest = &rest[delimiter.len()..];
        if let Some(behind) = rest.strip_prefix(b"--") {
            if !matches!(behind, b"" | b"\r\n") {
                doubt(parts, "something stands behind the last part");
            }
            return Ok(());
        }
        rest = line_end(rest, parts)?;
        let end = match memchr::memmem::find(rest, &next) {
            Some(end) => end,
            None => return Err(missing(rest, &next_bare)),
        };
        // Who ends lines with LF alone sees another end.
        if memchr::memmem::find(&rest[..end], &next_bare).is_some() {
            doubt(parts, "a boundary stands behind LF alone");
        }
        part(&rest[..end], parts)?;
        rest = &rest[end + 2..];
    }
}

fn missing(rest: &[u8], bare: &[u8]) -> Broken {
    let has = memchr::memmem::find(rest, bare).is_some();
    if has { "its lines end with LF alone" } else { "the last boundary is missing" }.to_owned()
}

fn doubt(parts: &mut Parts, why: &str) {
    parts.doubt.get_or_insert_with(|| why.to_owned());
}

/// What is behind a boundary, on its line.
fn line_end<'b>(rest: &'b [u8], parts: &mut Parts) -> Result<&'b [u8], Broken> {
    if let Some(rest) = rest.strip_prefix(b"\r\n") {
        return Ok(rest);
    }
    // Blanks are allowed there (RFC 2046 §5.1.1), and nobody sends them.
    doubt(parts, "a boundary has more on its line");
    let at = memchr::memmem::find(rest, b"\r\n").ok_or("a boundary has no end of its line")?;
    Ok(&rest[at + 2..])
}

/// The boundary of the `Content-Type`.
fn boundary(content_type: &[u8], parts: &mut Parts) -> Result<Vec<u8>, Broken> {
    let found: Vec<_> = parameters(content_type, parts).into_iter().filter(|(name, _)| name == b"boundary").collect();
    let [(_, boundary)] = &found[..] else { return Err("there is not one boundary".to_owned()) };
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY || !boundary.iter().all(is_fit) {
        return Err("the boundary is none".to_owned());
    }
    Ok(boundary.clone())
}

fn part(part: &[u8], parts: &mut Parts) -> Result<(), Broken> {
    let (head, content) = match memchr::memmem::find(part, b"\r\n\r\n") {
        Some(at) => (&part[..at], &part[at + 4..]),
        // No header, or no content.
        None => (part, &b""[..]),
    };
    let mut disposition = None;
    let mut lines = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(at) = memchr::memchr(b':', line).filter(|at| *at > 0) else {
            return Err("a part has a header line without a name".to_owned());
        };
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            doubt(parts, "a part has a header line that goes on");
        }
        let name = line[..at].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-disposition") && disposition.replace(&line[at + 1..]).is_some() {
            return Err("a part says twice what it is".to_owned());
        }
        lines.push(line.to_vec());
        if lines.len() > MOST_HEADERS {
            return Err(format!("a part has more than {MOST_HEADERS} header lines"));
        }
    }
    let disposition = disposition.ok_or("a part does not say what it is")?;
    field(disposition, content, lines, parts)
}

fn field(disposition: &[u8], content: &[u8], lines: Vec<Vec<u8>>, parts: &mut Parts) -> Result<(), Broken> {
    let given = parameters(disposition, parts);
    let named =
        |wanted: &[u8]| given.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value).collect::<Vec<_>>();
    let names = named(b"name");
    let [name] = names[..] else { return Err("a part has not one name".to_owned()) };
    let files: Vec<_> = named(b"filename").into_iter().chain(named(b"filename*")).collect();
    if files.len() > 1 {
        doubt(parts, "a file has more than one name");
    }
    parts.take_room(name.len() * (2 + lines.len()) + content.len())?;
    for line in lines {
        parts.part_headers.push((name.clone(), line));
    }
    // Without a name, or with one that RFC 7578 §4.2 does not know, others may take the file for a field.
    if !named(b"filename*").is_empty() || files.iter().all(|file| file.is_empty()) {
        parts.arguments.push((name.clone(), content.to_vec()));
    }
    for file in files {
        parts.files.push(File { field: name.clone(), name: file.clone(), size: content.len() });
    }
    Ok(())
}

/// Parameters of a header field, with their names in lower case. In quotes, `\` stands before `"` and itself; other ones stay, as
/// browsers of old send names of files with them.
fn parameters(value: &[u8], parts: &mut Parts) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    let mut rest = value;
    while let Some(at) = memchr::memchr(b';', rest) {
        rest = rest[at + 1..].trim_ascii_start();
        let Some(end) = rest.iter().position(|byte| b"=;".contains(byte)).filter(|end| rest[*end] == b'=') else {
            continue;
        };
        let name = rest[..end].trim_ascii().to_ascii_lowercase();
        rest = rest[end + 1..].trim_ascii_start();
        let mut text = Vec::new();
        if rest.first() == Some(&b'"') {
            let mut at = 1;
            loop {
                match rest.get(at) {
                    Some(b'"') => break,
                    Some(b'\\') if matches!(rest.get(at + 1), Some(b'"' | b'\\')) => {
                        text.push(rest[at + 1]);
                        at += 2;
                    }
                    Some(byte) => {
                        text.push(*byte);
                        at += 1;
                    }
                    None => {
                        doubt(parts, "a quote has no end");
                        at = rest.len();
                        break;
                    }
                }
            }
            rest = &rest[(at + 1).min(rest.len())..];
        } else {
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            text.extend(rest[..end].trim_ascii());
            if text.contains(&b'"') || text.contains(&b'\'') {
                doubt(parts, "a quote stands where there should be none");
            }
            rest = &rest[end..];
        }
        all.push((name, text));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::Processor;
    use super::*;

    fn read(content_type: &str, body: &str) -> Parts {
        Parts::read(Processor::Multipart, content_type.as_bytes(), body.as_bytes(), 100)
    }

    const TYPE: &str = "multipart/form-data; boundary=X";

    #[test]
    fn fields_are_arguments_and_files_have_names() {
        let body = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--X\r\nContent-Disposition: form-data; \
                    name=b; filename=\"x\\\"y\\z.php\"\r\nContent-Type: image/png\r\n\r\nabc\r\n--X--\r\n";
        let parts = read(TYPE, body);
        assert_eq!((&parts.error, &parts.doubt), (&None, &None));
        assert_eq!(parts.arguments, [(b"a".to_vec(), b"1\r\n2".to_vec())]);
        assert_eq!(parts.files, [File { field: b"b".to_vec(), name: b"x\"y\\z.php".to_vec(), size: 3 }]);
        assert_eq!(parts.part_headers.len(), 3);
        assert_eq!(parts.part_headers[2], (b"b".to_vec(), b"Content-Type: image/png".to_vec()));
    }

    #[test]
    fn what_readers_differ_about_is_told() {
        let part = "Content-Disposition: form-data; name=a\r\n\r\n1";
        for (content_type, body, error, doubted) in [
            (TYPE, format!("--X\r\n{part}\r\n--X--"), "", ""),
            ("multipart/form-data; boundary=\"X\"", format!("--X\r\n{part}\r\n--X--"), "", ""),
            ("multipart/form-data", format!("--X\r\n{part}\r\n--X--"), "not one boundary", ""),
            ("multipart/form-data; boundary=X; boundary=Y", format!("--X\r\n{part}\r\n--X--"), "not one boundary", ""),
            ("multipart/form-data; boundary=X\"", String::new() + "--X", "boundary is none", "a quote stands"),
            (TYPE, format!("--X\r\n{part}\r\n--X"), "no end of its line", "more on its line"),
            (TYPE, format!("--X\r\n{part}\r\n"), "last boundary is missing", ""),
            (TYPE, format!("--X\n{part}\n--X--\n"), "LF alone", "more on"),
            (TYPE, format!("hello\r\n--X\r\n{part}\r\n--X--"), "", "before the first"),
            (TYPE, format!("--X\r\n{part}\r\n--X--\r\nevil"), "", "behind the last"),
            (TYPE, format!("--X\r\n{part}\n--X\nx\r\n--X--"), "", "LF alone"),
            (TYPE, "--X\r\nContent-Type: a\r\n\r\n1\r\n--X--".to_owned(), "does not say", ""),
            (TYPE, "--X\r\n\r\n1\r\n--X--".to_owned(), "without a name", ""),
            (TYPE, format!("--X\r\nContent-Disposition: x; name=b\r\n{part}\r\n--X--"), "twice", ""),
            (
                TYPE,
                "--X\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n1\r\n--X--".to_owned(),
                "not one name",
                "",
            ),
            (
                TYPE,
                "--X\r\nContent-Disposition: form-data; name=a; filename=b; filename=c\r\n\r\n1\r\n--X--".to_owned(),
                "",
                "more than one name",
            ),
            (TYPE, "nothing".to_owned(), "not in the body", ""),
        ] {
            let parts = read(content_type, &body);
            let (told, doubts) = (parts.error.unwrap_or_default(), parts.doubt.unwrap_or_default());
            assert!(told.contains(error) && error.is_empty() == told.is_empty(), "{body}: {told}");
            assert!(doubts.contains(doubted) && doubted.is_empty() == doubts.is_empty(), "{body}: {doubts}");
        }
    }
}
