//! A body's recoders, one behind the other, fed piece by piece.
//!
//! Each takes its input only when the one behind it asks for more, so that no more is held than one output of each.

use bytes::Bytes;
use tollgate_core::body::{Finish, Length, RecodeError, Recoder};
use tollgate_core::problem::Problem;

/// Recoders at work on one body.
#[derive(Debug)]
pub(super) struct Recoding {
    pub(super) chain: Chain,
    /// They gave their last.
    pub(super) done: bool,
    /// How much they will give, if they only look and that is known.
    told: Option<u64>,
    /// How much they gave.
    given: u64,
    /// The last piece of a body whose length was told: with it the body would be whole, so it waits until they agree to all of it.
    pub(super) last: Bytes,
}

impl Recoding {
    pub(super) fn new(recoders: Vec<Box<dyn Recoder>>, length: Length) -> Self {
        let chain = Chain::new(recoders);
        let told = match length {
            Length::Known(told) if chain.only_looks() => Some(told),
            _ => None,
        };
        Self { chain, done: false, told, given: 0, last: Bytes::new() }
    }

    /// They gave this. What may go on now, if anything.
    pub(super) fn pass(&mut self, piece: Bytes) -> Bytes {
        self.given += piece.len() as u64;
        match self.told {
            Some(told) if self.given >= told => std::mem::replace(&mut self.last, piece),
            Some(_) | None => piece,
        }
    }

    /// The same body will come once more; only if they only look.
    pub(super) fn start_over(&mut self) {
        self.chain.start_over();
        (self.done, self.given, self.last) = (false, 0, Bytes::new());
    }
}

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
pub(super) type Failure = (RecodeError, Option<Problem>);

impl Chain {
    pub(super) fn new(recoders: Vec<Box<dyn Recoder>>) -> Self {
        let stage = |recoder| Stage { recoder, input: Bytes::new(), over: false, done: false, holds: false };
        Self { stages: recoders.into_iter().map(stage).collect() }
    }

    /// Whether all of them only look, so that what comes out is as long as what goes in.
    pub(super) fn only_looks(&self) -> bool {
        self.stages.iter().all(|stage| stage.recoder.only_looks())
    }

    /// The same body will come once more; only if all of them only look.
    pub(super) fn start_over(&mut self) {
        for stage in &mut self.stages {
            stage.recoder.start_over();
            (stage.input, stage.over, stage.done, stage.holds) = (Bytes::new(), false, false, false);
        }
    }

    /// What the first of them that refuses nobody would have refused.
    pub(super) fn shadow(&self) -> Option<Problem> {
        self.stages.iter().find_map(|stage| stage.recoder.shadow())
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
            let flushed = stage.recoder.flush(&mut output).map_err(|error| (error, stage.recoder.problem(error)))?;
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
            let taken = taken.map_err(|error| (error, stage.recoder.problem(error)))?;
            let _ = stage.input.split_to(taken.min(stage.input.len()));
            stage.holds = true;
            if taken == 0 && output.is_empty() {
                let stuck = RecodeError::Malformed("a coding that makes nothing of what it is given");
                return Err((stuck, stage.recoder.problem(stuck)));
            }
        } else if stage.done {
            return Ok(Pulled::Done);
        } else if stage.over {
            let finished = stage.recoder.finish(&mut output);
            stage.done = finished.map_err(|error| (error, stage.recoder.problem(error)))? == Finish::Done;
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

    /// Passes everything on; agrees at the end to what has an even number of bytes.
    #[derive(Debug, Default)]
    struct Even(usize);

    impl Recoder for Even {
        fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
            self.0 += input.len();
            output.extend_from_slice(input);
            Ok(input.len())
        }

        fn finish(&mut self, _: &mut Vec<u8>) -> Result<Finish, RecodeError> {
            if self.0.is_multiple_of(2) { Ok(Finish::Done) } else { Err(RecodeError::Malformed("odd")) }
        }

        fn only_looks(&self) -> bool {
            true
        }

        fn start_over(&mut self) {
            self.0 = 0;
        }
    }

    fn even(length: Length) -> Recoding {
        Recoding::new(vec![Box::new(Even::default()), Box::new(Even::default())], length)
    }

    #[test]
    fn the_piece_that_makes_a_body_whole_waits() {
        for (length, expected) in
            [(Length::Known(4), ["ab", ""]), (Length::Known(9), ["ab", "cd"]), (Length::Chunked, ["ab", "cd"])]
        {
            let mut recoding = even(length);
            assert_eq!([recoding.pass("ab".into()), recoding.pass("cd".into())], expected, "{length:?}");
            assert_eq!(recoding.last, if expected[1].is_empty() { "cd" } else { "" });
        }
        let mut changed =
            Recoding::new(vec![Box::new(Even::default()), Box::new(Doubling::default())], Length::Known(2));
        assert_eq!(changed.pass("ab".into()), "ab", "what changes it is not bound to its length");
    }

    #[test]
    fn those_that_only_look_can_start_over() {
        let mut recoding = even(Length::Known(4));
        assert!(recoding.chain.only_looks() && !chain(1).only_looks());
        recoding.chain.push("abc".into());
        assert_eq!(drained(&mut recoding.chain), "abc");
        recoding.pass("abcd".into());
        recoding.start_over();
        assert_eq!((recoding.given, recoding.last.len()), (0, 0));
        recoding.chain.push("ab".into());
        assert_eq!(drained(&mut recoding.chain), "ab");
        recoding.chain.end();
        assert!(matches!(recoding.chain.pull(), Ok(Pulled::Done)), "what came before does not count");
    }

    #[test]
    fn an_error_of_one_is_an_error_of_all() {
        let mut two = chain(2);
        two.push("!".into());
        assert!(matches!(two.pull(), Err((RecodeError::TooLarge, None))));
    }
}
