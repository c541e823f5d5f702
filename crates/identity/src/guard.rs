//! Holds a body against what was signed of it, while it passes: the end of another one does not get through.

use std::fmt;

use aws_lc_rs::digest;
use tollgate_core::body::{Finish, RecodeError, Recoder};
use tollgate_core::problem::Problem;

use crate::content_digest::Checker;
use crate::faults::{DIGEST_MISMATCH, SIGV4_BODY};
use crate::sigv4::Payload;

/// Most bytes that pass in one go.
const PIECE: usize = 64 * 1024;

/// What was signed.
pub(crate) enum Guard {
    /// A hash, as AWS has it.
    Aws(digest::Context, Payload),
    /// The hashes of `Content-Digest` (RFC 9530).
    Digest(Checker),
}

impl Recoder for Guard {
    fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
        let piece = &input[..input.len().min(PIECE)];
        match self {
            Self::Aws(seen, _) => seen.update(piece),
            Self::Digest(checker) => checker.update(piece),
        }
        output.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        let judged = match self {
            Self::Aws(seen, payload) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(seen.clone().finish().as_ref());
                payload.check(&hash)
            }
            Self::Digest(checker) => checker.clone().finish(),
        };
        match judged {
            Ok(()) => Ok(Finish::Done),
            Err(_) => Err(RecodeError::Malformed("a body whose hash is another one than was signed")),
        }
    }

    fn only_looks(&self) -> bool {
        true
    }

    fn start_over(&mut self) {
        match self {
            Self::Aws(seen, _) => *seen = digest::Context::new(&digest::SHA256),
            Self::Digest(checker) => checker.start_over(),
        }
    }

    fn problem(&self, error: RecodeError) -> Option<Problem> {
        let fault = match self {
            Self::Aws(..) => &SIGV4_BODY,
            Self::Digest(_) => &DIGEST_MISMATCH,
        };
        Some(fault.problem().detail(error.to_string()))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_it_started_over_does_not_count() {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, b"signed").as_ref());
        let mut guard = Guard::Aws(digest::Context::new(&digest::SHA256), Payload::Hash(hash));
        assert!(guard.only_looks());
        for body in [&b"another"[..], b"signed"] {
            guard.start_over();
            let mut passed = Vec::new();
            assert_eq!(guard.recode(body, &mut passed), Ok(body.len()));
            assert_eq!(passed, body);
            assert_eq!(guard.finish(&mut passed).is_ok(), body == b"signed");
        }
    }
}
