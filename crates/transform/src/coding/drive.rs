//! How a coding's library is driven: step by step into a bounded output, without losing count of what it holds back.

use tollgate_core::body::RecodeError;

use super::PIECE;

/// Room for the output of one step; grown by steps, so that a small input costs little.
const STEP: usize = 8 * 1024;

/// What a library is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drive {
    /// To go on.
    Go,
    /// To give all that it holds back.
    Flush,
    /// To end.
    Finish,
}

/// What one step did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Bytes taken from the input.
    pub(super) taken: usize,
    /// Bytes written to the output.
    pub(super) given: usize,
    /// What was asked is done; to a decoder: its content is at an end.
    pub(super) is_done: bool,
}

/// One direction of one coding.
pub(super) trait Core: Send {
    /// Reads from the start of `input`, writes to the start of `output`.
    fn step(&mut self, input: &[u8], output: &mut [u8], drive: Drive) -> Result<Step, RecodeError>;
}

/// Why driving stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// What was asked is done.
    Done,
    /// All of the input is taken, and nothing of it waits for room.
    Starved,
    /// The piece is full; there may be more.
    Full,
}

/// Drives `core` until the input is used up or the piece that begins at `start` of the output is full. Gives how much was
/// taken, and why it stopped. After an error there is no piece.
pub(super) fn drive(
    core: &mut dyn Core,
    input: &[u8],
    output: &mut Vec<u8>,
    start: usize,
    drive: Drive,
) -> Result<(usize, Halt), RecodeError> {
    let mut taken = 0;
    loop {
        let before = output.len();
        let room = STEP.min(PIECE.saturating_sub(before - start));
        if room == 0 {
            return Ok((taken, Halt::Full));
        }
        output.resize(before + room, 0);
        let rest = input.get(taken..).unwrap_or_default();
        let step = core.step(rest, &mut output[before..], drive).inspect_err(|_| output.truncate(start))?;
        output.truncate(before + step.given);
        taken += step.taken;
        if step.is_done {
            return Ok((taken, Halt::Done));
        }
        // With room left over, nothing is held back for the want of it.
        if step.given < room && taken == input.len() && drive == Drive::Go {
            return Ok((taken, Halt::Starved));
        }
        if step.taken == 0 && step.given == 0 {
            output.truncate(start);
            return Err(RecodeError::Malformed("the content does not go on"));
        }
    }
}
