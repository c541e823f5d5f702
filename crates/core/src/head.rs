//! The head of a message: the bytes as they came, an index of the fields, and an overlay of changes.
//!
//! Nothing is copied to look a field up, and nothing is rewritten to change one: the overlay is applied when the
//! head is written out. Parsing and writing are `http1`'s; this is what everybody else sees of a head.

use std::borrow::Cow;
use std::str;

use bytes::Bytes;

use crate::buffer::Buffer;
use crate::field::Known;
use crate::secrets::without_secrets;

/// A range of bytes in a head. Heads are shorter than 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// First byte.
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

impl Part {
    /// The bytes it stands for.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// One received field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name as it came.
    pub name: Part,
    /// The value without the white space around it.
    pub value: Part,
    /// Which name it is.
    pub known: Known,
    /// Not to be seen or sent on: removed, replaced, or of this connection only.
    pub dropped: bool,
}

/// The fields of a head: those received, minus the dropped, plus the added.
#[derive(Debug, Default)]
pub struct Fields {
    /// What was received: the head from 0 to `head_len`, and behind it whatever else was read.
    pub buffer: Buffer,
    /// Length of the head in bytes, its empty line included.
    pub head_len: usize,
    index: Vec<Field>,
    added: Vec<(Bytes, Bytes)>,
}

impl Fields {
    /// The received fields in order, dropped ones included.
    #[must_use]
    pub fn received(&self) -> &[Field] {
        &self.index
    }

    /// Notes a received field.
    pub fn push(&mut self, field: Field) {
        self.index.push(field);
    }

    /// Drops every received field for which `which` says so.
    pub fn drop_received(&mut self, mut which: impl FnMut(&Field, &[u8]) -> bool) {
        let bytes = self.buffer.filled();
        for field in &mut self.index {
            field.dropped |= which(field, field.name.of(bytes));
        }
    }

    /// Drops every received field whose name one of these parts of the head spells.
    pub fn drop_named(&mut self, names: &[Part]) {
        let bytes = self.buffer.filled();
        for field in &mut self.index {
            let name = field.name.of(bytes);
            field.dropped |= names.iter().any(|named| named.of(bytes).eq_ignore_ascii_case(name));
        }
    }

    /// The fields added by policies, in order.
    #[must_use]
    pub fn added(&self) -> &[(Bytes, Bytes)] {
        &self.added
    }

    /// The first value under `name`, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value under `name` if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// All values under `name`, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The first received value of a known field; does not look at what was added.
    #[must_use]
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        let bytes = self.buffer.filled();
        self.index.iter().find(|f| f.known == known && !f.dropped).map(|f| f.value.of(bytes))
    }

    /// All fields that hold: received and not dropped, then added.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let bytes = self.buffer.filled();
        let received = self.index.iter().filter(|f| !f.dropped).map(|f| (f.name.of(bytes), f.value.of(bytes)));
        received.chain(self.added.iter().map(|(name, value)| (&name[..], &value[..])))
    }

    /// Whether a field of this name holds.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Takes the field away.
    pub fn remove(&mut self, name: &str) {
        self.remove_all(|have| have.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Adds a line. `name` and `value` must be well formed ([`crate::field`]): policies check theirs when built.
    pub fn add(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.added.push((name.into(), value.into()));
    }

    /// Replaces all lines of that name by one.
    pub fn set(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        let name = name.into();
        if let Ok(text) = str::from_utf8(&name) {
            self.remove(text);
        }
        self.add(name, value);
    }

    /// Takes over what another head says: its bytes, without what was read behind them, and all changes.
    pub fn copy(&mut self, other: &Self) {
        self.buffer = Buffer::holding(&other.buffer.filled()[..other.head_len.min(other.buffer.len())]);
        self.head_len = other.head_len;
        self.index.clone_from(&other.index);
        self.added.clone_from(&other.added);
    }

    /// Takes every field away for which `which` says so.
    pub fn remove_all(&mut self, which: impl Fn(&[u8]) -> bool) {
        self.drop_received(|_, name| which(name));
        self.added.retain(|(name, _)| !which(name));
    }

    /// Forgets everything; the memory of the index stays for the next head.
    pub fn clear(&mut self) {
        self.head_len = 0;
        self.index.clear();
        self.added.clear();
    }
}

/// A request method (RFC 9110 §9); names are case-sensitive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other; its text is [`RequestHead::method_text`].
    Extension,
}

impl Method {
    /// The method with this name.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Extension,
        }
    }

    /// Whether doing it twice is like doing it once (RFC 9110 §9.2.2). Of an extension nothing is known.
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// The version of HTTP that the other side speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Version {
    /// Its name, as logs have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// A request's head. Default: `GET` with nothing in it.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The fields.
    pub fields: Fields,
    /// The method.
    pub method: Method,
    /// Where the method's text stands.
    pub method_part: Part,
    /// What the client speaks.
    pub version: Version,
    /// The host asked for, as it came (may have upper case and a port); empty if HTTP/1.0 sent none.
    pub host: Part,
    /// The path as it came.
    pub raw_path: Part,
    /// The normalised path, if it differs from what came.
    pub normal_path: Option<Vec<u8>>,
    /// The query behind `?`, without it; `None`: there was no `?`.
    pub query: Option<Part>,
    /// `OPTIONS *` (RFC 9112 §3.2.4).
    pub is_asterisk: bool,
}

impl RequestHead {
    /// The method's name.
    #[must_use]
    pub fn method_text(&self) -> &str {
        self.ascii(self.method_part)
    }

    /// The same as bytes, for whoever only passes it on.
    #[must_use]
    pub fn method_bytes(&self) -> &[u8] {
        self.method_part.of(self.fields.buffer.filled())
    }

    /// The one normalised path that is matched, shown to policies and sent on.
    #[must_use]
    pub fn path(&self) -> &str {
        match &self.normal_path {
            Some(path) => str::from_utf8(path).unwrap_or_default(),
            None => self.ascii(self.raw_path),
        }
    }

    /// The query as it came.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|part| self.ascii(part))
    }

    /// The first value of a query parameter, decoded as forms are (`+` is a blank).
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        query_value(self.query()?, name)
    }

    /// The value of a cookie (RFC 6265 §4.2.1).
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.fields.all("cookie").filter_map(|line| str::from_utf8(line).ok());
        lines.into_iter().find_map(|line| cookie_value(line, name))
    }

    /// How many cookies have this name, over all `Cookie` fields.
    #[must_use]
    pub fn cookies(&self, name: &str) -> usize {
        let lines = self.fields.all("cookie").filter_map(|line| str::from_utf8(line).ok());
        lines.flat_map(cookie_pairs).filter(|(have, _)| *have == name).count()
    }

    /// How many parameters of the query have this name.
    #[must_use]
    pub fn query_values(&self, name: &str) -> usize {
        let query = self.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).filter(|(have, _)| have == name).count()
    }

    /// The host asked for, as it came.
    #[must_use]
    pub fn host(&self) -> &str {
        self.ascii(self.host)
    }

    /// The same as bytes, for whoever only passes it on.
    #[must_use]
    pub fn host_bytes(&self) -> &[u8] {
        self.host.of(self.fields.buffer.filled())
    }

    /// Takes over what another head says.
    pub fn copy(&mut self, other: &Self) {
        self.fields.copy(&other.fields);
        self.method = other.method;
        self.method_part = other.method_part;
        self.version = other.version;
        self.host = other.host;
        self.raw_path = other.raw_path;
        self.normal_path.clone_from(&other.normal_path);
        self.query = other.query;
        self.is_asterisk = other.is_asterisk;
    }

    /// Takes away the parameters of the query whose names tell of secrets.
    pub fn strip_query(&mut self) {
        self.replace_query(without_secrets);
    }

    /// Puts what is left of the query in its place; `None`: all of it is.
    fn replace_query(&mut self, left: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        let Some(part) = self.query else { return };
        let (start, bytes) = (usize::from(part.start), self.fields.buffer.filled_mut());
        let Some(query) = bytes.get_mut(start..usize::from(part.end)) else { return };
        let Some(left) = left(query).filter(|left| left.len() <= query.len()) else { return };
        query[..left.len()].copy_from_slice(&left);
        let end = part.start.saturating_add(u16::try_from(left.len()).unwrap_or(u16::MAX)).min(part.end);
        self.query = (end > part.start).then_some(Part { end, ..part });
    }

    /// Takes away the parameters of the query that have this name.
    pub fn remove_query_values(&mut self, name: &str) {
        let is_it = |pair: &[u8]| form_urlencoded::parse(pair).next().is_some_and(|(have, _)| have == name);
        self.replace_query(|query| {
            let pairs: Vec<&[u8]> = query.split(|byte| *byte == b'&').filter(|pair| !is_it(pair)).collect();
            Some(pairs.join(&b'&'))
        });
    }

    /// Takes away the cookies that have this name.
    pub fn remove_cookies(&mut self, name: &str) {
        self.remove_cookies_if(|have| have == name);
    }

    /// Takes away the cookies for whose names `is_it` says so.
    pub fn remove_cookies_if(&mut self, is_it: impl Fn(&str) -> bool) {
        let lines: Vec<&str> = self.fields.all("cookie").filter_map(|line| str::from_utf8(line).ok()).collect();
        if !lines.iter().flat_map(|line| cookie_pairs(line)).any(|(have, _)| is_it(have)) {
            return;
        }
        let pairs = lines.into_iter().flat_map(|line| line.split(';')).map(str::trim);
        let stays = |pair: &&str| !pair.is_empty() && !pair.split_once('=').is_some_and(|(have, _)| is_it(have));
        let left = pairs.filter(stays).collect::<Vec<_>>().join("; ");
        self.fields.remove("Cookie");
        if !left.is_empty() {
            self.fields.add("Cookie", left);
        }
    }

    /// Makes it ready for the next request; the buffer and the index's memory stay.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.method = Method::Get;
        self.method_part = Part::default();
        self.version = Version::default();
        self.host = Part::default();
        self.raw_path = Part::default();
        self.normal_path = None;
        self.query = None;
        self.is_asterisk = false;
    }

    /// The parser lets only visible ASCII into the parts read here.
    fn ascii(&self, part: Part) -> &str {
        str::from_utf8(part.of(self.fields.buffer.filled())).unwrap_or_default()
    }
}

/// The first value of a parameter of a query (without its `?`), decoded as forms are: `+` is a blank, what is no UTF-8
/// becomes U+FFFD.
#[must_use]
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(have, _)| have == name).map(|(_, value)| value)
}

/// The value of the first cookie with this name in a `Cookie` field (RFC 6265 §4.2.1), as it was sent.
#[must_use]
pub fn cookie_value<'c>(field: &'c str, name: &str) -> Option<&'c str> {
    cookie_pairs(field).find(|(have, _)| *have == name).map(|(_, value)| value)
}

fn cookie_pairs(field: &str) -> impl Iterator<Item = (&str, &str)> {
    field.split(';').filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='))
}

/// An answer's head.
#[derive(Debug, Default)]
pub struct ReplyHead {
    /// The fields.
    pub fields: Fields,
    /// The status code, 100 to 599.
    pub status: u16,
    /// The reason phrase as it came.
    pub reason: Part,
    /// What the upstream speaks.
    pub version: Version,
}

impl ReplyHead {
    /// A head of the gateway's own.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Makes it ready for the next answer; the buffer and the index's memory stay.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.status = 0;
        self.reason = Part::default();
    }
}

#[cfg(test)]
mod tests;
