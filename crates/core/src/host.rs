//! A host as it is compared: without its port and the final dot. Only the case is left to whoever compares.

/// The name in a `Host` field of the right form; IPv6 keeps its brackets.
#[must_use]
pub fn name(host: &str) -> &str {
    host.get(..name_len(host.as_bytes())).unwrap_or_default()
}

/// The same for bytes, as they stand in a head.
#[must_use]
pub fn name_bytes(host: &[u8]) -> &[u8] {
    &host[..name_len(host)]
}

fn name_len(host: &[u8]) -> usize {
    let end = match host.iter().rposition(|b| *b == b':') {
        // The last colon of a bare `[::1]` is no port's.
        Some(colon) if !host.ends_with(b"]") => colon,
        _ => host.len(),
    };
    end - usize::from(host[..end].ends_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_and_final_dot_are_no_part_of_the_name() {
        for (host, expected) in [
            ("shop.example.com", "shop.example.com"),
            ("Shop.example.com:8080", "Shop.example.com"),
            ("shop.example.com.", "shop.example.com"),
            ("shop.example.com.:80", "shop.example.com"),
            ("[::1]", "[::1]"),
            ("[2001:DB8::1]:443", "[2001:DB8::1]"),
            ("", ""),
            (".", ""),
        ] {
            assert_eq!(name(host), expected);
            assert_eq!(name_bytes(host.as_bytes()), expected.as_bytes());
        }
    }
}
