//! What the fuzz targets check. The properties of HTTP/1.1 are those of http1's tests, in the same files.

#[allow(dead_code)]
#[path = "../../crates/http1/tests/wire/any_cut.rs"]
mod any_cut;
#[path = "../../crates/http1/tests/wire/forward.rs"]
mod forward;
#[path = "../../crates/http1/tests/wire/one_message.rs"]
mod one_message;
#[allow(dead_code)]
#[path = "../../crates/http1/tests/wire/ours.rs"]
mod ours;
#[path = "../../crates/http1/tests/wire/second.rs"]
mod second;
#[allow(dead_code)]
#[path = "../../crates/http1/tests/wire/stricter.rs"]
mod stricter;

use tollgate_config::{format, load_text, read};
use tollgate_core::body::Length;
use tollgate_core::head::Method;
use tollgate_core::path::{Normal, normalise, percent_decode};

use crate::forward::Pace;

/// Requests: sent on as exactly one message, and to hyper the same as to us.
pub fn request_head(bytes: &[u8]) {
    one_message::request_is_sent_on_as_one_message(bytes, &Pace::whole());
    second::compare(bytes);
}

/// Answers: sent on as exactly one message. The first byte says to which method they answer, and how they are cut.
pub fn response_head(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let method = if cut % 2 == 0 { Method::Get } else { Method::Head };
    one_message::answer_is_sent_on_as_one_message(bytes, method, &pace(&[*cut, 1, 2]));
}

/// Bodies: the same however they are cut. The first bytes say how they are cut and framed.
pub fn chunked(bytes: &[u8]) {
    let Some((cuts, bytes)) = bytes.split_at_checked(4) else { return };
    let length = match cuts[3] % 8 {
        0 => Length::Known(u64::from(cuts[3]) * 2),
        1 => Length::UntilClose,
        _ => Length::Chunked,
    };
    any_cut::same_as_whole(bytes, length, &pace(&cuts[..3]));
}

fn pace(cuts: &[u8]) -> Pace {
    let sizes = |cuts: &[u8]| cuts.iter().map(|n| usize::from(*n) + 1).collect::<Vec<_>>();
    Pace { room: usize::from(cuts[0]) + 1, reads: sizes(&cuts[1..]), writes: sizes(&cuts[..2]), most: 1 << 20 }
}

/// Paths: one normal form, and however often somebody decodes it, it stays where it is.
pub fn path(bytes: &[u8]) {
    let mut normal = Vec::new();
    match normalise(bytes, &mut normal) {
        Err(_) => return,
        Ok(Normal::AsIs) => normal = bytes.to_vec(),
        Ok(Normal::Rewritten) => assert_ne!(normal, bytes),
    }
    assert!(normal.is_ascii() && normal.starts_with(b"/") && normal.len() <= 3 * bytes.len());
    assert!(!normal.windows(2).any(|pair| pair == b"//"));
    assert_eq!(normalise(&normal, &mut Vec::new()), Ok(Normal::AsIs), "normalising twice changes nothing");
    let mut decoded = normal;
    loop {
        let shown = decoded.escape_ascii();
        let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
        assert!(!segments.any(is_dots), "a dot segment comes to light: {shown}");
        let next = percent_decode(&decoded).into_owned();
        if next == decoded {
            return;
        }
        decoded = next;
    }
}

/// Whether a segment is `.` or `..`, parameters aside.
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    matches!(name, b"." | b"..")
}

/// Config files: never a panic, every mistake can be shown, and formatting is stable and keeps what loads.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let env = |name: &str| (name != "UNSET").then(|| "value".to_owned());
    let loaded = load_text("fuzz.yaml", text, &env, &[]);
    if let Err(report) = &loaded {
        let _ = report.to_string();
        assert!(!report.diagnostics.is_empty(), "a refusal without a reason");
    }
    if read("fuzz.yaml", text).is_err() {
        return;
    }
    // What cannot be formatted is refused by name; that is no reason to stop.
    if let Ok(formatted) = format("fuzz.yaml", text) {
        assert_eq!(format("fuzz.yaml", &formatted).as_ref(), Ok(&formatted), "formatting twice changes nothing");
        let again = load_text("fuzz.yaml", &formatted, &env, &[]);
        assert_eq!(again.is_ok(), loaded.is_ok(), "formatting keeps what loads");
    }
}
