use super::*;

fn refused(text: &str) -> (String, usize) {
    let error = Pattern::parse(text).unwrap_err();
    (error.message, error.offset)
}

#[test]
fn bad_patterns_are_refused_with_their_place() {
    let table = [
        ("orders", 0, "the path `orders` does not begin with `/`"),
        ("", 0, "the path `` does not begin with `/`"),
        ("/a/**/b", 3, "`**` may stand at the end only"),
        ("/a/**/", 3, "`**` may stand at the end only"),
        ("/a//b", 3, "an empty segment never matches: runs of `/` count as one"),
        ("/a/*", 3, "`*` is no wildcard in a path"),
        ("/a/x*", 4, "`*` is no wildcard in a path"),
        ("/a/x{id}", 4, "a parameter takes a whole segment"),
        ("/a/{id", 3, "a parameter takes a whole segment"),
        ("/a/{}", 4, "`` is no name for a parameter"),
        ("/a/{1x}", 4, "`1x` is no name for a parameter"),
        ("/{x}/a/{x}", 7, "the parameter `x` is there twice"),
        ("/a/../b", 3, "a `.` or `..` segment never matches: requests have none once normalised"),
        ("/a/%2e", 3, "a `.` or `..` segment never matches: requests have none once normalised"),
        ("/a?b", 1, "a path pattern has no query"),
        ("/a/b c", 3, "the path contains a byte that must be percent-encoded"),
        ("/a/%zz", 3, "the path contains a `%` without two hex digits"),
        ("/a\\b", 1, "the path contains a backslash"),
        ("/a/..;x", 3, "the path hides a `.` or `..` segment behind an encoding or a parameter"),
        ("~(", 1, "not a regular expression: unclosed group"),
        ("~a)|(b", 1, "not a regular expression: unopened group"),
        ("~(a{1000}){1000}", 1, "the regular expression is too big"),
    ];
    for (text, offset, message) in table {
        assert_eq!(refused(text), (message.to_owned(), offset), "{text}");
    }
    let many: String = (0..17).map(|n| format!("/{{p{n}}}")).collect();
    assert_eq!(refused(&many).0, "more than 16 parameters in one path");
    let groups: String = (0..17).map(|n| format!("(?P<p{n}>x)")).collect();
    assert_eq!(refused(&format!("~{groups}")).0, "more than 16 parameters in one path");
}

#[test]
fn literals_are_normalised_like_requests() {
    for (pattern, request) in [("/caf\u{e9}", "/caf%C3%A9"), ("/%61%2f", "/a%2F"), ("/a%2A", "/a*"), ("/a|b", "/a%7Cb")]
    {
        let matcher = Matcher::build(vec![RouteSpec { pattern: Pattern::parse(pattern).unwrap(), ..route("- - /") }]);
        assert_eq!(ask(&matcher.unwrap(), &format!("GET x {request}"), 0), "0", "{pattern}");
    }
}
