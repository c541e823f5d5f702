//! `start`: what the gateway starts with when its config is wrong.

use tollgate_core::text::words;

words! {
    /// What the gateway starts with when its config is wrong.
    pub enum Start {
        /// It does not.
        Strict = "strict",
        /// With the config that was last in force, from the folder `data`.
        LastGood = "last-good",
    }
}
