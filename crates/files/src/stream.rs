//! A body read from a file while it is sent: one piece is read ahead, on a thread that may wait for the disk.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use tollgate_core::body::BodyStream;

use crate::range::Range;

/// Most bytes of a piece.
pub(crate) const PIECE: u64 = 64 * 1024;

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it is.
    Text(Bytes),
    /// From the file.
    File(Range),
}

impl Part {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(range) => range.length,
        }
    }
}

/// The parts of a body, read one piece after the other.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: Arc<File>,
    parts: VecDeque<Part>,
    /// The piece after the one that was given last.
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Pieces {
    pub(crate) fn new(file: File, parts: Vec<Part>) -> Self {
        Self { file: Arc::new(file), parts: parts.into(), ahead: None }
    }

    /// All of it at once.
    pub(crate) fn whole(file: &File, parts: &[Part]) -> io::Result<Bytes> {
        let mut whole = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => whole.extend_from_slice(text),
                Part::File(range) => whole.extend_from_slice(&read(file, *range)?),
            }
        }
        Ok(whole.into())
    }

    /// What is to be read next; the parts are shorter by it.
    fn take(&mut self) -> Option<Part> {
        loop {
            match self.parts.pop_front()? {
                part if part.length() == 0 => {}
                Part::File(range) if range.length > PIECE => {
                    let rest = Range { start: range.start + PIECE, length: range.length - PIECE };
                    self.parts.push_front(Part::File(rest));
                    return Some(Part::File(Range { length: PIECE, ..range }));
                }
                part => return Some(part),
            }
        }
    }

    fn read_on(&mut self) {
        self.ahead = self.take().map(|part| {
            let file = Arc::clone(&self.file);
            spawn_blocking(move || match part {
                Part::Text(text) => Ok(text),
                Part::File(range) => read(&file, range),
            })
        });
    }
}

impl BodyStream for Pieces {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.ahead.is_none() {
            self.read_on();
        }
        let Some(ahead) = &mut self.ahead else { return Poll::Ready(None) };
        let piece = ready!(Pin::new(ahead).poll(cx)).unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        self.ahead = None;
        match piece {
            Ok(_) => self.read_on(),
            Err(_) => self.parts.clear(),
        }
        Poll::Ready(Some(piece))
    }
}

/// Reads just these bytes; a file that became shorter meanwhile has them no more.
fn read(file: &File, range: Range) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(range.length).map_err(io::Error::other)?];
    file.read_exact_at(&mut piece, range.start)?;
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    async fn all(mut pieces: Pieces) -> (Vec<usize>, io::Result<Vec<u8>>) {
        let (mut sizes, mut whole) = (Vec::new(), Vec::new());
        while let Some(piece) = poll_fn(|cx| pieces.poll_next(cx)).await {
            match piece {
                Ok(piece) => {
                    sizes.push(piece.len());
                    whole.extend_from_slice(&piece);
                }
                Err(error) => {
                    assert!(poll_fn(|cx| pieces.poll_next(cx)).await.is_none(), "an error is the end");
                    return (sizes, Err(error));
                }
            }
        }
        (sizes, Ok(whole))
    }

    #[tokio::test]
    async fn parts_come_one_after_the_other_in_pieces() {
        let content: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let parts = vec![
            Part::Text(Bytes::from_static(b"head")),
            Part::File(Range { start: 10, length: 150_000 }),
            Part::Text(Bytes::new()),
            Part::File(Range { start: 199_999, length: 1 }),
        ];
        let expected = [b"head", &content[10..150_010], &content[199_999..]].concat();
        let file = file(&content);
        assert_eq!(Pieces::whole(&file, &parts).unwrap(), expected);
        let (sizes, whole) = all(Pieces::new(file, parts)).await;
        assert_eq!(sizes, [4, 65_536, 65_536, 18_928, 1]);
        assert!(whole.unwrap() == expected);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let parts = vec![Part::File(Range { start: 0, length: 100_000 })];
        let (sizes, whole) = all(Pieces::new(file(&[0; 70_000]), parts)).await;
        assert_eq!(sizes, [65_536]);
        assert_eq!(whole.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
