//! Conditional requests, in the order of RFC 9110 §13.2.2.

use tollgate_core::head::Fields;

use crate::validators::Validators;

/// The conditions of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preconditions {
    if_match: Option<Tags>,
    if_unmodified_since: Option<Vec<u8>>,
    if_none_match: Option<Tags>,
    if_modified_since: Option<Vec<u8>>,
    if_range: Option<Vec<u8>>,
}

/// What they come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request is carried out.
    Go,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client takes it for.
    Failed,
}

#[derive(Clone, Debug)]
enum Tags {
    Any,
    Listed(Vec<Tag>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    is_weak: bool,
    /// With its quotes.
    opaque: Vec<u8>,
}

impl Preconditions {
    pub(crate) fn of(fields: &Fields) -> Self {
        let one = |name| fields.get(name).map(<[u8]>::to_vec);
        Self {
            if_match: tags(fields, "if-match"),
            if_unmodified_since: one("if-unmodified-since"),
            if_none_match: tags(fields, "if-none-match"),
            if_modified_since: one("if-modified-since"),
            if_range: one("if-range"),
        }
    }

    /// Whether the request is carried out on a file in this state; it is `GET` or `HEAD`.
    pub(crate) fn judge(&self, file: &Validators) -> Verdict {
        // RFC 9110 §13.2.2, steps 1 and 2.
        let fails = match (&self.if_match, &self.if_unmodified_since) {
            (Some(tags), _) => !tags.name(&file.etag, Tag::is_strongly),
            (None, Some(date)) => file.is_newer_than(date) == Some(true),
            (None, None) => false,
        };
        if fails {
            return Verdict::Failed;
        }
        // Steps 3 and 4: `If-Modified-Since` counts only where nothing better is said.
        let is_known = match (&self.if_none_match, &self.if_modified_since) {
            (Some(tags), _) => tags.name(&file.etag, Tag::is_weakly),
            (None, Some(date)) => file.is_newer_than(date) == Some(false),
            (None, None) => false,
        };
        if is_known { Verdict::NotModified } else { Verdict::Go }
    }

    /// Step 5: whether a range of a file in this state is what the client wants, rather than all of it.
    pub(crate) fn allow_range(&self, file: &Validators) -> bool {
        match &self.if_range {
            None => true,
            // RFC 9110 §13.1.5: a tag is compared strongly, a date to the second.
            Some(tag) if tag.starts_with(b"\"") || tag.starts_with(b"W/") => tag == file.etag.as_bytes(),
            Some(date) => file.is_of(date),
        }
    }
}

impl Tags {
    fn name(&self, etag: &str, is_same: fn(&Tag, &str) -> bool) -> bool {
        match self {
            // The file is there.
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| is_same(tag, etag)),
        }
    }
}

impl Tag {
    /// RFC 9110 §8.8.3.2; ours are strong.
    fn is_strongly(&self, etag: &str) -> bool {
        !self.is_weak && self.opaque == etag.as_bytes()
    }

    fn is_weakly(&self, etag: &str) -> bool {
        self.opaque == etag.as_bytes()
    }
}

/// `*` or a list of entity tags over all lines; what is no tag names no file.
fn tags(fields: &Fields, name: &str) -> Option<Tags> {
    let mut listed = Vec::new();
    let mut is_there = false;
    for line in fields.all(name) {
        is_there = true;
        if line == b"*" {
            return Some(Tags::Any);
        }
        read_tags(line, &mut listed);
    }
    is_there.then_some(Tags::Listed(listed))
}

/// A comma may stand within a tag, so the list is read tag by tag.
fn read_tags(mut rest: &[u8], listed: &mut Vec<Tag>) {
    loop {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        let (is_weak, opaque) = match rest.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, rest),
        };
        let Some(length) = opaque.strip_prefix(b"\"").and_then(|tail| tail.iter().position(|b| *b == b'"')) else {
            return;
        };
        let (tag, tail) = opaque.split_at(length + 2);
        listed.push(Tag { is_weak, opaque: tag.to_vec() });
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37.
    const AT: u64 = 784_111_777;
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";
    const BEFORE: &str = "Sun Nov  6 08:49:36 1994";

    fn judged(fields: &[(&'static str, &'static str)]) -> (Verdict, bool) {
        let mut all = Fields::default();
        fields.iter().for_each(|(name, value)| all.add(*name, *value));
        let file = Validators { etag: "\"a,b\"".into(), modified: AT };
        let preconditions = Preconditions::of(&all);
        (preconditions.judge(&file), preconditions.allow_range(&file))
    }

    fn verdict(fields: &[(&'static str, &'static str)]) -> Verdict {
        judged(fields).0
    }

    #[test]
    fn if_match_compares_strongly_and_goes_before_dates() {
        assert_eq!(verdict(&[("If-Match", "\"x\", \"a,b\"")]), Verdict::Go);
        assert_eq!(verdict(&[("If-Match", "*")]), Verdict::Go);
        assert_eq!(verdict(&[("If-Match", "W/\"a,b\"")]), Verdict::Failed);
        assert_eq!(verdict(&[("If-Match", "nonsense")]), Verdict::Failed);
        assert_eq!(verdict(&[("If-Match", "\"a,b\""), ("If-Unmodified-Since", BEFORE)]), Verdict::Go);
    }

    #[test]
    fn if_unmodified_since_fails_for_a_newer_file() {
        assert_eq!(verdict(&[("If-Unmodified-Since", THEN)]), Verdict::Go);
        assert_eq!(verdict(&[("If-Unmodified-Since", BEFORE)]), Verdict::Failed);
        assert_eq!(verdict(&[("If-Unmodified-Since", "yesterday")]), Verdict::Go);
    }

    #[test]
    fn if_none_match_compares_weakly_and_goes_before_dates() {
        assert_eq!(verdict(&[("If-None-Match", "\"x\" , W/\"a,b\"")]), Verdict::NotModified);
        assert_eq!(verdict(&[("If-None-Match", "*")]), Verdict::NotModified);
        assert_eq!(verdict(&[("If-None-Match", "\"x\""), ("If-None-Match", "\"a,b\"")]), Verdict::NotModified);
        assert_eq!(verdict(&[("If-None-Match", "\"x\""), ("If-Modified-Since", LATER)]), Verdict::Go);
    }

    #[test]
    fn if_modified_since_is_for_a_newer_file() {
        assert_eq!(verdict(&[("If-Modified-Since", THEN)]), Verdict::NotModified);
        assert_eq!(verdict(&[("If-Modified-Since", LATER)]), Verdict::NotModified);
        assert_eq!(verdict(&[("If-Modified-Since", BEFORE)]), Verdict::Go);
        assert_eq!(verdict(&[("If-Modified-Since", "nonsense")]), Verdict::Go);
    }

    #[test]
    fn what_must_hold_goes_before_what_is_known() {
        assert_eq!(verdict(&[("If-Match", "\"x\""), ("If-None-Match", "\"a,b\"")]), Verdict::Failed);
        assert_eq!(verdict(&[("If-Match", "\"a,b\""), ("If-None-Match", "\"a,b\"")]), Verdict::NotModified);
    }

    #[test]
    fn a_range_is_given_of_the_same_file_only() {
        assert!(judged(&[]).1);
        assert!(judged(&[("If-Range", "\"a,b\"")]).1);
        assert!(judged(&[("If-Range", THEN)]).1);
        for other in ["W/\"a,b\"", "\"x\"", LATER, BEFORE, "nonsense"] {
            assert!(!judged(&[("If-Range", other)]).1, "{other}");
        }
    }
}
