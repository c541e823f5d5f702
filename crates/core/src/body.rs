//! The body of a message, as policies see it.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::problem::Problem;

/// How the end of a body is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// There is no body.
    #[default]
    None,
    /// So many bytes follow.
    Known(u64),
    /// In chunks, the last one empty; in HTTP/2, frames, the last one marked.
    Chunked,
    /// Until the sender closes; answers only.
    UntilClose,
}

/// A body.
#[derive(Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// Still on its way: the engine passes it on without keeping it.
    Wire(Length),
    /// Made while it is sent: files, archives. Its length is known or [`Length::Chunked`].
    Stream(Length, Box<dyn BodyStream>),
}

/// A body that is made while it is sent.
pub trait BodyStream: fmt::Debug + Send {
    /// The next piece, not empty, at most 64 KiB; `None`: that was all. Is asked only once the piece before has left, so
    /// that nothing gathers.
    ///
    /// # Errors
    /// The rest cannot be had: the answer is cut off so that it does not look whole.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;
}

/// Changes the content of a body while it passes (compression, decompression), or only looks at it. Works on what it is given and
/// never waits.
pub trait Recoder: fmt::Debug + Send {
    /// Takes bytes from the start of `input` and appends what becomes of them to `output`: about 64 KiB at most in one
    /// call, so that a small input that becomes a large output does not fill the memory. Gives how many bytes were taken;
    /// with some left, it is called again once `output` has left.
    ///
    /// # Errors
    /// Says what is wrong with the input.
    fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError>;

    /// The source pauses: appends whatever was held back, so that the other side can read all that was taken so far; about
    /// 64 KiB at most in one call, whether that was all. Costs some of what compression gains, so it is for pauses only.
    /// Nothing is held back by most, hence the default.
    ///
    /// # Errors
    /// Says what is wrong with the input.
    fn flush(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        let _ = output;
        Ok(Finish::Done)
    }

    /// There is no more input. Appends what is left, about 64 KiB at most in one call; whether that was all.
    ///
    /// # Errors
    /// The input ended too early.
    fn finish(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError>;

    /// Whether it only looks: what it is given it passes on at once and as it is, so that the body is as long as it was, and it can
    /// start over.
    fn only_looks(&self) -> bool {
        false
    }

    /// The same body will come once more, from its first byte on; asked only of those that only look.
    fn start_over(&mut self) {}

    /// What the sender of the body is told of an error; `None`: it is not the sender's.
    fn problem(&self, error: RecodeError) -> Option<Problem> {
        let _ = error;
        None
    }

    /// What it would have refused the body with, as far as it came, if it refuses nobody.
    fn shadow(&self) -> Option<Problem> {
        None
    }
}

/// Whether all of the output was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Call again.
    More,
    /// That was all.
    Done,
}

/// Why a body cannot be recoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecodeError {
    /// What came is not what it claims to be.
    Malformed(&'static str),
    /// It becomes larger than allowed.
    TooLarge,
}

impl fmt::Display for RecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(what) => what,
            Self::TooLarge => "a body that becomes too large",
        })
    }
}
