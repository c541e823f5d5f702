//! Cookies of the gateway's own (RFC 6265bis): in pieces where one would be too large, and with what keeps them from others.

use std::time::Duration;

use bytes::Bytes;
use tollgate_core::head::RequestHead;

/// Most bytes of a piece: browsers take 4096 with the name and the attributes (RFC 6265 §6.1).
const PIECE: usize = 3800;
/// Most pieces of one.
const MOST: usize = 8;

/// When other sites' pages may make a browser send it (RFC 6265bis §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SameSite {
    /// Where a link of theirs leads here.
    Lax,
    /// Always: for answers that their pages post (SAML).
    None,
}

/// The name under which a cookie is kept: with a prefix that ties it to this host where the connection is secure (RFC 6265bis §4.1.3.2).
pub(crate) fn named(name: &str, is_secure: bool) -> String {
    if is_secure { format!("__Host-{name}") } else { name.to_owned() }
}

/// What a cookie says that may be in pieces.
pub(crate) fn whole(head: &RequestHead, name: &str) -> Option<String> {
    let first = head.cookie(name)?;
    let (pieces, text) = first.split_once('.')?;
    let pieces: usize = pieces.parse().ok().filter(|pieces| (1..=MOST).contains(pieces))?;
    let mut whole = text.to_owned();
    for piece in 1..pieces {
        whole.push_str(head.cookie(&format!("{name}.{piece}"))?);
    }
    Some(whole)
}

/// The names that a request has of it and its pieces.
pub(crate) fn names(head: &RequestHead, name: &str) -> Vec<String> {
    let pieces = (1..MOST).map(|piece| format!("{name}.{piece}"));
    [name.to_owned()].into_iter().chain(pieces).filter(|name| head.cookies(name) > 0).collect()
}

/// The lines that have it kept for so long, and those pieces forgotten that are too many. `None`: it is too large.
pub(crate) fn kept(
    name: &str,
    text: &str,
    lasts: Duration,
    same_site: SameSite,
    is_secure: bool,
    before: &[String],
) -> Option<Vec<Bytes>> {
    let pieces: Vec<&str> = text.as_bytes().chunks(PIECE).filter_map(|piece| str::from_utf8(piece).ok()).collect();
    if pieces.is_empty() || pieces.len() > MOST {
        return None;
    }
    let seconds = lasts.as_secs();
    let mut lines = Vec::with_capacity(pieces.len());
    for (at, piece) in pieces.iter().enumerate() {
        let (own, says) = match at {
            0 => (name.to_owned(), format!("{}.{piece}", pieces.len())),
            at => (format!("{name}.{at}"), (*piece).to_owned()),
        };
        lines.push(line(&own, &says, seconds, same_site, is_secure));
    }
    let written = |name_before: &String| {
        *name_before == name || (1..pieces.len()).any(|at| *name_before == format!("{name}.{at}"))
    };
    let too_many = before.iter().filter(|name| !written(name));
    lines.extend(too_many.map(|name| forgotten(name, same_site, is_secure)));
    Some(lines)
}

/// The line that has a cookie forgotten.
pub(crate) fn forgotten(name: &str, same_site: SameSite, is_secure: bool) -> Bytes {
    line(name, "", 0, same_site, is_secure)
}

fn line(name: &str, says: &str, seconds: u64, same_site: SameSite, is_secure: bool) -> Bytes {
    // Where others' pages post to, browsers want it secure, also on this machine.
    let (same_site, secure) = match same_site {
        SameSite::None => ("None", "; Secure"),
        SameSite::Lax => ("Lax", if is_secure { "; Secure" } else { "" }),
    };
    format!("{name}={says}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[Bytes]) -> RequestHead {
        let mut head = RequestHead::default();
        let pairs: Vec<&str> =
            lines.iter().map(|line| str::from_utf8(line).unwrap().split_once(';').unwrap().0).collect();
        head.fields.add("Cookie", pairs.join("; "));
        head
    }

    #[test]
    fn a_large_one_is_in_pieces_and_whole_again() {
        const HOUR: Duration = Duration::from_secs(3600);
        for (length, pieces) in [(1, 1), (PIECE, 1), (PIECE + 1, 2), (3 * PIECE, 3), (8 * PIECE, 8)] {
            let text = "x".repeat(length);
            let lines = kept("s", &text, HOUR, SameSite::Lax, true, &[]).unwrap();
            assert_eq!(lines.len(), pieces);
            assert!(lines.iter().all(|line| line.len() < 4096));
            assert_eq!(whole(&head(&lines), "s"), Some(text));
            assert_eq!(names(&head(&lines), "s").len(), pieces);
        }
        assert_eq!(kept("s", &"x".repeat(8 * PIECE + 1), HOUR, SameSite::Lax, true, &[]), None);
        assert_eq!(kept("s", "", HOUR, SameSite::Lax, true, &[]), None);
        let before = ["s".to_owned(), "s.1".to_owned(), "s.2".to_owned()];
        let lines = kept("s", &"x".repeat(PIECE + 1), HOUR, SameSite::Lax, false, &before).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "s.2=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
        let secure = kept("__Host-s", "x", HOUR, SameSite::None, true, &[]).unwrap();
        assert_eq!(secure, ["__Host-s=1.x; Path=/; Max-Age=3600; HttpOnly; SameSite=None; Secure"]);
    }

    #[test]
    fn one_with_a_piece_missing_says_nothing() {
        for cookies in ["", "s=x", "s=0.x", "s=9.x", "s=2.x", "s=2.x; s.2=y", "s=-1.x", "s=.x"] {
            let mut head = RequestHead::default();
            head.fields.add("Cookie", cookies.to_owned());
            assert_eq!(whole(&head, "s"), None, "{cookies}");
        }
    }
}
