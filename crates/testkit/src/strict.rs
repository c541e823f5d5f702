//! A second, independent reading of HTTP/1.1 messages, as strict as RFC 9112 is, written for clearness alone.
//!
//! It shares no code with the gateway. Whatever the gateway sends, to either side, must be accepted here.

use std::fmt;

/// A field line: the name as it came, the value without the blanks around it.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// As written.
    pub name: String,
    /// Bytes, since values may hold more than ASCII.
    pub value: Vec<u8>,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(usize),
    /// Chunks up to the empty one.
    Chunked,
    /// Until the connection closes (answers only).
    Close,
}

/// What follows a head.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// How its end is known.
    pub framing: Framing,
    /// Without chunk framing.
    pub body: Vec<u8>,
    /// After the last chunk.
    pub trailers: Vec<Field>,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}: {}\"", self.name, self.value.escape_ascii())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(400)];
        write!(f, "{:?} \"{}\" {:?}", self.framing, shown.escape_ascii(), self.trailers)
    }
}

/// One whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As written.
    pub method: String,
    /// As written.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// In order.
    pub fields: Vec<Field>,
    /// The body.
    pub content: Content,
}

/// One whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Three digits.
    pub status: u16,
    /// Perhaps empty.
    pub reason: String,
    /// In order.
    pub fields: Vec<Field>,
    /// The body.
    pub content: Content,
}

/// What a look at bytes gives: the message and how many bytes it took.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// All of it is there.
    Whole(T, usize),
    /// More bytes are needed.
    Partial,
}

/// What breaks the grammar, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Result<T> = std::result::Result<T, Broken>;

impl Request {
    /// `POST /x HTTP/1.1`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {} {}", self.method, self.target, self.version)
    }

    /// All values under this name, whatever its case.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        all(&self.fields, name)
    }

    /// The value under this name, if there is exactly one.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<String> {
        one(&self.fields, name)
    }
}

impl Response {
    /// All values under this name, whatever its case.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        all(&self.fields, name)
    }

    /// The value under this name, if there is exactly one.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<String> {
        one(&self.fields, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.content.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Reads one request from the start of `bytes`.
///
/// # Errors
/// Says what breaks the grammar.
pub fn request(bytes: &[u8]) -> Result<Parsed<Request>> {
    let Some((lines, head_end)) = head_lines(bytes)? else { return Ok(Parsed::Partial) };
    let parts: Vec<&str> = lines[0].split(|b| *b == b' ').map(ascii).collect::<Result<_>>()?;
    let [method, target, version] = parts[..] else {
        return broken(format!("a request line of {} parts", parts.len()));
    };
    if !is_token(method.as_bytes()) || target.is_empty() || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return broken(format!("request line {:?}", parts.join(" ")));
    }
    let fields = fields(&lines[1..])?;
    if all(&fields, "host").len() != 1 && version == "HTTP/1.1" {
        return broken("not exactly one Host".to_owned());
    }
    let framing = framing(&fields)?.unwrap_or(Framing::None);
    Ok(match content(&bytes[head_end..], framing, End::Open)? {
        Parsed::Partial => Parsed::Partial,
        Parsed::Whole(content, used) => {
            let (method, target, version) = (method.to_owned(), target.to_owned(), version.to_owned());
            Parsed::Whole(Request { method, target, version, fields, content }, head_end + used)
        }
    })
}

/// Reads all of `bytes` as requests, one behind the other. What is left over at the end is given as it is: a
/// message that was cut off, if it is not empty.
///
/// # Errors
/// Says what breaks the grammar.
pub fn requests(mut bytes: &[u8]) -> Result<(Vec<Request>, &[u8])> {
    let mut found = Vec::new();
    while let Parsed::Whole(message, used) = request(bytes)? {
        found.push(message);
        bytes = &bytes[used..];
    }
    Ok((found, bytes))
}

/// Whether more bytes may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// They may.
    Open,
    /// The peer has closed in order.
    Closed,
}

/// Reads one answer to a request with this method from the start of `bytes`.
///
/// # Errors
/// Says what breaks the grammar.
pub fn response(bytes: &[u8], method: &str, end: End) -> Result<Parsed<Response>> {
    let Some((lines, head_end)) = head_lines(bytes)? else { return Ok(Parsed::Partial) };
    let line = lines[0];
    let (Some(version), Some(b' '), Some(digits)) = (line.get(..8), line.get(8), line.get(9..12)) else {
        return broken(format!("status line {:?}", String::from_utf8_lossy(line)));
    };
    let status: u16 = ascii(digits)?.parse().map_err(|_| Broken("a status that is no number".to_owned()))?;
    if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") || !matches!(line.get(12), None | Some(b' ')) {
        return broken(format!("status line {:?}", String::from_utf8_lossy(line)));
    }
    let fields = fields(&lines[1..])?;
    let bodiless = method == "HEAD" || status < 200 || matches!(status, 204 | 304);
    let framing = match framing(&fields)? {
        _ if bodiless => Framing::None,
        Some(framing) => framing,
        None => Framing::Close,
    };
    if status == 204 || status < 200 {
        // RFC 9110 §8.6, RFC 9112 §6.1: neither field may be sent with these.
        if let Some(field) = fields.iter().find(|f| is_framing_name(&f.name)) {
            return broken(format!("{} in a {status}", field.name));
        }
    }
    let version = ascii(version)?.to_owned();
    let reason = String::from_utf8_lossy(line.get(13..).unwrap_or_default()).into_owned();
    Ok(match content(&bytes[head_end..], framing, end)? {
        Parsed::Partial => Parsed::Partial,
        Parsed::Whole(content, used) => {
            Parsed::Whole(Response { version, status, reason, fields, content }, head_end + used)
        }
    })
}

fn is_framing_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

/// All values under `name`, whatever its case.
#[must_use]
pub fn all(fields: &[Field], name: &str) -> Vec<String> {
    let named = fields.iter().filter(|f| f.name.eq_ignore_ascii_case(name));
    named.map(|f| String::from_utf8_lossy(&f.value).into_owned()).collect()
}

fn one(fields: &[Field], name: &str) -> Option<String> {
    let mut values = all(fields, name);
    if values.len() == 1 { values.pop() } else { None }
}

fn broken<T>(what: String) -> Result<T> {
    Err(Broken(what))
}

fn ascii(bytes: &[u8]) -> Result<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|b| b.is_ascii_graphic()) => Ok(text),
        _ => broken(format!("{:?} is not plain ASCII", String::from_utf8_lossy(bytes))),
    }
}

/// Lines without their ends.
type Lines<'b> = Vec<&'b [u8]>;

/// The lines before the empty line, and where that one ends. `None`: it has not come yet.
fn head_lines(bytes: &[u8]) -> Result<Option<(Lines<'_>, usize)>> {
    let (mut lines, mut start) = (Vec::new(), 0);
    while let Some(length) = bytes[start..].iter().position(|b| *b == b'\n') {
        let line = &bytes[start..start + length];
        let Some(line) = line.strip_suffix(b"\r") else { return broken("a line that ends in LF alone".to_owned()) };
        if line.contains(&b'\r') {
            return broken("a CR inside a line".to_owned());
        }
        start += length + 1;
        match (line.is_empty(), lines.is_empty()) {
            (true, true) => return broken("an empty line where a start line should be".to_owned()),
            (true, false) => return Ok(Some((lines, start))),
            (false, _) => lines.push(line),
        }
    }
    Ok(None)
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

fn fields(lines: &[&[u8]]) -> Result<Vec<Field>> {
    lines.iter().map(|line| field(line)).collect()
}

fn field(line: &[u8]) -> Result<Field> {
    let shown = String::from_utf8_lossy(line);
    let Some(colon) = line.iter().position(|b| *b == b':') else { return broken(format!("no colon in {shown:?}")) };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if !is_token(name) {
        return broken(format!("the name of {shown:?}"));
    }
    if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
        return broken(format!("a control byte in {shown:?}"));
    }
    Ok(Field { name: ascii(name)?.to_owned(), value: value.to_vec() })
}

/// What the fields say of the body; `None`: nothing.
fn framing(fields: &[Field]) -> Result<Option<Framing>> {
    let (codings, lengths) = (all(fields, "transfer-encoding"), all(fields, "content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => match length.parse() {
            Ok(length) => Ok(Some(Framing::Length(length))),
            Err(_) => broken(format!("Content-Length {length}")),
        },
        _ => broken(format!("framing by Transfer-Encoding {codings:?} and Content-Length {lengths:?}")),
    }
}

fn content(bytes: &[u8], framing: Framing, end: End) -> Result<Parsed<Content>> {
    let plain = |body: &[u8]| Content { framing, body: body.to_vec(), trailers: Vec::new() };
    Ok(match framing {
        Framing::None => Parsed::Whole(plain(b""), 0),
        Framing::Length(length) => match bytes.get(..length) {
            Some(body) => Parsed::Whole(plain(body), length),
            None => Parsed::Partial,
        },
        Framing::Close if end == End::Closed => Parsed::Whole(plain(bytes), bytes.len()),
        Framing::Close => Parsed::Partial,
        Framing::Chunked => return chunked(bytes),
    })
}

fn chunked(bytes: &[u8]) -> Result<Parsed<Content>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(length) = bytes[at..].iter().position(|b| *b == b'\n') else { return Ok(Parsed::Partial) };
        let line = &bytes[at..at + length];
        let Some(line) = line.strip_suffix(b"\r") else { return broken("a chunk line that ends in LF".to_owned()) };
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if !(1..=15).contains(&digits) || !matches!(line.get(digits), None | Some(b';')) || line.contains(&b'\r') {
            return broken(format!("chunk line {:?}", String::from_utf8_lossy(line)));
        }
        let size = usize::from_str_radix(ascii(&line[..digits])?, 16).map_err(|e| Broken(e.to_string()))?;
        at += length + 1;
        if size == 0 {
            return last_chunk(bytes, at, body);
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(Parsed::Partial) };
        if !data.ends_with(b"\r\n") {
            return broken("chunk data without CRLF behind it".to_owned());
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
}

fn last_chunk(bytes: &[u8], at: usize, body: Vec<u8>) -> Result<Parsed<Content>> {
    let framing = Framing::Chunked;
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Parsed::Whole(Content { framing, body, trailers: Vec::new() }, at + 2));
    }
    if bytes[at..].len() < 2 {
        return Ok(Parsed::Partial);
    }
    let Some((lines, used)) = head_lines(&bytes[at..])? else { return Ok(Parsed::Partial) };
    Ok(Parsed::Whole(Content { framing, body, trailers: fields(&lines)? }, at + used))
}

#[cfg(test)]
mod tests;
