use proptest::collection::vec;
use proptest::prelude::*;
use roxmltree::{Document, Error, Node};

use super::super::{Violation, Wrong, XmlChecker, XmlLimits};
use super::{judged, over, told};

const WIDE: XmlLimits = XmlLimits {
    depth: 1000,
    elements: u64::MAX,
    attributes: u64::MAX,
    namespaces: u64::MAX,
    name: u64::MAX,
    value: u64::MAX,
    text: u64::MAX,
    comments: u64::MAX,
    instructions: u64::MAX,
};

fn one(document: impl AsRef<[u8]>, limits: XmlLimits) -> Result<(), Violation> {
    judged(XmlChecker::xml(limits), document.as_ref(), &[usize::MAX])
}

/// The same, however it is cut.
fn wide(document: &[u8]) -> String {
    let whole = told(one(document, WIDE));
    for size in 1..4 {
        assert_eq!(told(judged(XmlChecker::xml(WIDE), document, &[size])), whole, "in pieces of {size}");
    }
    whole
}

#[test]
fn documents_without_a_type_declaration_are_taken() {
    for document in [
        "<a/>",
        "<a></a>",
        "<a ></a >",
        "\u{feff}<a/>",
        "\u{feff}<?xml version='1.0'?><a/>",
        "<?xml version=\"1.0\" encoding=\"utf-8\" standalone='yes' ?>\n<a/>\n",
        "<?xml version = '1.0' encoding = 'US-ASCII'?><a/>",
        "<!-- <!DOCTYPE a> --><a/><!---->",
        "<a><![CDATA[<!DOCTYPE a [<!ENTITY x '&y;'>]>]]></a>",
        "<a><![CDATA[]]]]><![CDATA[>]]]></a>",
        "<a b=\"&lt;\" />",
        "<a b='>' c=\"/>'\"/>",
        "<a b = 'c'\n\td='e'/>",
        "<a>&lt;&gt;&amp;&apos;&quot;&#65;&#x41;&#x1F600;&#0000000000000000000065;</a>",
        "<a>]] > ]]&gt; ]&amp;]></a>",
        "<?xml-stylesheet href='a'?><a><?b?><?c ??></a><?d e?f>g?>",
        "<ä:ö ü='ß'>日本</ä:ö>",
        "<a><b><c/></b><b/></a>",
        "<a xmlns='u' xmlns:b='v'><b:c/></a>",
        "<a><!-- - -> --></a>",
    ] {
        assert_eq!(wide(document.as_bytes()), "taken", "{document}");
    }
}

#[test]
fn a_document_type_declaration_is_seen_wherever_a_parser_would_see_it() {
    const DTD: &str = "a document type declaration (`<!DOCTYPE`)";
    for (document, at) in [
        ("<!DOCTYPE a><a/>", 2),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", 2),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", 2),
        ("<?xml version='1.0'?>\n<!-- - -->\n<!DOCTYPE a><a/>", 35),
        ("\u{feff}<!DOCTYPE a><a/>", 5),
        ("<a/><!DOCTYPE a>", 6),
        ("<a><!DOCTYPE a></a>", 5),
        ("<?p <!-- ?><!DOCTYPE a><a/>", 13),
        ("<!--><?--><!DOCTYPE a><a/>", 12),
    ] {
        assert_eq!(wide(document.as_bytes()), format!("{DTD}, at byte {at}"), "{document}");
    }
}

#[test]
fn entities_that_need_a_declaration_are_refused() {
    for (document, at) in
        [("<a>&x;</a>", 5), ("<a b='&lol;'/>", 10), ("<a>&quote;</a>", 8), ("<a>&ltgt;</a>", 8), ("<a>&LT;</a>", 6)]
    {
        let expected = "an entity other than `lt`, `gt`, `amp`, `apos` and `quot`";
        assert_eq!(wide(document.as_bytes()), format!("{expected}, at byte {at}"), "{document}");
    }
}

#[test]
fn other_encodings_are_refused_with_the_reason() {
    for document in [
        &b"\xFF\xFE<\0a\0/\0>\0"[..],
        b"\xFE\xFF\0<\0a\0/\0>",
        b"<?xml version='1.0' encoding='UTF-16'?><a/>",
        b"<?xml version='1.0' encoding='UTF-7'?>+ADw-a/>",
        b"<?xml version='1.0' encoding='ISO-8859-1' standalone='no'?><a/>",
    ] {
        assert!(matches!(one(document, WIDE), Err(Violation { what: Wrong::Encoding(_), .. })), "{document:?}");
    }
    for document in
        [&b"<\0a\0/\0>\0"[..], b"\0<\0a\0/\0>", b"\x4C\x6F\xA7\x94\x93", b"+ADw-!DOCTYPE a>", b"<a>\xFC</a>"]
    {
        let judged = one(document, WIDE);
        assert!(matches!(judged, Err(Violation { what: Wrong::Malformed(_), .. })), "{document:?}: {judged:?}");
    }
    assert!(matches!(one("<?xml version='1.1'?><a/>", WIDE), Err(Violation { what: Wrong::Refused("XML 1.1"), .. })));
}

/// What is no document, whatever is allowed.
const MALFORMED: &[&str] = &[
    "",
    " ",
    "a",
    "<",
    "<a",
    "<a>",
    "<a b",
    "<a b='c",
    "<a/",
    "<a/><b/>",
    "<a/>x",
    "x<a/>",
    "</a>",
    "<a></b>",
    "<a></ab>",
    "<ab></a>",
    "<a><b></a></b>",
    "<a b=c/>",
    "<a b/>",
    "<a b='c'd='e'/>",
    "<a b='<'/>",
    "<a/ >",
    "< a/>",
    "<a></a",
    "<a></ a>",
    "<1/>",
    "<a><</a>",
    "<a>]]></a>",
    "<!-- -- --><a/>",
    "<!-- ---><a/>",
    "<!-a><a/>",
    "<!--",
    "<![CDATA[x]]><a/>",
    "<a><![CDAT[x]]></a>",
    "<a><![CDATA[x]]</a>",
    "<!doctype a><a/>",
    "<!ELEMENT a><a/>",
    "<a>&</a>",
    "<a>&;</a>",
    "<a>&lt</a>",
    "<a>&#;</a>",
    "<a>&#x;</a>",
    "<a>&#xG;</a>",
    "<a>&#0;</a>",
    "<a>&#xD800;</a>",
    "<a>&#x110000;</a>",
    "<a>&#99999999999999999999;</a>",
    "<a>&#X41;</a>",
    "<a>\u{1}</a>",
    "<a>\u{ffff}</a>",
    "<a b='\u{fffe}'/>",
    "<?xml?><a/>",
    " <?xml version='1.0'?><a/>",
    "<a><?xml version='1.0'?></a>",
    "<?XML version='1.0'?><a/>",
    "<?xml encoding='UTF-8'?><a/>",
    "<?xml version='2.0'?><a/>",
    "<?xml version='1.0' x='y'?><a/>",
    "<?xml version='1.0'encoding='UTF-8'?><a/>",
    "<? a?><a/>",
    "<??><a/>",
    "<?a",
    "<?a?b?><a/>",
    "<a=b/>",
    "<a \"b\"/>",
    "<a\u{b}/>",
];

#[test]
fn what_no_parser_should_take_is_malformed() {
    for document in MALFORMED {
        let judged = one(document, WIDE);
        assert!(matches!(judged, Err(Violation { what: Wrong::Malformed(_), .. })), "{document}: {judged:?}");
        wide(document.as_bytes());
    }
}

#[test]
fn each_limit_takes_as_much_as_it_says_and_no_more() {
    let limits = XmlLimits {
        depth: 2,
        elements: 3,
        attributes: 3,
        namespaces: 2,
        name: 7,
        value: 4,
        text: 5,
        comments: 1,
        instructions: 1,
    };
    for (good, bad, limit, at) in [
        ("<a><b/></a>", "<a><b><c/></b></a>", "depth", 7),
        ("<a><b/><b/></a>", "<a><b/><b/><b/></a>", "elements", 12),
        ("<a b='' c='' d=''/>", "<a b='' c='' d='' e=''/>", "attributes", 18),
        ("<a xmlns='' xmlns:b='c'/>", "<a xmlns='' xmlns:b='c' xmlns:d='e'/>", "namespaces", 31),
        ("<abcdefg/>", "<abcdefgh/>", "name", 8),
        ("<a bcdefgh=''/>", "<a bcdefghi=''/>", "name", 10),
        ("<?abcdefg?><a/>", "<?abcdefgh?><a/>", "name", 9),
        ("<a b='cdef'/>", "<a b='cdefg'/>", "value", 10),
        ("<a b='&lt;'/>", "<a b='&amp;'/>", "value", 10),
        ("<a>bcdef</a>", "<a>bcdefg</a>", "text", 8),
        ("<a>bcdef<b/>ghijk</a>", "<a>bcdef<b/>ghijkl</a>", "text", 17),
        ("<a><![CDATA[bcdef]]></a>", "<a><![CDATA[bcdefg]]></a>", "text", 17),
        ("<a>b<![CDATA[c]]>d<!--e-->ef</a>", "<a>bc<![CDATA[de]]>fg</a>", "text", 20),
        ("<a>b&lt;</a>", "<a>bcd&lt;</a>", "text", 8),
        ("<!--abcde--><a/>", "<!--abcdef--><a/>", "text", 9),
        ("<!--a-b-c--><a/>", "<!--a-b-c-d--><a/>", "text", 10),
        ("<?a bcdef?><a/>", "<?a bcdefg?><a/>", "text", 9),
        ("<!----><a/>", "<!----><a><!----></a>", "comments", 13),
        ("<?a?><b/>", "<?a?><b/><?c d?>", "instructions", 12),
        ("<a><![CDATA[]]]]></a>", "<a><![CDATA[b]]]]]]]]></a>", "text", 19),
    ] {
        assert_eq!(told(one(good, limits)), "taken", "{good}");
        for sizes in [&[usize::MAX][..], &[1], &[2, 3]] {
            let judged = judged(XmlChecker::xml(limits), bad.as_bytes(), sizes);
            assert_eq!((over(judged), judged.map_err(|v| v.at)), (Some(limit), Err(at)), "{bad} in {sizes:?}");
        }
    }
    assert_eq!(told(one("<a><b><c/></b></a>", limits)), "more than 2 levels of elements, at byte 7");
}

#[test]
fn a_declaration_is_none_of_the_instructions() {
    let limits = XmlLimits { instructions: 0, comments: 0, ..WIDE };
    assert_eq!(told(one("<?xml version='1.0'?><a/>", limits)), "taken");
    assert_eq!(over(one("<?xml version='1.0'?><?a?><b/>", limits)), Some("instructions"));
    assert_eq!(over(one("<!----><b/>", limits)), Some("comments"));
}

/// Parts of documents that mean nothing to the count.
fn aside() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ \n\t]{0,3}",
        "[a-zA-Z <!?]{0,8}".prop_map(|text| format!("<!--{text}-->")),
        "[a-zA-Z <!-]{0,8}".prop_map(|text| format!("<?p {text}?>")),
    ]
}

fn content() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z äß日>\"']{0,8}",
        "[a-z<>&!\\[]{0,8}".prop_map(|text| format!("<![CDATA[{text}]]>")),
        prop::sample::select(&["&lt;", "&amp;", "&#65;", "&#x20AC;", "] ", "/>", "-->", "?>"][..])
            .prop_map(str::to_owned),
        aside(),
    ]
}

fn attributes() -> impl Strategy<Value = String> {
    vec(("[a-z äß>/']{0,6}|&lt;|&#10;", any::<bool>(), "[ \n]{0,2}"), 0..4).prop_map(|all| {
        let each = all.into_iter().enumerate().map(|(n, (value, is_namespace, space))| match is_namespace {
            true => format!(" xmlns:n{n}{space}={space}\"u{value}\""),
            false => format!(" a{n}{space}={space}\"{value}\""),
        });
        each.collect()
    })
}

fn element() -> impl Strategy<Value = String> {
    let leaf = ("[a-z_ä][a-z0-9.-]{0,4}", attributes(), "[ \n]{0,2}")
        .prop_map(|(name, attributes, space)| format!("<{name}{attributes}{space}/>"));
    leaf.prop_recursive(6, 40, 5, |inner| {
        let inside = vec(prop_oneof![inner, content()], 0..5).prop_map(|all| all.concat());
        ("[a-z_ä][a-z0-9.-]{0,4}", attributes(), inside, "[ \n]{0,2}")
            .prop_map(|(name, attributes, inside, space)| format!("<{name}{attributes}>{inside}</{name}{space}>"))
    })
}

fn document() -> impl Strategy<Value = String> {
    let start = prop::sample::select(&["", "<?xml version=\"1.0\"?>", "<?xml version='1.0' encoding='UTF-8'?>\n"][..]);
    (start, aside(), element(), aside())
        .prop_map(|(start, before, root, behind)| format!("{start}{before}{root}{behind}"))
}

fn damaged() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
        "<",
        ">",
        "&",
        "/",
        "'",
        "\"",
        "<!DOCTYPE a>",
        "]]>",
        "--",
        "?>",
        "<!--",
        "<a>",
        "</a>",
        "=",
        " ",
        "x",
        "\u{1}",
        "ä",
        "<![CDATA[",
    ];
    let hit = (any::<prop::sample::Index>(), prop::sample::select(PARTS), 0..3u8);
    (document(), vec(hit, 0..3)).prop_map(|(mut text, hits)| {
        for (at, part, how) in hits {
            let all: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let at = *at.get(&all);
            match how {
                0 => text.insert_str(at, part),
                1 => drop(text.remove(at)),
                _ => text.truncate(at),
            }
            if text.is_empty() {
                break;
            }
        }
        text
    })
}

fn deepest(node: Node<'_, '_>) -> u64 {
    u64::from(node.is_element()) + node.children().map(deepest).max().unwrap_or(0)
}

/// Whether what is wrong stands in the name of a processing instruction.
fn in_target(text: &str, violation: Violation) -> bool {
    let before = &text.as_bytes()[..usize::try_from(violation.at).unwrap()];
    let start = before.windows(2).rposition(|two| two == b"<?").unwrap_or(before.len());
    violation.what == Wrong::Malformed("a name with a character that may not stand there")
        && before[start..].iter().all(|byte| !byte.is_ascii_whitespace())
}

fn in_declaration(violation: Violation) -> bool {
    match violation.what {
        Wrong::Malformed(what) => what.starts_with("an XML declaration"),
        Wrong::Encoding(_) => true,
        Wrong::Refused(what) => what == "XML 1.1",
        Wrong::Exceeded(..) => false,
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(1..40usize, 1..6)
}

proptest! {
    #[test]
    fn it_counts_as_another_reader_does(text in document()) {
        let parsed = Document::parse(&text);
        prop_assert!(parsed.is_ok(), "{}: {:?}", text, parsed);
        let parsed = parsed.unwrap();
        let elements: Vec<Node<'_, '_>> = parsed.descendants().filter(Node::is_element).collect();
        let declared = |node: &Node<'_, '_>| {
            let tag = &text[node.range()];
            let end = node.first_child().map_or(tag.len(), |child| child.range().start.saturating_sub(node.range().start));
            tag[..end].matches(" xmlns:").count() as u64
        };
        let namespaces = elements.iter().map(declared).max().unwrap_or(0);
        let attributes = elements.iter().map(|node| node.attributes().len() as u64 + declared(node)).max().unwrap_or(0);
        let (count, depth) = (elements.len() as u64, deepest(parsed.root()));
        let comments = parsed.descendants().filter(Node::is_comment).count() as u64;
        let instructions = parsed.descendants().filter(Node::is_pi).count() as u64;
        let exact = XmlLimits { depth, elements: count, attributes, namespaces, comments, instructions, ..WIDE };
        prop_assert_eq!(told(one(&text, exact)), "taken", "{}", text);
        for (limits, most, name) in [
            (XmlLimits { depth: depth - 1, ..WIDE }, depth, "depth"),
            (XmlLimits { elements: count - 1, ..WIDE }, count, "elements"),
            (XmlLimits { attributes: attributes.wrapping_sub(1), ..WIDE }, attributes, "attributes"),
            (XmlLimits { namespaces: namespaces.wrapping_sub(1), ..WIDE }, namespaces, "namespaces"),
            (XmlLimits { comments: comments.wrapping_sub(1), ..WIDE }, comments, "comments"),
            (XmlLimits { instructions: instructions.wrapping_sub(1), ..WIDE }, instructions, "instructions"),
        ] {
            prop_assert_eq!(over(one(&text, limits)), (most > 0).then_some(name), "{}", text);
        }
    }

    #[test]
    fn what_another_reader_takes_is_taken_and_what_it_refuses_is_refused(text in damaged()) {
        let (ours, theirs) = (one(&text, WIDE), Document::parse(&text));
        match theirs {
            // It takes `<?p<?>`, in which no space stands behind the name (XML 1.0 §2.6), and passes over what a declaration says.
            Ok(_) if ours.is_err_and(|violation| in_target(&text, violation) || in_declaration(violation)) => {}
            Ok(_) => prop_assert!(ours.is_ok(), "{}: {:?}", text, ours),
            // What is left to whoever reads the document.
            Err(Error::DuplicatedAttribute(..) | Error::UnknownNamespace(..) | Error::InvalidName(_) | Error::DuplicatedNamespace(..)) => {}
            Err(error) => prop_assert!(ours.is_err(), "{}: {}", text, error),
        }
    }

    #[test]
    fn however_it_is_cut_the_verdict_is_the_same(text in damaged(), sizes in sizes(), tight in 0..8u64) {
        let limits = XmlLimits {
            depth: tight, elements: tight, attributes: tight, namespaces: tight, name: tight + 1, value: tight, text: tight,
            comments: tight, instructions: tight,
        };
        for limits in [WIDE, limits] {
            let whole = one(&text, limits);
            prop_assert_eq!(judged(XmlChecker::xml(limits), text.as_bytes(), &sizes), whole);
            prop_assert_eq!(judged(XmlChecker::xml(limits), text.as_bytes(), &[1]), whole);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(start in prop::sample::select(&["", "<a>", "<a ", "<a b='", "<!--", "<?xml ", "<a>&", "</", "<a><![CDATA["][..]), bytes in vec(any::<u8>(), 0..200), sizes in sizes()) {
        let bytes = [start.as_bytes(), &bytes].concat();
        prop_assert_eq!(judged(XmlChecker::xml(WIDE), &bytes, &sizes), one(&bytes, WIDE));
    }
}
