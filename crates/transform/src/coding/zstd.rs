//! zstd.

use std::io;

use tollgate_core::body::RecodeError;
use zstd::stream::raw::{self, CParameter, DParameter, Operation, OutBuffer};

use super::drive::{Core, Drive, Step};

/// 512 KiB, as for br.
const WINDOW: u32 = 19;

/// RFC 9659 §3: nobody may ask for more than 8 MiB.
const MOST_WINDOW: u32 = 23;

pub(super) struct Encoder(raw::Encoder<'static>);

impl Encoder {
    /// # Errors
    /// There is no memory for it.
    pub(super) fn new(level: u32) -> io::Result<Self> {
        let mut core = raw::Encoder::new(i32::try_from(level).unwrap_or(i32::MAX))?;
        core.set_parameter(CParameter::WindowLog(WINDOW))?;
        Ok(Self(core))
    }
}

impl Core for Encoder {
    fn step(&mut self, input: &[u8], output: &mut [u8], drive: Drive) -> Result<Step, RecodeError> {
        let failed = |_| RecodeError::Malformed("it cannot be compressed");
        if drive == Drive::Go {
            let status = self.0.run_on_buffers(input, output).map_err(failed)?;
            return Ok(Step { taken: status.bytes_read, given: status.bytes_written, is_done: false });
        }
        let mut out = OutBuffer::around(output);
        let left = match drive {
            Drive::Finish => self.0.finish(&mut out, true),
            Drive::Go | Drive::Flush => self.0.flush(&mut out),
        };
        Ok(Step { taken: 0, is_done: left.map_err(failed)? == 0, given: out.pos() })
    }
}

pub(super) struct Decoder(raw::Decoder<'static>);

impl Decoder {
    /// # Errors
    /// There is no memory for it.
    pub(super) fn new() -> io::Result<Self> {
        let mut core = raw::Decoder::new()?;
        core.set_parameter(DParameter::WindowLogMax(MOST_WINDOW))?;
        Ok(Self(core))
    }
}

impl Core for Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8], _: Drive) -> Result<Step, RecodeError> {
        let status = self.0.run_on_buffers(input, output);
        let status = status.map_err(|_| RecodeError::Malformed("it is not what its coding says"))?;
        Ok(Step { taken: status.bytes_read, given: status.bytes_written, is_done: status.remaining == 0 })
    }
}
