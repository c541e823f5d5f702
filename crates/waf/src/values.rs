//! The values of a request, as collections.

use crate::body::{MOST_ARGUMENTS, Parts, Processor, pairs};
use crate::request::Request;
use crate::texts::Texts;
use crate::value::Collection;

/// A value and its name, by the numbers of their texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: usize,
    pub(crate) text: usize,
}

/// All values of a request.
#[derive(Debug, Default)]
pub(crate) struct Values {
    arguments: Vec<Entry>,
    /// How many of these are in the query.
    of_query: usize,
    cookies: Vec<Entry>,
    headers: Vec<Entry>,
    files: Vec<Entry>,
    sizes: Vec<Entry>,
    part_headers: Vec<Entry>,
    texts: Vec<Entry>,
    attributes: Vec<Entry>,
    /// Those that are alone.
    single: Vec<(Collection, Entry)>,
    error: String,
    /// The number of the empty text.
    nothing: usize,
}

/// Which side of entries is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Text,
    Name,
}

impl Values {
    /// What the head says.
    pub(crate) fn of_head(request: &Request, texts: &mut Texts<'_>) -> Self {
        let mut own = Self { nothing: texts.add(b""), ..Self::default() };
        let (path, query) = split(&request.target, b'?');
        let line = [request.method.as_bytes(), b" ", &request.target, b" ", request.protocol.as_bytes()].concat();
        let client = request.client.map_or(String::new(), |client| client.to_string());
        for (collection, text) in [
            (Collection::Uri, &request.target[..]),
            (Collection::UriRaw, &request.target),
            (Collection::Filename, path),
            (Collection::Basename, path.rsplit(|byte| b"/\\".contains(byte)).next().unwrap_or_default()),
            (Collection::QueryString, query),
            (Collection::Line, &line),
            (Collection::Method, request.method.as_bytes()),
            (Collection::Protocol, request.protocol.as_bytes()),
            (Collection::RemoteAddr, client.as_bytes()),
            (Collection::UniqueId, request.id.as_bytes()),
            (Collection::Duration, request.age.to_string().as_bytes()),
        ] {
            own.alone(collection, text, texts);
        }
        own.headers = request.headers.iter().map(|(name, value)| entry(name, value, texts)).collect();
        own.cookies(request, texts);
        for (name, value) in pairs(query) {
            if own.arguments.len() >= MOST_ARGUMENTS {
                own.error = format!("there are more than {MOST_ARGUMENTS} arguments");
                break;
            }
            own.arguments.push(entry(&name, &value, texts));
        }
        own.of_query = own.arguments.len();
        own
    }

    /// RFC 6265 §4.2.1, and what does not keep to it.
    fn cookies(&mut self, request: &Request, texts: &mut Texts<'_>) {
        let lines = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"));
        let parts = lines.flat_map(|(_, value)| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
        for part in parts.filter(|part| !part.is_empty()) {
            if self.cookies.len() >= MOST_ARGUMENTS {
                self.error = format!("there are more than {MOST_ARGUMENTS} cookies");
                break;
            }
            let (name, value) = split(part, b'=');
            self.cookies.push(entry(name.trim_ascii_end(), value, texts));
        }
    }

    /// What the body says, if it is read like this.
    pub(crate) fn body(&mut self, request: &Request, processor: Option<Processor>, texts: &mut Texts<'_>) {
        let is_type = |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(b"content-type");
        if !request.body.is_empty() && request.headers.iter().filter(is_type).count() > 1 {
            self.error = "there is more than one Content-Type".to_owned();
        }
        let content_type = request.header("content-type").unwrap_or_default();
        let room = MOST_ARGUMENTS - self.arguments.len().min(MOST_ARGUMENTS);
        let parts = processor
            .map_or_else(Parts::default, |processor| Parts::read(processor, content_type, &request.body, room));
        let add = |all: &[(Vec<u8>, Vec<u8>)], texts: &mut Texts<'_>| {
            all.iter().map(|(name, value)| entry(name, value, texts)).collect::<Vec<_>>()
        };
        self.arguments.extend(add(&parts.arguments, texts));
        self.part_headers = add(&parts.part_headers, texts);
        self.files = parts.files.iter().map(|file| entry(&file.field, &file.name, texts)).collect();
        self.sizes =
            parts.files.iter().map(|file| entry(&file.field, file.size.to_string().as_bytes(), texts)).collect();
        self.texts = parts.texts.iter().map(|text| entry(b"", text, texts)).collect();
        self.attributes = parts.attributes.iter().map(|text| entry(b"", text, texts)).collect();
        self.error = [std::mem::take(&mut self.error), parts.error.unwrap_or_default()].concat();
        let is_wrong = !self.error.is_empty();
        self.alone(Collection::BodyError, if is_wrong { b"1" } else { b"0" }, texts);
        self.alone(Collection::StrictError, if parts.doubt.is_some() { b"1" } else { b"0" }, texts);
        if let Some(doubt) = parts.doubt.filter(|_| !is_wrong) {
            self.error = doubt;
        }
        self.alone(Collection::BodyErrorText, self.error.clone().as_bytes(), texts);
        self.totals(request, processor, parts.files.iter().map(|file| file.size).sum(), texts);
    }

    fn totals(&mut self, request: &Request, processor: Option<Processor>, files: usize, texts: &mut Texts<'_>) {
        let lengths = self.arguments.iter().map(|one| texts.length(one.name) + texts.length(one.text));
        let arguments = lengths.sum::<usize>();
        // Files would be found to be much that they are not.
        let body: &[u8] = if processor == Some(Processor::Multipart) { b"" } else { &request.body };
        for (collection, text) in [
            (Collection::ArgsCombinedSize, arguments.to_string().as_bytes()),
            (Collection::FilesCombinedSize, files.to_string().as_bytes()),
            (Collection::BodyLength, request.body.len().to_string().as_bytes()),
            (Collection::Body, body),
        ] {
            self.alone(collection, text, texts);
        }
    }

    /// How the body is read, as rules see it.
    pub(crate) fn processor(&mut self, processor: Option<Processor>, texts: &mut Texts<'_>) {
        self.alone(Collection::BodyProcessor, processor.map_or("", Processor::name).as_bytes(), texts);
    }

    fn alone(&mut self, collection: Collection, text: &[u8], texts: &mut Texts<'_>) {
        self.single.retain(|(own, _)| *own != collection);
        let text = if text.is_empty() { self.nothing } else { texts.add(text) };
        self.single.push((collection, Entry { name: self.nothing, text }));
    }

    /// Why the body is not what it says, or what readers of it may differ about.
    pub(crate) fn error(&self) -> &str {
        &self.error
    }

    /// The entries of a collection, and which side of them is meant.
    pub(crate) fn of(&self, collection: Collection) -> (&[Entry], Side) {
        let (of_query, of_body) = self.arguments.split_at(self.of_query);
        match collection {
            Collection::Args => (&self.arguments, Side::Text),
            Collection::ArgsNames => (&self.arguments, Side::Name),
            Collection::ArgsGet => (of_query, Side::Text),
            Collection::ArgsGetNames => (of_query, Side::Name),
            Collection::ArgsPost => (of_body, Side::Text),
            Collection::ArgsPostNames => (of_body, Side::Name),
            Collection::Cookies => (&self.cookies, Side::Text),
            Collection::CookiesNames => (&self.cookies, Side::Name),
            Collection::Headers => (&self.headers, Side::Text),
            Collection::HeadersNames => (&self.headers, Side::Name),
            Collection::Files => (&self.files, Side::Text),
            Collection::FilesNames => (&self.files, Side::Name),
            Collection::FilesSizes => (&self.sizes, Side::Text),
            Collection::PartHeaders => (&self.part_headers, Side::Text),
            Collection::Xml => (&self.texts, Side::Text),
            Collection::XmlAttributes => (&self.attributes, Side::Text),
            other => {
                let single = self.single.iter().find(|(own, _)| *own == other);
                (single.map_or(&[], |(_, entry)| std::slice::from_ref(entry)), Side::Text)
            }
        }
    }
}

fn entry(name: &[u8], value: &[u8], texts: &mut Texts<'_>) -> Entry {
    Entry { name: texts.add(name), text: texts.add(value) }
}

/// What stands before and behind the first of these bytes.
fn split(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(at, text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}
