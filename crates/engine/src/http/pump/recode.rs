//! A body's recoders, one behind the other, fed piece by piece.
//!
//! Each takes its input only when the one behind it asks for more, so that no more is held than one output of each.

use bytes::Bytes;
use tollgate_core::body::{Finish, RecodeError, Recoder};
use tollgate_core::problem::Fault;

/// Recoders in order, the first one reads what the source gives.
#[derive(Debug)]
pub(super) struct Chain {
    stages: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    recoder: Box<dyn Recoder>,
    input: Bytes,
    /// No more input will come.
    over: bool,
    /// No more output will come.
    done: bool,
    /// Took something since it was last flushed.
    holds: bool,
}

/// What asking for output gives.
pub(super) enum Pulled {
    /// A piece, not empty.
    Piece(Bytes),
    /// The source must give more first.
    Hungry,
    /// There is no more.
    Done,
}

/// An error of one of the recoders, and what the sender is told of it.
pub(super) type Failure = (RecodeError, Option<&'static Fault>);

impl Chain {
    pub(super) fn new(recoders: Vec<Box<dyn Recoder>>) -> Self {
        let stage = |recoder| Stage { recoder, input: Bytes::new(), over: false, done: false, holds: false };
        Self { stages: recoders.into_iter().map(stage).collect() }
    }

    /// The source gave this; only after [`Pulled::Hungry`].
    pub(super) fn push(&mut self, piece: Bytes) {
        if let Some(first) = self.stages.first_mut() {
            first.input = piece;
        }
    }

    /// The source gave its last.
    pub(super) fn end(&mut self) {
        if let Some(first) = self.stages.first_mut() {
            first.over = true;
        }
    }

    /// The next piece.
    pub(super) fn pull(&mut self) -> Result<Pulled, Failure> {
        pull(&mut self.stages)
    }

    /// The source pauses: what was held back, if anything was.
    pub(super) fn flush(&mut self) -> Result<Option<Bytes>, Failure> {
        for at in 0..self.stages.len() {
            let stage = &mut self.stages[at];
            if !stage.holds {
                continue;
            }
            let mut output = Vec::new();
            let flushed = stage.recoder.flush(&mut output).map_err(|error| (error, stage.recoder.fault(error)))?;
            stage.holds = flushed == Finish::More;
            if output.is_empty() {
                continue;
            }
            match self.stages.get_mut(at + 1) {
                Some(next) => next.input = output.into(),
                None => return Ok(Some(output.into())),
            }
            if let Pulled::Piece(piece) = self.pull()? {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

fn pull(stages: &mut [Stage]) -> Result<Pulled, Failure> {
    let Some((stage, before)) = stages.split_last_mut() else { return Ok(Pulled::Done) };
    loop {
        let mut output = Vec::new();
        if !stage.input.is_empty() {
            let taken = stage.recoder.recode(&stage.input, &mut output);
            let taken = taken.map_err(|error| (error, stage.recoder.fault(error)))?;
            let _ = stage.input.split_to(taken.min(stage.input.len()));
            stage.holds = true;
            if taken == 0 && output.is_empty() {
                let stuck = RecodeError::Malformed("a coding that makes nothing of what it is given");
                return Err((stuck, stage.recoder.fault(stuck)));
            }
        } else if stage.done {
            return Ok(Pulled::Done);
        } else if stage.over {
            let finished = stage.recoder.finish(&mut output);
            stage.done = finished.map_err(|error| (error, stage.recoder.fault(error)))? == Finish::Done;
        } else if before.is_empty() {
            return Ok(Pulled::Hungry);
        } else {
            match pull(before)? {
                Pulled::Piece(piece) => stage.input = piece,
                Pulled::Hungry => return Ok(Pulled::Hungry),
                Pulled::Done => stage.over = true,
            }
        }
        if !output.is_empty() {
            return Ok(Pulled::Piece(output.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes every byte twice, two input bytes at a time, and a dot at the end; holds one byte back.
    #[derive(Debug, Default)]
    struct Doubling(Option<u8>);

    impl Recoder for Doubling {
        fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
            for byte in &input[..input.len().min(2)] {
                if *byte == b'!' {
                    return Err(RecodeError::TooLarge);
                }
                if let Some(held) = self.0.replace(*byte) {
                    output.extend_from_slice(&[held, held]);
                }
            }
            Ok(input.len().min(2))
        }

        fn flush(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
            output.extend(self.0.take().into_iter().flat_map(|held| [held, held]));
            Ok(Finish::Done)
        }

        fn finish(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
            let before = output.len();
            self.flush(output)?;
            if output.len() > before {
                return Ok(Finish::More);
            }
            output.push(b'.');
            Ok(Finish::Done)
        }
    }

    fn chain(n: usize) -> Chain {
        Chain::new((0..n).map(|_| Box::new(Doubling::default()) as Box<dyn Recoder>).collect())
    }

    /// All that comes until the chain is hungry or done.
    fn drained(chain: &mut Chain) -> String {
        let mut all = Vec::new();
        while let Pulled::Piece(piece) = chain.pull().unwrap() {
            all.extend_from_slice(&piece);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn what_is_given_comes_out_in_order_and_ends_once() {
        let mut one = chain(1);
        assert_eq!(drained(&mut one), "");
        one.push("abc".into());
        assert_eq!(drained(&mut one), "aabb");
        one.push("d".into());
        assert_eq!(drained(&mut one), "cc");
        one.end();
        assert_eq!(drained(&mut one), "dd.");
        assert!(matches!(one.pull(), Ok(Pulled::Done)));
    }

    #[test]
    fn each_reads_what_the_one_before_it_gives() {
        let mut two = chain(2);
        two.push("ab".into());
        two.end();
        assert_eq!(drained(&mut two), "aaaabbbb...");
    }

    #[test]
    fn a_pause_brings_out_what_is_held_back_and_that_once() {
        let mut two = chain(2);
        two.push("ab".into());
        assert_eq!(drained(&mut two), "aa");
        let mut paused = String::new();
        while let Some(piece) = two.flush().unwrap() {
            paused.push_str(std::str::from_utf8(&piece).unwrap());
        }
        assert_eq!(paused, "aabbbb");
        two.end();
        assert_eq!(drained(&mut two), "..".to_owned() + ".");
    }

    #[test]
    fn an_error_of_one_is_an_error_of_all() {
        let mut two = chain(2);
        two.push("!".into());
        assert!(matches!(two.pull(), Err((RecodeError::TooLarge, None))));
    }
}
