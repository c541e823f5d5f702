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
use tollgate_core::body::{Finish, Length, RecodeError, Recoder};
use tollgate_core::head::Method;
use tollgate_core::path::{Normal, normalise, percent_decode};
use tollgate_transform::coding::{Bounds, Coding, Compressor, Decompressor, Level, PIECE};

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

/// Content codings: refused or decoded, the same however it is cut; what is decoded stays within its bounds, and compressed
/// anew it is the same again. The first bytes say which coding, and how it is cut.
pub fn coding(bytes: &[u8]) {
    let Some((cuts, bytes)) = bytes.split_at_checked(3) else { return };
    let coding = Coding::ALL[usize::from(cuts[0]) % Coding::ALL.len()];
    let bounds = Bounds { most: 4 << 20, ratio: 100 };
    let decode =
        |cut: usize| Decompressor::new(coding, bounds).map(|mut decompressor| recode(&mut decompressor, bytes, cut));
    let (Some(whole), Some(cut)) = (decode(usize::MAX), decode(usize::from(cuts[1]) + 1)) else { return };
    assert_eq!(whole.is_ok(), cut.is_ok(), "cutting changes nothing");
    let (Ok(content), Ok(cut)) = (whole, cut) else { return };
    assert_eq!(content, cut, "cutting changes nothing");
    assert!(content.len() as u64 <= bounds.most);
    let Some(mut compressor) = Compressor::new(coding, Level::default()) else { return };
    let coded = recode(&mut compressor, &content, usize::from(cuts[2]) + 1).expect("any content can be compressed");
    let wide = Bounds { most: u64::MAX, ratio: u64::MAX };
    let Some(mut decompressor) = Decompressor::new(coding, wide) else { return };
    assert_eq!(recode(&mut decompressor, &coded, usize::MAX).as_ref(), Ok(&content), "there and back");
}

/// All that becomes of `input`, given in pieces of this size.
fn recode(recoder: &mut dyn Recoder, input: &[u8], cut: usize) -> Result<Vec<u8>, RecodeError> {
    let mut output = Vec::new();
    for mut piece in input.chunks(cut.min(input.len()).max(1)) {
        while !piece.is_empty() {
            let before = output.len();
            let taken = recoder.recode(piece, &mut output)?;
            assert!(output.len() - before <= PIECE, "a piece is bounded");
            assert!(taken > 0 || output.len() > before, "it goes on");
            piece = &piece[taken..];
        }
    }
    while recoder.finish(&mut output)? == Finish::More {}
    Ok(output)
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
