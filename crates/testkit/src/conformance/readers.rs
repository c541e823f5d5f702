//! Two readers of HTTP/1.1 such as have stood behind real gateways, each lenient in its own way.
//!
//! Every habit here was once somebody's: see the advisories in the case files. Bytes that the two read differently
//! are what request smuggling is made of; that is why a gateway must refuse them and not choose a reading.

mod body;
mod path;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Makes the best of everything: bare LF and CR end lines, blanks around names do not matter, folds are joined, a
    /// number is what `strtol` says, any mention of `chunked` counts, the target is decoded to the end.
    Loose,
    /// Takes everything to the letter and passes over what it does not know: only CRLF ends a line, `Content-Length`
    /// goes first, only exactly `chunked` is a coding, HTTP/1.0 and 0.9 have no codings.
    Literal,
}

/// A request as a reader understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Understood {
    /// The first word.
    pub method: String,
    /// Where it goes.
    pub host: String,
    /// What it asks for.
    pub path: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// As far as it came.
    pub body: Vec<u8>,
}

/// More requests than any case has: a reader that finds no end stops here.
const MOST: usize = 16;

impl Reader {
    /// Understands all of `bytes`.
    #[must_use]
    pub fn read(self, bytes: &[u8]) -> Vec<Understood> {
        let (mut found, mut at) = (Vec::new(), 0);
        while found.len() < MOST {
            while matches!(bytes.get(at), Some(b'\r' | b'\n')) {
                at += 1;
            }
            if at >= bytes.len() {
                break;
            }
            let (message, next) = self.message(bytes, at);
            found.push(message);
            at = next;
        }
        found
    }

    fn message(self, bytes: &[u8], start: usize) -> (Understood, usize) {
        let (line, mut at) = self.line(bytes, start);
        let (method, target, version) = self.start_line(&line);
        let mut fields: Vec<(String, String)> = Vec::new();
        // To the letter, a request of HTTP/0.9 is its line.
        let has_head = self == Self::Loose || !version.is_empty();
        while has_head && at < bytes.len() {
            let (line, next) = self.line(bytes, at);
            at = next;
            // A line of blanks is an empty line to those who trim it first.
            if line.is_empty() || self == Self::Loose && line.trim().is_empty() {
                break;
            }
            self.field(&line, &mut fields);
        }
        let chunked = self.is_chunked(&fields, &version);
        let (body, end) = if chunked { self.chunks(bytes, at) } else { self.counted(bytes, at, &fields) };
        let (path, authority) = self.path(&target);
        let host = self.host(&fields, authority);
        (Understood { method, host, path, fields, body }, end)
    }

    /// The line from `at` on, and where the next one starts. Bytes become characters one to one.
    fn line(self, bytes: &[u8], at: usize) -> (String, usize) {
        let rest = &bytes[at..];
        let (length, ending) = match self {
            Self::Loose => match rest.iter().position(|b| matches!(b, b'\r' | b'\n')) {
                Some(end) if rest[end..].starts_with(b"\r\n") => (end, 2),
                Some(end) => (end, 1),
                None => (rest.len(), 0),
            },
            Self::Literal => match rest.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => (end, 2),
                None => (rest.len(), 0),
            },
        };
        let mut line: String = rest[..length].iter().copied().map(char::from).collect();
        if self == Self::Loose
            && let Some(end) = line.find('\0')
        {
            // As a string of C ends.
            line.truncate(end);
        }
        (line, at + length + ending)
    }

    fn start_line(self, line: &str) -> (String, String, String) {
        let words: Vec<&str> = match self {
            Self::Loose => {
                line.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect()
            }
            Self::Literal => {
                let (method, rest) = line.split_once(' ').unwrap_or((line, ""));
                let (target, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
                vec![method, target, version]
            }
        };
        let word = |number: usize| words.get(number).copied().unwrap_or_default().to_owned();
        let version = word(2);
        (word(0), word(1), if version.starts_with("HTTP/0") { String::new() } else { version })
    }

    fn field(self, line: &str, fields: &mut Vec<(String, String)>) {
        let blank = |c: char| c.is_whitespace() || c.is_control() || c == '"';
        if self == Self::Loose
            && line.starts_with([' ', '\t'])
            && let Some((_, value)) = fields.last_mut()
        {
            value.push(' ');
            value.push_str(line.trim_matches(blank));
            return;
        }
        let Some((name, value)) = line.split_once(':') else { return };
        let (name, value) = match self {
            Self::Loose => (name.trim_matches(blank), value.trim_matches(blank)),
            Self::Literal => (name, value.trim_matches([' ', '\t'])),
        };
        let name = name.to_ascii_lowercase();
        let value = if name == "host" { value.to_ascii_lowercase() } else { value.to_owned() };
        fields.push((name, value));
    }

    fn host(self, fields: &[(String, String)], authority: Option<String>) -> String {
        let mut hosts = fields.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.clone());
        match self {
            Self::Loose => {
                let host = authority.or_else(|| hosts.next()).unwrap_or_default();
                host.rsplit('@')
                    .next()
                    .unwrap_or_default()
                    .split([',', ' ', '/'])
                    .next()
                    .unwrap_or_default()
                    .to_ascii_lowercase()
            }
            Self::Literal => hosts.next_back().unwrap_or_default(),
        }
    }

    fn is_chunked(self, fields: &[(String, String)], version: &str) -> bool {
        let mut codings =
            fields.iter().filter(|(name, _)| name == "transfer-encoding").map(|(_, value)| value.as_str());
        match self {
            Self::Loose => codings.any(|value| value.to_ascii_lowercase().contains("chunked")),
            Self::Literal => {
                let only = codings.next().filter(|value| value.eq_ignore_ascii_case("chunked"));
                let counted = fields.iter().any(|(name, _)| name == "content-length");
                only.is_some() && codings.next().is_none() && !counted && version == "HTTP/1.1"
            }
        }
    }
}

#[cfg(test)]
mod tests;
