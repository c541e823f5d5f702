//! How much it matters that a request is served: what is refused first when not all can be.

use crate::text::words;

words! {
    /// How much it matters that a request is served.
    pub enum Criticality {
        /// Can be refused first: it is repeated by itself, or nobody waits for it.
        Low = "low",
        /// What most requests are.
        Normal = "normal",
        /// People wait for it.
        High = "high",
        /// Refused only when nothing else helps.
        Critical = "critical",
    }
}

#[expect(clippy::derivable_impls, reason = "`words!` writes the enum, so nothing can be derived for it")]
impl Default for Criticality {
    fn default() -> Self {
        Self::Normal
    }
}

impl Criticality {
    /// All of them, the one that is refused first before the others.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// Its place in [`Criticality::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_place() {
        assert_eq!(Criticality::ALL.map(Criticality::index), [0, 1, 2, 3]);
        assert_eq!(Criticality::default().as_str(), "normal");
    }
}
