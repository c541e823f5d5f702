use super::proof::is_for;

#[test]
fn a_url_is_the_same_however_it_is_written() {
    for url in [
        "https://shop.example/a/b",
        "HTTPS://Shop.Example:443/a/b",
        "https://shop.example:/a/b",
        "https://shop.example/a/b?x=1",
        "https://shop.example/a/b#x",
        "https://shop.example/a/./c/../b",
        "https://shop.example/%61/b",
    ] {
        assert!(is_for(url, "https", "shop.example", "/a/b"), "{url}");
    }
    for url in [
        "",
        "/a/b",
        "shop.example/a/b",
        "http://shop.example/a/b",
        "https://shop.example:80/a/b",
        "https://shop.example:8443/a/b",
        "https://shop.example.evil/a/b",
        "https://evil@shop.example/a/b",
        "https://shop.example@evil/a/b",
        "https:///a/b",
        "https://shop.example/a/b/",
        "https://shop.example/a",
        "https://shop.example/A/b",
        "https://shop.example/a%2Fb",
        "https://shop.example/../a/b",
        "https://shop.example\\a/b",
        "https:shop.example/a/b",
    ] {
        assert!(!is_for(url, "https", "shop.example", "/a/b"), "{url}");
    }
    assert!(is_for("http://shop.example", "http", "shop.example:80", "/"));
    assert!(is_for("http://[::1]:8080/", "http", "[::1]:8080", "/"));
    assert!(!is_for("http:///", "http", "", "/"), "no host is no host");
}
