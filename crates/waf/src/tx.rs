//! The variables of a transaction.

use std::collections::BTreeMap;

use crate::compile::Names;
use crate::rule::Change;
use crate::template::number;
use crate::value::Key;

/// Most variables whose names vary.
const MOST: usize = 10_000;
/// Longest value, in bytes; what is longer is cut.
const LONGEST: usize = 64 << 10;

/// Variables by their numbers, and those whose names vary.
#[derive(Debug)]
pub(crate) struct Tx<'r> {
    names: &'r Names,
    known: Vec<Option<Vec<u8>>>,
    others: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'r> Tx<'r> {
    pub(crate) fn new(names: &'r Names) -> Self {
        Self { names, known: vec![None; names.all.len()], others: BTreeMap::new() }
    }

    pub(crate) fn get(&self, number: usize) -> Option<&[u8]> {
        self.known.get(number)?.as_deref()
    }

    pub(crate) fn set(&mut self, number: usize, change: Change, value: &[u8]) {
        if let Some(slot) = self.known.get_mut(number) {
            *slot = changed(slot.take(), change, value);
        }
    }

    /// The same by a name, in any case.
    pub(crate) fn set_named(&mut self, name: &[u8], change: Change, value: &[u8]) {
        let name = name.to_ascii_lowercase();
        let known = str::from_utf8(&name).ok().and_then(|name| self.names.known(name));
        if let Some(number) = known {
            return self.set(number, change, value);
        }
        let before = self.others.remove(&name);
        if let Some(value) = changed(before, change, value).filter(|_| self.others.len() < MOST) {
            self.others.insert(name, value);
        }
    }

    /// What was matched, and its groups.
    pub(crate) fn captured(&mut self, groups: &mut Vec<Vec<u8>>) {
        let mut groups = groups.drain(..);
        self.known.iter_mut().take(10).for_each(|slot| *slot = groups.next());
    }

    /// Those that are meant by a key, with their names.
    pub(crate) fn all<'t>(&'t self, key: &'t Key) -> impl Iterator<Item = (&'t [u8], &'t [u8])> {
        // By far the most are asked for by their number.
        let one = match key {
            Key::Tx(number) => Some(*number),
            _ => None,
        };
        let (known, others) = match one {
            Some(number) => (number..number + 1, None),
            None => (0..self.known.len(), Some(&self.others)),
        };
        let known = known.filter_map(|number| Some((self.names.all.get(number)?.as_bytes(), self.get(number)?)));
        let others = others.into_iter().flatten().map(|(name, value)| (name.as_slice(), value.as_slice()));
        known.chain(others).filter(move |(name, _)| one.is_some() || key.is(name))
    }
}

fn changed(before: Option<Vec<u8>>, change: Change, value: &[u8]) -> Option<Vec<u8>> {
    let was = || before.as_deref().map_or(0, number);
    match change {
        Change::Set => Some(value[..value.len().min(LONGEST)].to_vec()),
        Change::Add => Some(was().saturating_add(number(value)).to_string().into_bytes()),
        Change::Subtract => Some(was().saturating_sub(number(value)).to_string().into_bytes()),
        Change::Unset => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_counted_and_forgotten() {
        let mut names = Names::default();
        let score = names.number("Score");
        let mut tx = Tx::new(&names);
        tx.set(score, Change::Add, b"5");
        tx.set_named(b"SCORE", Change::Add, b"3");
        tx.set(score, Change::Subtract, b"1");
        assert_eq!(tx.get(score), Some(&b"7"[..]));
        tx.set_named(b"counter_A", Change::Add, b"1");
        let all: Vec<_> = tx.all(&Key::All).collect();
        assert_eq!(all, [(&b"score"[..], &b"7"[..]), (b"counter_a", b"1")]);
        assert_eq!((tx.all(&Key::Tx(score)).count(), tx.all(&Key::Named(b"sCore".to_vec())).count()), (1, 1));
        tx.set(score, Change::Unset, b"");
        assert_eq!(tx.get(score), None);
        tx.set(score, Change::Set, &vec![b'x'; LONGEST + 1]);
        assert_eq!(tx.get(score).map(<[u8]>::len), Some(LONGEST));
        tx.captured(&mut vec![b"whole".to_vec(), b"group".to_vec()]);
        assert_eq!((tx.get(0), tx.get(1), tx.get(2)), (Some(&b"whole"[..]), Some(&b"group"[..]), None));
    }
}
