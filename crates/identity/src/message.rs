//! A request as those see it who sign it or check its signature: as it is on the wire, before anything is normalised,
//! dropped or added.

use tollgate_core::head::RequestHead;

/// What of a request can be signed.
#[derive(Clone)]
pub struct Message<'a> {
    /// Its method.
    pub method: &'a str,
    /// `https` or `http`.
    pub scheme: &'a str,
    /// The host asked for, with its port if one is written.
    pub host: &'a str,
    /// The path with all its encodings, or `*`.
    pub path: &'a str,
    /// The query behind `?`; `None`: there is no `?`.
    pub query: Option<&'a str>,
    /// The field lines in order: names in any case, and values.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Message<'a> {
    /// A request as it was received: with the fields that are not to be sent on, without those that were added here.
    #[must_use]
    pub fn received(head: &'a RequestHead, scheme: &'a str) -> Self {
        let bytes = head.fields.buffer.filled();
        let path = if head.is_asterisk { "*" } else { str::from_utf8(head.raw_path.of(bytes)).unwrap_or_default() };
        let fields = head.fields.received().iter().map(|field| (field.name.of(bytes), field.value.of(bytes))).collect();
        Self { method: head.method_text(), scheme, host: head.host(), path, query: head.query(), fields }
    }

    /// A request as it is sent: start line and field lines, each with its line break. `None`: that is not what it is.
    #[must_use]
    pub fn sent(head: &'a [u8], scheme: &'a str) -> Option<Self> {
        let mut lines = head.strip_suffix(b"\r\n")?.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
        let mut start = str::from_utf8(lines.next()?).ok()?.split(' ');
        let (method, target) = (start.next()?, start.next()?);
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut fields = Vec::new();
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            fields.push((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()));
        }
        let host = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"host"))?.1;
        Some(Self { method, scheme, host: str::from_utf8(host).ok()?, path, query, fields })
    }

    /// All values under `name`, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.fields.iter().filter(move |(have, _)| have.eq_ignore_ascii_case(name.as_bytes()));
        lines.map(|(_, value)| *value)
    }

    /// The value under `name`, if there is one.
    ///
    /// # Errors
    /// There are several, or it is no text in ASCII.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&'a str>, NotOne> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(NotOne::Several),
            (Some(value), None) if value.is_ascii() => Ok(Some(str::from_utf8(value).unwrap_or_default())),
            (Some(_), None) => Err(NotOne::NoText),
        }
    }
}

/// Why a field has no one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOne {
    /// It is there more than once: another reader may take another one.
    Several,
    /// It has bytes that are no ASCII.
    NoText,
}

#[cfg(test)]
mod tests {
    use tollgate_core::buffer::Buffer;
    use tollgate_core::field::Known;
    use tollgate_core::head::{Field, Part};

    use super::*;

    #[test]
    fn a_request_is_seen_as_it_is_sent() {
        let head = b"GET /a%20b?x=1&y HTTP/1.1\r\nHost: h.example:81\r\nX-One: a: b \r\nX-Two:\r\n";
        let message = Message::sent(head, "https").unwrap();
        assert_eq!((message.method, message.path, message.query), ("GET", "/a%20b", Some("x=1&y")));
        assert_eq!((message.scheme, message.host), ("https", "h.example:81"));
        assert_eq!((message.one("x-one"), message.one("x-two")), (Ok(Some("a: b")), Ok(Some(""))));
        let message = Message::sent(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n", "http").unwrap();
        assert_eq!((message.path, message.query), ("*", None));
        for none in ["", "\r\n", "GET\r\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost\r\n"] {
            assert!(Message::sent(none.as_bytes(), "http").is_none(), "{none:?}");
        }
    }

    #[test]
    fn a_request_is_seen_as_it_was_received() {
        let mut head = RequestHead::default();
        head.fields.buffer = Buffer::holding(b"GET/a/../bx=1h.exampleX-OneoneX-Two\xfftwo");
        let part = |start, end| Part { start, end };
        (head.method_part, head.raw_path, head.query) = (part(0, 3), part(3, 10), Some(part(10, 13)));
        (head.host, head.normal_path) = (part(13, 22), Some(b"/b".to_vec()));
        for (name, value, dropped) in [(part(22, 27), part(27, 30), true), (part(30, 35), part(35, 39), false)] {
            head.fields.push(Field { name, value, known: Known::Other, dropped });
        }
        head.fields.add("X-Three", "three");
        let message = Message::received(&head, "https");
        assert_eq!((message.method, message.path, message.query), ("GET", "/a/../b", Some("x=1")));
        assert_eq!((message.scheme, message.host), ("https", "h.example"));
        assert_eq!(message.one("x-one"), Ok(Some("one")), "dropped, but signed by whoever sent it");
        assert_eq!((message.one("x-two"), message.one("x-three")), (Err(NotOne::NoText), Ok(None)));
        head.is_asterisk = true;
        assert_eq!(Message::received(&head, "http").path, "*");
    }
}
