//! Content into a coding.

use std::fmt;

use tollgate_core::body::{Finish, RecodeError, Recoder};

use super::drive::{Core, Drive, Halt, drive};
use super::{Coding, brotli, flate, zstd};

/// How hard is compressed, in each coding's own measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// 0 to 11.
    pub br: u32,
    /// 1 to 19.
    pub zstd: u32,
    /// 1 to 9, of gzip and deflate.
    pub gzip: u32,
}

/// Light enough for content that is compressed each time it is asked for.
impl Default for Level {
    fn default() -> Self {
        Self { br: 4, zstd: 3, gzip: 6 }
    }
}

/// Brings content into a coding while it passes.
pub struct Compressor {
    coding: Coding,
    core: Box<dyn Core>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is held back.
    Flushed,
    /// Something may be held back.
    Holding,
    /// A flush was begun.
    Flushing,
    /// All was given.
    Over,
}

impl Compressor {
    /// For content to come. `None`: there is no memory for it.
    #[must_use]
    pub fn new(coding: Coding, level: Level) -> Option<Self> {
        let core: Box<dyn Core> = match coding {
            Coding::Br => Box::new(brotli::Encoder::new(level.br)),
            Coding::Zstd => Box::new(zstd::Encoder::new(level.zstd).ok()?),
            Coding::Gzip => Box::new(flate::Encoder::new(flate::Frame::Gzip, level.gzip)),
            Coding::Deflate => Box::new(flate::Encoder::new(flate::Frame::Zlib, level.gzip)),
        };
        Some(Self { coding, core, stage: Stage::Flushed })
    }
}

impl Recoder for Compressor {
    fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
        let start = output.len();
        // The libraries take nothing new while a flush is under way.
        if self.stage == Stage::Flushing && self.flush(output)? == Finish::More {
            return Ok(0);
        }
        if input.is_empty() {
            return Ok(0);
        }
        self.stage = Stage::Holding;
        let (taken, _) = drive(&mut *self.core, input, output, start, Drive::Go)?;
        Ok(taken)
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        if matches!(self.stage, Stage::Flushed | Stage::Over) {
            return Ok(Finish::Done);
        }
        self.stage = Stage::Flushing;
        let (_, halt) = drive(&mut *self.core, &[], output, output.len(), Drive::Flush)?;
        if halt != Halt::Done {
            return Ok(Finish::More);
        }
        self.stage = Stage::Flushed;
        Ok(Finish::Done)
    }

    fn finish(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        if self.stage == Stage::Over {
            return Ok(Finish::Done);
        }
        let (_, halt) = drive(&mut *self.core, &[], output, output.len(), Drive::Finish)?;
        if halt != Halt::Done {
            return Ok(Finish::More);
        }
        self.stage = Stage::Over;
        Ok(Finish::Done)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("coding", &self.coding).field("stage", &self.stage).finish_non_exhaustive()
    }
}
