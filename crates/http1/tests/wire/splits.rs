//! However the bytes are cut, the same is understood.

use proptest::prelude::*;
use tollgate_core::buffer::Buffer;
use tollgate_core::head::{Method, ReplyHead, RequestHead};
use tollgate_http1::{HeadLimits, Parsed, request, response};

use crate::generate;
use crate::ours::{Lines, Refusal};

const WIDE: HeadLimits = HeadLimits { target: 8192, head: 32768, fields: 100 };
const TIGHT: HeadLimits = HeadLimits { target: 12, head: 90, fields: 3 };

/// One of the two kinds of heads, with its reader.
trait Kind {
    /// All that was understood of a complete head, for comparing.
    type Meaning: PartialEq + std::fmt::Debug;
    fn append(&mut self, bytes: &[u8]);
    fn read(&mut self, limits: &HeadLimits) -> Result<Parsed, Refusal>;
    fn meaning(&mut self) -> Self::Meaning;
}

fn append(buffer: &mut Buffer, bytes: &[u8]) {
    if !buffer.is_lent() {
        *buffer = Buffer::lend();
    }
    assert!(buffer.append(bytes), "no room for {} bytes", bytes.len());
}

#[derive(Default)]
struct Request(request::Reader, RequestHead);

#[derive(Default)]
struct Answer(response::Reader, ReplyHead);

impl Kind for Request {
    type Meaning = (Lines, usize, Result<(request::Verdict, String), Refusal>);
    fn append(&mut self, bytes: &[u8]) {
        append(&mut self.1.fields.buffer, bytes);
    }
    fn read(&mut self, limits: &HeadLimits) -> Result<Parsed, Refusal> {
        Ok(self.0.read(&mut self.1, limits)?)
    }
    fn meaning(&mut self) -> Self::Meaning {
        let lines = self.1.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let verdict = request::judge(&mut self.1).map_err(Refusal::from);
        let head = &self.1;
        let told =
            format!("{} {} {:?} {} {:?}", head.method_text(), head.path(), head.query(), head.host(), head.version);
        (lines, head.fields.head_len, verdict.map(|verdict| (verdict, told)))
    }
}

impl Kind for Answer {
    type Meaning = (Lines, usize, u16, Result<response::Verdict, &'static str>);
    fn append(&mut self, bytes: &[u8]) {
        append(&mut self.1.fields.buffer, bytes);
    }
    fn read(&mut self, limits: &HeadLimits) -> Result<Parsed, Refusal> {
        self.0.read(&mut self.1, limits).map_err(|what| Refusal { slug: "answer", detail: what.to_owned() })
    }
    fn meaning(&mut self) -> Self::Meaning {
        let lines = self.1.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        (lines, self.1.fields.head_len, self.1.status, response::judge(&mut self.1, Method::Get))
    }
}

/// What is understood of `bytes` when they come in these pieces; `None`: there should be more.
fn read<K: Kind + Default>(pieces: &[&[u8]], limits: &HeadLimits) -> Result<Option<K::Meaning>, Refusal> {
    let mut kind = K::default();
    for piece in pieces {
        kind.append(piece);
        if kind.read(limits)? == Parsed::Complete {
            return Ok(Some(kind.meaning()));
        }
    }
    Ok(None)
}

fn every_split_gives_the_same<K: Kind + Default>(bytes: &[u8]) {
    let whole = read::<K>(&[bytes], &WIDE);
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read::<K>(&each, &WIDE), whole, "byte by byte");
    let tight = read::<K>(&[bytes], &TIGHT);
    for at in 0..=bytes.len() {
        let pieces = [&bytes[..at], &bytes[at..]];
        assert_eq!(read::<K>(&pieces, &WIDE), whole, "cut at {at}");
        // Which of two reasons to refuse is found first may depend on the cut, if one of them is a limit.
        match (read::<K>(&pieces, &TIGHT), &tight) {
            (Err(_), Err(_)) => {}
            (read, tight) => assert_eq!(&read, tight, "cut at {at}, tight limits"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_cut_of_a_request_gives_the_same(bytes in generate::request()) {
        every_split_gives_the_same::<Request>(&bytes);
    }

    #[test]
    fn every_cut_of_an_answer_gives_the_same(bytes in generate::answer()) {
        every_split_gives_the_same::<Answer>(&bytes);
    }
}
