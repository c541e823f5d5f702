//! gzip and deflate.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tollgate_core::body::RecodeError;

use super::drive::{Core, Drive, Step};

/// The whole window of RFC 1951.
const WINDOW: u8 = 15;

/// What stands around the compressed data; either holds a checksum, which the library checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Gzip,
    Zlib,
}

pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new(frame: Frame, level: u32) -> Self {
        let level = Compression::new(level);
        Self(match frame {
            Frame::Gzip => Compress::new_gzip(level, WINDOW),
            Frame::Zlib => Compress::new_with_window_bits(level, true, WINDOW),
        })
    }
}

impl Core for Encoder {
    fn step(&mut self, input: &[u8], output: &mut [u8], drive: Drive) -> Result<Step, RecodeError> {
        let flush = match drive {
            Drive::Go => FlushCompress::None,
            Drive::Flush => FlushCompress::Sync,
            Drive::Finish => FlushCompress::Finish,
        };
        let (taken, given) = (self.0.total_in(), self.0.total_out());
        let status = self.0.compress(input, output, flush);
        let status = status.map_err(|_| RecodeError::Malformed("it cannot be compressed"))?;
        let (taken, given) = (since(taken, self.0.total_in()), since(given, self.0.total_out()));
        let is_done = match drive {
            Drive::Go => false,
            // A flush goes on for as long as it fills the room it is given.
            Drive::Flush => given < output.len(),
            Drive::Finish => status == Status::StreamEnd,
        };
        Ok(Step { taken, given, is_done })
    }
}

pub(super) struct Decoder {
    core: Decompress,
    is_over: bool,
}

impl Decoder {
    pub(super) fn new(frame: Frame) -> Self {
        let core = match frame {
            Frame::Gzip => Decompress::new_gzip(WINDOW),
            Frame::Zlib => Decompress::new_with_window_bits(true, WINDOW),
        };
        Self { core, is_over: false }
    }
}

impl Core for Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8], _: Drive) -> Result<Step, RecodeError> {
        if self.is_over {
            // Another member: the library keeps the framing it was made for.
            self.core.reset(true);
            self.is_over = false;
        }
        let (taken, given) = (self.core.total_in(), self.core.total_out());
        let status = self.core.decompress(input, output, FlushDecompress::None);
        let status = status.map_err(|_| RecodeError::Malformed("it is not what its coding says"))?;
        self.is_over = status == Status::StreamEnd;
        Ok(Step {
            taken: since(taken, self.core.total_in()),
            given: since(given, self.core.total_out()),
            is_done: self.is_over,
        })
    }
}

/// One call moves no more than a buffer.
fn since(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}
