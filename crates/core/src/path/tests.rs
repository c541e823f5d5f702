use super::*;
use proptest::prelude::*;

fn normal(raw: &str) -> Result<String, PathError> {
    normalised(raw.as_bytes()).map(|path| String::from_utf8(path.into_owned()).unwrap())
}

#[test]
fn every_path_has_one_form() {
    let table = [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a//b", "/a/b"),
        ("//", "/"),
        ("//a", "/a"),
        ("/a/.", "/a/"),
        ("/a/./", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a//../b", "/b"),
        ("/.", "/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a/%2e%2E/b", "/b"),
        ("/%61%7e%3A", "/a~:"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%25b", "/a%25b"),
        ("/100%25", "/100%25"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf%E9", "/caf%E9"),
        ("/a%20b", "/a%20b"),
        ("/a%3fb%23", "/a%3Fb%23"),
        ("/{x}|[y]", "/%7Bx%7D%7C%5By%5D"),
        ("/\"<^`>", "/%22%3C%5E%60%3E"),
        ("/a;b=c,d", "/a;b=c,d"),
        ("/A/b", "/A/b"),
        ("/x%252Fy", "/x%252Fy"),
        ("/..a/b..", "/..a/b.."),
    ];
    for (raw, expected) in table {
        assert_eq!(normal(raw).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn doubtful_paths_are_refused_with_the_reason() {
    use PathError::*;
    let table = [
        ("", NotAbsolute),
        ("a", NotAbsolute),
        ("*", NotAbsolute),
        ("/a b", RawByte),
        ("/a\tb", RawByte),
        ("/a?b", RawByte),
        ("/a#b", RawByte),
        ("/caf\u{e9}", RawByte),
        ("/a\u{7f}", RawByte),
        ("/%", Encoding),
        ("/%4", Encoding),
        ("/%zz", Encoding),
        ("/%+1", Encoding),
        ("/%u0041", Encoding),
        ("/a%00", Control),
        ("/a%0d%0a", Control),
        ("/a%7F", Control),
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/%c0%ae%c0%ae/", Overlong),
        ("/%e0%80%af", Overlong),
        ("/%f0%80%80%af", Overlong),
        ("/..", AboveRoot),
        ("/a/../..", AboveRoot),
        ("//../a", AboveRoot),
        ("/%2e%2e/a", AboveRoot),
        ("/a/..;x=1/b", HiddenDots),
        ("/a/.;/b", HiddenDots),
        ("/a/..%3B/b", HiddenDots),
        ("/a/..%2Fb", HiddenDots),
        ("/a/b%2F..", HiddenDots),
        ("/a/b%2f.%2Fc", HiddenDots),
        ("/a/%252e%252e/b", HiddenDots),
        ("/a/%25252e./b", HiddenDots),
        ("/a/..%252fb", HiddenDots),
        ("/a/..%255cb", HiddenDots),
        ("/a/..%253bx", HiddenDots),
    ];
    for (raw, expected) in table {
        assert_eq!(normal(raw), Err(expected), "{raw}");
    }
}

#[test]
fn a_normal_path_is_not_copied() {
    for raw in ["/", "/orders/17", "/a%20b", "/.well-known/x"] {
        assert!(matches!(normalised(raw.as_bytes()), Ok(Cow::Borrowed(_))), "{raw}");
    }
}

#[test]
fn what_is_encoded_is_decoded_once() {
    assert_eq!(*percent_decode(b"a%2Fb%2525"), *b"a/b%25");
    assert_eq!(*percent_decode(b"1+1%"), *b"1+1%");
    assert_eq!(*percent_decode(b"caf%E9"), *b"caf\xe9");
    assert!(matches!(percent_decode(b"plain"), Cow::Borrowed(b"plain")));
}

/// Removes dot segments as RFC 3986 §5.2.4 says, clamped at the root; the steps of the RFC, letter by letter.
fn remove_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut input = path.to_vec();
    let mut output: Vec<u8> = Vec::new();
    while !input.is_empty() {
        if input.starts_with(b"/./") {
            input.drain(..2);
        } else if input == b"/." {
            input.truncate(1);
        } else if input.starts_with(b"/../") || input == b"/.." {
            input.drain(..3);
            if input.is_empty() {
                input.push(b'/');
            }
            let parent = output.iter().rposition(|b| *b == b'/').unwrap_or(0);
            output.truncate(parent);
        } else {
            let end = input[1..].iter().position(|b| *b == b'/').map_or(input.len(), |at| at + 1);
            output.extend(input.drain(..end));
        }
    }
    output
}

/// What a servlet container does: drops `;params` from every segment.
fn strip_parameters(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> =
        path.split(|b| *b == b'/').map(|segment| segment.split(|b| *b == b';').next().unwrap()).collect();
    segments.join(&b'/')
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|b| matches!(b, b'/' | b'\\')).any(|segment| segment == b"." || segment == b"..")
}

/// Paths made of the pieces that attacks are made of.
fn nasty_path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "/", "/", ".", "..", "%2e", "%2E", "%2f", "%2F", "%252e", "%25", "%252f", "2e", "2f", "%5c", "%255c", ";",
        "%3b", "%253b", "a", "admin", "x=1", "%61", "%c0%ae", "%00", "\\", "{", "%20", "%C3%A9", "~", "%", "25",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![nasty_path(), prop::collection::vec(any::<u8>(), 0..24), "/[ -~]{0,24}".prop_map(String::into_bytes)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn normalising_twice_changes_nothing(raw in any_path()) {
        if let Ok(path) = normalised(&raw) {
            prop_assert!(matches!(normalised(&path), Ok(Cow::Borrowed(same)) if same == &path[..]));
        }
    }

    #[test]
    fn the_fast_check_agrees_with_the_slow_way(raw in any_path()) {
        if raw.first() == Some(&b'/') && is_plainly_normal(&raw) {
            let mut slow = Vec::new();
            prop_assert_eq!(rewrite(&raw, &mut slow), Ok(()));
            prop_assert_eq!(slow, raw);
        }
    }

    #[test]
    fn the_buffer_needs_at_most_three_times_the_input(raw in any_path()) {
        if let Ok(path) = normalised(&raw) {
            prop_assert!(path.len() <= 3 * raw.len());
            prop_assert!(path.is_ascii() && path.starts_with(b"/"));
        }
    }

    #[test]
    fn no_decoding_brings_a_dot_segment_back(raw in nasty_path()) {
        if let Ok(path) = normalised(&raw) {
            let mut decoded = path.into_owned();
            for _ in 0..4 {
                prop_assert!(!has_dot_segment(&decoded), "{}", String::from_utf8_lossy(&decoded));
                prop_assert!(!has_dot_segment(&strip_parameters(&decoded)), "{}", String::from_utf8_lossy(&decoded));
                decoded = percent_decode(&decoded).into_owned();
            }
        }
    }

    #[test]
    fn a_prefix_cannot_be_left(tail in nasty_path()) {
        let raw = [b"/public".as_slice(), &tail].concat();
        if let Ok(path) = normalised(&raw) && path.starts_with(b"/public/") {
            let mut decoded = path.into_owned();
            for _ in 0..3 {
                decoded = percent_decode(&decoded).into_owned();
                let seen = remove_dot_segments(&decoded);
                prop_assert!(seen.starts_with(b"/public/"), "{}", String::from_utf8_lossy(&seen));
            }
        }
    }

    #[test]
    fn clean_paths_agree_with_the_steps_of_rfc_3986(segments in prop::collection::vec("(a|b|\\.|\\.\\.)", 0..8)) {
        let raw = format!("/{}", segments.join("/")).into_bytes();
        if let Ok(path) = normalised(&raw) {
            prop_assert_eq!(path.into_owned(), remove_dot_segments(&raw));
        }
    }
}
