//! What a target asks for, after each reader.

use super::Reader;

impl Reader {
    /// The path, and the authority if the target has one.
    pub(super) fn path(self, target: &str) -> (String, Option<String>) {
        let lower = target.to_ascii_lowercase();
        let scheme = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme));
        let (authority, path) = match scheme {
            Some(scheme) => {
                let rest = &target[scheme.len()..];
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (Some(rest[..end].to_owned()), if end == rest.len() { "/" } else { &rest[end..] })
            }
            None => (None, target),
        };
        let path = match self {
            _ if !path.starts_with('/') => path.to_owned(),
            Self::Loose => resolve(&undo(path)),
            Self::Literal => decode(&resolve_plain(path)),
        };
        (path, authority)
    }
}

/// Takes off every disguise that some server takes off: a fragment, encodings (twice), overlong UTF-8, backslashes,
/// what stands behind a NUL or a line end, parameters.
fn undo(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let decoded = decode(&decode(path)).replace("\u{c0}\u{ae}", ".").replace('\\', "/");
    let decoded = decoded.split(['\0', '\r', '\n']).next().unwrap_or_default();
    let (path, query) = decoded.split_once('?').map_or((decoded, None), |(path, query)| (path, Some(query)));
    let segments: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    query.map_or_else(|| segments.join("/"), |query| format!("{}?{query}", segments.join("/")))
}

fn decode(text: &str) -> String {
    let (mut decoded, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let octet = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(octet.map_or('%', char::from));
        rest = &rest[at + if octet.is_some() { 3 } else { 1 }..];
    }
    decoded + rest
}

/// Removes empty and dot segments; above the root it stays at the root.
fn resolve(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}{query}", kept.join("/"))
}

/// Removes dot segments as they stand, and nothing else; those above the root stay.
fn resolve_plain(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    for segment in path[1..].split('/') {
        match segment {
            "." => {}
            ".." if !kept.is_empty() => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    format!("/{}{query}", kept.join("/"))
}
