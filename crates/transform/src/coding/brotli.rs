//! br.

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{BrotliEncoderDestroyInstance, BrotliEncoderOperation, BrotliEncoderStateStruct};
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use tollgate_core::body::RecodeError;

use super::drive::{Core, Drive, Step};

/// 512 KiB: what is compressed on the way is rarely larger, and each body that passes keeps a window of its own.
const WINDOW: i32 = 19;

pub(super) struct Encoder(Box<BrotliEncoderStateStruct<StandardAlloc>>);

impl Encoder {
    pub(super) fn new(level: u32) -> Self {
        let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
        state.params.quality = i32::try_from(level).unwrap_or(11).min(11);
        state.params.lgwin = WINDOW;
        Self(Box::new(state))
    }
}

impl Core for Encoder {
    fn step(&mut self, input: &[u8], output: &mut [u8], drive: Drive) -> Result<Step, RecodeError> {
        let operation = match drive {
            Drive::Go => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Drive::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
            Drive::Finish => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
        };
        let (mut taken, mut given) = (0, 0);
        let went_well = self.0.compress_stream(
            operation,
            &mut input.len(),
            input,
            &mut taken,
            &mut output.len(),
            output,
            &mut given,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !went_well {
            return Err(RecodeError::Malformed("it cannot be compressed"));
        }
        let is_done = match drive {
            Drive::Go => false,
            Drive::Flush => !self.0.has_more_output(),
            Drive::Finish => self.0.is_finished(),
        };
        Ok(Step { taken, given, is_done })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        BrotliEncoderDestroyInstance(&mut self.0);
    }
}

pub(super) struct Decoder(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>);

impl Decoder {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self(Box::new(BrotliState::new(alloc(), alloc(), alloc())))
    }
}

impl Core for Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8], _: Drive) -> Result<Step, RecodeError> {
        let (mut taken, mut given) = (0, 0);
        let result = BrotliDecompressStream(
            &mut input.len(),
            &mut taken,
            input,
            &mut output.len(),
            &mut given,
            output,
            &mut 0,
            &mut self.0,
        );
        match result {
            BrotliResult::ResultFailure => Err(RecodeError::Malformed("it is not what its coding says")),
            result => Ok(Step { taken, given, is_done: matches!(result, BrotliResult::ResultSuccess) }),
        }
    }
}
