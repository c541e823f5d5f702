//! Lists of transformations. Each is another one and one transformation more, so that what several rules begin with is done once.

use crate::transform::{self, Apply};

/// All lists of a set of rules; number 0 is the empty one.
#[derive(Debug, Default)]
pub(crate) struct Pipelines(Vec<Step>);

struct Step {
    parent: usize,
    name: String,
    apply: Apply,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("parent", &self.parent).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pipelines {
    /// The list `parent` and this transformation; `None`: there is none of this name.
    pub(crate) fn then(&mut self, parent: usize, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let known = self.0.iter().position(|step| step.parent == parent && step.name == name);
        let Some(at) = known else {
            let apply = transform::named(&name)?;
            self.0.push(Step { parent, name, apply });
            return Some(self.0.len());
        };
        Some(at + 1)
    }

    /// How many there are, with the empty one.
    pub(crate) fn len(&self) -> usize {
        self.0.len() + 1
    }

    /// What the list is made of; `None`: it is the empty one.
    pub(crate) fn step(&self, number: usize) -> Option<(usize, Apply)> {
        let step = self.0.get(number.checked_sub(1)?)?;
        Some((step.parent, step.apply))
    }

    /// The list and all that it begins with, the empty one first.
    pub(crate) fn stages(&self, number: usize) -> Vec<usize> {
        let mut stages = vec![number];
        let mut at = number;
        while let Some((parent, _)) = self.step(at) {
            stages.push(parent);
            at = parent;
        }
        stages.reverse();
        stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_share_what_they_begin_with() {
        let mut all = Pipelines::default();
        let decoded = all.then(0, "urlDecodeUni").unwrap();
        let lower = all.then(decoded, "lowercase").unwrap();
        assert_eq!(all.then(0, "URLDECODEUNI"), Some(decoded));
        assert_eq!((all.stages(lower), all.stages(0), all.len()), (vec![0, decoded, lower], vec![0], 3));
        assert_eq!(all.then(0, "nothing"), None);
    }
}
