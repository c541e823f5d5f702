use proptest::collection::vec;
use proptest::prelude::*;
use tollgate_core::body::{Finish, RecodeError, Recoder};

use super::*;

const WIDE: Bounds = Bounds { most: u64::MAX, ratio: u64::MAX };

/// A recoder fed in pieces of these sizes, over and over; each call's output is measured.
fn run(recoder: &mut dyn Recoder, input: &[u8], sizes: &[usize]) -> Result<Vec<u8>, RecodeError> {
    let (mut output, mut at, mut sizes) = (Vec::new(), 0, sizes.iter().cycle());
    while at < input.len() {
        let end = input.len().min(at + sizes.next().unwrap().max(&1));
        while at < end {
            let before = output.len();
            let taken = recoder.recode(&input[at..end], &mut output)?;
            assert!(output.len() - before <= PIECE, "a piece is bounded");
            assert!(taken > 0 || output.len() > before, "it goes on");
            at += taken;
        }
    }
    loop {
        let before = output.len();
        let finish = recoder.finish(&mut output)?;
        assert!(output.len() - before <= PIECE, "a piece is bounded");
        match finish {
            Finish::Done => return Ok(output),
            Finish::More => assert!(output.len() > before, "it goes on"),
        }
    }
}

fn compressed(coding: Coding, content: &[u8]) -> Vec<u8> {
    run(&mut Compressor::new(coding, Level::default()).unwrap(), content, &[usize::MAX / 2]).unwrap()
}

fn decompressed(coding: Coding, content: &[u8]) -> Result<Vec<u8>, RecodeError> {
    run(&mut Decompressor::new(coding, WIDE).unwrap(), content, &[usize::MAX / 2])
}

/// Content that compresses, some of it hard.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (any::<u8>(), 0..200_000usize).prop_map(|(byte, n)| vec![byte; n]),
        vec(any::<u8>(), 0..3000),
        ("[a-z ]{1,40}", 0..500usize).prop_map(|(text, n)| text.repeat(n).into_bytes()),
    ];
    vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn coding() -> impl Strategy<Value = Coding> {
    prop_oneof![Just(Coding::Br), Just(Coding::Zstd), Just(Coding::Gzip), Just(Coding::Deflate)]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..20usize, 1..70_000usize], 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out_however_it_is_cut(content in content(), coding in coding(), a in sizes(), b in sizes()) {
        let coded = run(&mut Compressor::new(coding, Level::default()).unwrap(), &content, &a).unwrap();
        let back = run(&mut Decompressor::new(coding, WIDE).unwrap(), &coded, &b);
        prop_assert_eq!(back.as_ref(), Ok(&content));
        if !coded.is_empty() {
            let cut = &coded[..coded.len() - 1];
            prop_assert_eq!(decompressed(coding, cut), Err(RecodeError::Malformed("it ends too early")));
        }
    }

    #[test]
    fn garbage_is_refused_or_read_but_never_a_panic(bytes in vec(any::<u8>(), 0..2000), coding in coding(), cuts in sizes()) {
        let whole = decompressed(coding, &bytes);
        let cut = run(&mut Decompressor::new(coding, WIDE).unwrap(), &bytes, &cuts);
        prop_assert_eq!(whole.is_ok(), cut.is_ok());
        if let (Ok(whole), Ok(cut)) = (whole, cut) {
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn a_changed_byte_is_no_panic(content in content(), coding in coding(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut coded = compressed(coding, &content);
        let at = at.index(coded.len());
        coded[at] = to;
        let _ = decompressed(coding, &coded);
    }
}

#[test]
fn a_flush_makes_all_of_it_readable() {
    for coding in Coding::ALL {
        let mut compressor = Compressor::new(coding, Level::default()).unwrap();
        let mut decompressor = Decompressor::new(coding, WIDE).unwrap();
        for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
            let (mut coded, mut seen) = (Vec::new(), Vec::new());
            assert_eq!(compressor.recode(event.as_bytes(), &mut coded), Ok(event.len()));
            assert_eq!(compressor.flush(&mut coded), Ok(Finish::Done));
            let flushed = coded.len();
            assert_eq!(compressor.flush(&mut coded), Ok(Finish::Done));
            assert_eq!(coded.len(), flushed, "{coding:?}: there is nothing more to flush");
            assert_eq!(decompressor.recode(&coded, &mut seen), Ok(coded.len()));
            assert_eq!(seen, event.as_bytes(), "{coding:?}");
        }
        let mut end = Vec::new();
        assert_eq!(compressor.finish(&mut end), Ok(Finish::Done));
        decompressor.recode(&end, &mut Vec::new()).unwrap();
        assert_eq!(decompressor.finish(&mut Vec::new()), Ok(Finish::Done), "{coding:?}");
    }
}

#[test]
fn a_large_flush_comes_in_pieces_and_may_be_overtaken() {
    // Nothing in it repeats, so that nothing is saved.
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(300_000).collect();
    for coding in Coding::ALL {
        let mut compressor = Compressor::new(coding, Level::default()).unwrap();
        let (mut coded, mut at) = (Vec::new(), 0);
        while at < noise.len() {
            let before = coded.len();
            at += compressor.recode(&noise[at..], &mut coded).unwrap();
            // Once, whether that was all or not: what comes next must do the rest.
            compressor.flush(&mut coded).unwrap();
            assert!(coded.len() - before <= 2 * PIECE);
        }
        while compressor.finish(&mut coded).unwrap() == Finish::More {}
        assert_eq!(decompressed(coding, &coded).as_ref(), Ok(&noise), "{coding:?}");
    }
}

#[test]
fn bombs_are_cut_off() {
    let large = vec![0; 20 << 20];
    for coding in Coding::ALL {
        let bomb = compressed(coding, &large);
        let refused = |bounds| run(&mut Decompressor::new(coding, bounds).unwrap(), &bomb, &[100]);
        assert_eq!(refused(Bounds { most: u64::MAX, ratio: 100 }), Err(RecodeError::TooLarge), "{coding:?}");
        assert_eq!(refused(Bounds { most: 10 << 20, ratio: u64::MAX }), Err(RecodeError::TooLarge), "{coding:?}");
        let most = Bounds { most: 20 << 20, ratio: u64::MAX };
        assert_eq!(refused(most).as_ref(), Ok(&large), "{coding:?}: just what is allowed");
        let small = compressed(coding, &large[..1 << 20]);
        let all = run(&mut Decompressor::new(coding, Bounds { most: 1 << 20, ratio: 1 }).unwrap(), &small, &[7]);
        assert_eq!(all.map(|all| all.len()), Ok(1 << 20), "{coding:?}: little may be as regular as it likes");
    }
}

#[test]
fn members_and_frames_may_follow_each_other() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let parts = [&b"one "[..], b"", b"two"].map(|part| compressed(coding, part));
        assert_eq!(decompressed(coding, &parts.concat()), Ok(b"one two".to_vec()), "{coding:?}");
        let cut = run(&mut Decompressor::new(coding, WIDE).unwrap(), &parts.concat(), &[1]);
        assert_eq!(cut, Ok(b"one two".to_vec()), "{coding:?}");
        let half = [&parts[0][..], &parts[2][..5]].concat();
        assert_eq!(decompressed(coding, &half), Err(RecodeError::Malformed("it ends too early")), "{coding:?}");
    }
}

#[test]
fn nothing_else_may_follow_the_end() {
    for coding in Coding::ALL {
        for garbage in [&b"x"[..], b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            let coded = [&compressed(coding, b"content")[..], garbage].concat();
            assert!(matches!(decompressed(coding, &coded), Err(RecodeError::Malformed(_))), "{coding:?}");
        }
    }
    for coding in [Coding::Br, Coding::Deflate] {
        let twice = compressed(coding, b"content").repeat(2);
        assert_eq!(decompressed(coding, &twice), Err(RecodeError::Malformed("something follows its end")));
    }
}

#[test]
fn nothing_at_all_is_no_content_of_any_coding() {
    for coding in Coding::ALL {
        assert_eq!(decompressed(coding, b""), Err(RecodeError::Malformed("it ends too early")), "{coding:?}");
        let empty = compressed(coding, b"");
        assert_eq!(decompressed(coding, &empty), Ok(Vec::new()), "{coding:?}");
    }
}

#[test]
fn checksums_are_looked_at() {
    for coding in [Coding::Gzip, Coding::Deflate] {
        let mut coded = compressed(coding, b"content");
        let at = if coding == Coding::Gzip { coded.len() - 8 } else { coded.len() - 4 };
        coded[at] ^= 1;
        assert!(matches!(decompressed(coding, &coded), Err(RecodeError::Malformed(_))), "{coding:?}");
    }
}

#[test]
fn gzip_may_name_its_file() {
    // RFC 1952 §2.3: FNAME and FCOMMENT.
    let plain = compressed(Coding::Gzip, b"content");
    let named = [&plain[..3], &[0x18], &plain[4..10], b"a.txt\0", b"a comment\0", &plain[10..]].concat();
    assert_eq!(decompressed(Coding::Gzip, &named), Ok(b"content".to_vec()));
}

#[test]
fn a_window_beyond_what_http_allows_is_refused() {
    // RFC 9659 §3: 8 MiB. Frame header: no single segment, window descriptor 2^27, an empty last raw block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 0x01, 0x00, 0x00];
    assert!(matches!(decompressed(Coding::Zstd, &frame), Err(RecodeError::Malformed(_))));
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (23 - 10) << 3, 0x01, 0x00, 0x00];
    assert_eq!(decompressed(Coding::Zstd, &frame), Ok(Vec::new()));
}

#[test]
fn names_are_read_in_any_case() {
    assert_eq!(Coding::of(b"X-GZip"), Some(Coding::Gzip));
    assert_eq!(Coding::of(b"BR"), Some(Coding::Br));
    assert_eq!(Coding::of(b"identity"), None);
    assert!(Coding::ALL.iter().all(|coding| Coding::of(coding.name().as_bytes()) == Some(*coding)));
}
