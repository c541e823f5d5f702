mod json;
mod xml;

use super::{Checker, Machine, Violation, Wrong};

/// What a checker says of a document that comes in pieces of these sizes, over and over.
fn judged<M: Machine>(mut checker: Checker<M>, mut document: &[u8], sizes: &[usize]) -> Result<(), Violation> {
    let mut sizes = sizes.iter().cycle();
    while !document.is_empty() {
        let (piece, rest) = document.split_at(document.len().min(sizes.next().copied().unwrap_or(1).max(1)));
        checker.feed(piece)?;
        document = rest;
    }
    checker.end()
}

/// What is wrong, in the words that the caller is told.
fn told(judged: Result<(), Violation>) -> String {
    judged.map_or_else(|violation| violation.to_string(), |()| "taken".to_owned())
}

/// The limit that a document is over.
fn over(judged: Result<(), Violation>) -> Option<&'static str> {
    match judged.err()?.what {
        Wrong::Exceeded(limit, _) => Some(limit.name),
        Wrong::Malformed(_) | Wrong::Encoding(_) | Wrong::Refused(_) => None,
    }
}
