use super::*;

fn sample() -> Fields {
    let text = b"a: 1\r\nB: 2\r\nb: 3\r\n";
    let mut fields = Fields { buffer: Buffer::holding(text), ..Fields::default() };
    for (name, value) in [((0, 1), (3, 4)), ((6, 7), (9, 10)), ((12, 13), (15, 16))] {
        let part = |(start, end): (u16, u16)| Part { start, end };
        fields.push(Field { name: part(name), value: part(value), known: Known::Other, dropped: false });
    }
    fields
}

#[test]
fn the_first_query_value_counts_decoded() {
    let value = |name| query_value("a=1&b=x+y%21&a=2&&flag&%63=%zz&e=", name);
    assert!(matches!(value("a"), Some(Cow::Borrowed("1"))));
    assert_eq!(value("b").as_deref(), Some("x y!"));
    assert_eq!(value("flag").as_deref(), Some(""));
    assert_eq!(value("c").as_deref(), Some("%zz"));
    assert_eq!(value("e").as_deref(), Some(""));
    assert_eq!(value("d"), None);
    assert_eq!(query_value("", ""), None);
}

#[test]
fn cookies_are_found_by_their_whole_name() {
    let field = "session=abc; theme=dark;x=\"1=2\"";
    assert_eq!(cookie_value(field, "session"), Some("abc"));
    assert_eq!(cookie_value(field, "theme"), Some("dark"));
    assert_eq!(cookie_value(field, "x"), Some("\"1=2\""));
    assert_eq!(cookie_value(field, "sess"), None);
}

#[test]
fn changes_show_at_once_and_leave_the_bytes_alone() {
    let mut fields = sample();
    assert_eq!(fields.all("b").collect::<Vec<_>>(), [b"2", b"3"]);
    fields.set("B", "9");
    assert_eq!(fields.all("b").collect::<Vec<_>>(), [b"9"]);
    fields.remove("A");
    assert!(!fields.has("a"));
    assert_eq!(fields.buffer.len(), 18);
}

#[test]
fn a_copy_says_the_same_and_keeps_its_own_changes() {
    let text = b"GET /a?b=1&token=x HTTP/1.1\r\n\r\nbehind";
    let part = |start, end| Part { start, end };
    let mut head = RequestHead {
        fields: Fields { buffer: Buffer::holding(text), head_len: 31, ..Fields::default() },
        method_part: part(0, 3),
        raw_path: part(4, 6),
        query: Some(part(7, 18)),
        ..RequestHead::default()
    };
    head.fields.add("x-own", "1");
    let mut copy = RequestHead::default();
    copy.copy(&head);
    copy.strip_query();
    copy.fields.remove_all(|name| name == b"x-own");
    assert_eq!((copy.path(), copy.query(), copy.fields.has("x-own")), ("/a", Some("b=1"), false));
    assert_eq!((head.path(), head.query(), head.fields.has("x-own")), ("/a", Some("b=1&token=x"), true));
    assert_eq!(copy.fields.buffer.len(), 31);
    copy.query = Some(part(11, 18));
    copy.fields.buffer = Buffer::holding(text);
    copy.strip_query();
    assert_eq!(copy.query(), None);
}
