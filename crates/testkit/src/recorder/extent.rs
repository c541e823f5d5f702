//! Just enough reading of a request to know where it ends. Lenient on purpose: judging is not the recorder's task.

/// Where the head ends: past the first empty line.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(length) = bytes[at..].iter().position(|b| *b == b'\n') {
        let line = &bytes[at..at + length];
        at += length + 1;
        if line.is_empty() || line == b"\r" {
            return Some(at);
        }
    }
    None
}

/// What is known of a body that is coming.
#[derive(Debug)]
pub(super) enum Extent {
    /// It ends here, counted from the first byte of the head.
    At(usize),
    /// Chunked: the next line to be looked at starts here.
    ChunkLine(usize),
    /// Chunked: the last chunk was seen, trailer lines come.
    Trailers(usize),
}

impl Extent {
    /// What the head says. Chunked wins over a length; the first length that is a number counts.
    pub(super) fn of(head: &[u8]) -> Self {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let values = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let named = lines.filter(|(n, _)| n.trim() == name);
            named.map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
        };
        if values("transfer-encoding").iter().any(|value| value.contains("chunked")) {
            return Self::ChunkLine(head.len());
        }
        let length = values("content-length").iter().find_map(|value| value.parse::<usize>().ok());
        Self::At(head.len().saturating_add(length.unwrap_or(0)))
    }

    /// Where the message ends, once that can be told from `bytes`. Each byte is looked at once over all calls.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let (at, in_trailers) = match *self {
                Self::At(end) => return (bytes.len() >= end).then_some(end),
                Self::ChunkLine(at) => (at, false),
                Self::Trailers(at) => (at, true),
            };
            let rest = bytes.get(at..)?;
            let length = rest.iter().position(|b| *b == b'\n')?;
            let (line, next) = (rest[..length].trim_ascii(), at + length + 1);
            if in_trailers {
                *self = if line.is_empty() { Self::At(next) } else { Self::Trailers(next) };
                continue;
            }
            let digits: String = line.iter().map_while(|b| b.is_ascii_hexdigit().then_some(char::from(*b))).collect();
            *self = match usize::from_str_radix(&digits, 16) {
                Ok(0) => Self::Trailers(next),
                // The data and its CRLF are skipped, not looked at.
                Ok(size) => Self::ChunkLine(next.saturating_add(size).saturating_add(2)),
                // No chunk at all: it never ends, and all that comes is recorded.
                Err(_) => Self::At(usize::MAX),
            };
        }
    }
}
