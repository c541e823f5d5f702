//! Who waits: those that matter most come first, among them those that came first.

use std::collections::VecDeque;

use tollgate_core::criticality::Criticality;

/// A line with an end.
#[derive(Debug)]
pub(super) struct Line<T> {
    most: usize,
    /// In the order of [`Criticality::ALL`].
    lines: [VecDeque<T>; 4],
}

impl<T> Line<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, lines: Default::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// Joins. When it is full, the last of those that matter least makes room for what matters more.
    ///
    /// # Errors
    /// There is nobody who matters less.
    pub(super) fn join(&mut self, who: T, criticality: Criticality, is_gone: impl Fn(&T) -> bool) -> Result<(), T> {
        if self.len() >= self.most {
            self.clear(is_gone);
        }
        if self.len() >= self.most {
            let less = self.lines[..criticality.index()].iter_mut().find(|line| !line.is_empty());
            match less {
                // Dropped, it knows.
                Some(line) => drop(line.pop_back()),
                None => return Err(who),
            }
        }
        self.lines[criticality.index()].push_back(who);
        Ok(())
    }

    /// The next.
    pub(super) fn next(&mut self) -> Option<T> {
        self.lines.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Lets go of those in front that have gone. All wait equally long, so that is most of them.
    fn clear(&mut self, is_gone: impl Fn(&T) -> bool) {
        for line in &mut self.lines {
            while line.front().is_some_and(&is_gone) {
                line.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_matters_most_comes_first_and_the_last_of_the_least_makes_room() {
        let mut line = Line::new(4);
        let mut join = |who: u32, criticality| line.join(who, criticality, |who| *who == 10);
        assert_eq!(join(1, Criticality::Low), Ok(()));
        assert_eq!(join(2, Criticality::High), Ok(()));
        assert_eq!(join(3, Criticality::Low), Ok(()));
        assert_eq!(join(4, Criticality::Normal), Ok(()));
        assert_eq!(join(5, Criticality::Low), Err(5), "nobody matters less");
        assert_eq!(join(6, Criticality::High), Ok(()), "3 made room");
        assert_eq!(join(7, Criticality::Critical), Ok(()), "1 made room");
        assert_eq!(join(8, Criticality::Normal), Err(8));
        let order: Vec<u32> = std::iter::from_fn(|| line.next()).collect();
        assert_eq!(order, [7, 2, 6, 4]);
    }

    #[test]
    fn who_has_gone_takes_no_room() {
        let mut line = Line::new(2);
        for who in [10, 10, 1, 2] {
            assert_eq!(line.join(who, Criticality::Low, |who| *who == 10), Ok(()));
        }
        assert_eq!(line.join(3, Criticality::Low, |who| *who == 10), Err(3));
        assert_eq!((Line::<u32>::new(0).join(1, Criticality::Critical, |_| false), line.len()), (Err(1), 2));
    }
}
