//! Content types by the ends of names.

use bytes::Bytes;

/// What the end of a name says, sorted. Texts are UTF-8; JSON and XML say so themselves.
const KNOWN: &[(&str, &str)] = &[
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("apng", "image/apng"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eot", "application/vnd.ms-fontobject"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("jar", "application/java-archive"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("rss", "application/rss+xml"),
    ("rtf", "application/rtf"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("xsd", "application/xml"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// The longest end that is looked up.
const LONGEST: usize = 32;

/// The content type of a file; `own` goes before what is known. Bytes of some kind, if nothing is.
pub(crate) fn of(path: &[u8], own: &[(String, Bytes)]) -> Bytes {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let end = name.iter().rposition(|b| *b == b'.').map_or(&[][..], |dot| &name[dot + 1..]);
    let end = if end.len() > LONGEST { String::new() } else { String::from_utf8_lossy(end).to_ascii_lowercase() };
    if let Some((_, value)) = own.iter().find(|(known, _)| *known == end) {
        return value.clone();
    }
    let found = KNOWN.binary_search_by_key(&end.as_str(), |(known, _)| known).ok();
    let found = found.and_then(|at| KNOWN.get(at)).map_or("application/octet-stream", |(_, value)| value);
    Bytes::from_static(found.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_tells_its_type() {
        let own = [("webmanifest".to_owned(), Bytes::from_static(b"text/x-own"))];
        assert_eq!(of(b"a.b/Index.HTML", &own), "text/html; charset=utf-8");
        assert_eq!(of(b"a.webmanifest", &own), "text/x-own");
        assert_eq!(of(b"a.js", &own), "text/javascript; charset=utf-8");
        for unknown in [&b"a"[..], b"a.", b"a.unknown", b"a.js/b", b"a.\xff"] {
            assert_eq!(of(unknown, &own), "application/octet-stream");
        }
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
