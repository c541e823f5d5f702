//! A set of rules, as files have it.

use std::path::Path;

use crate::compile::{self, Compiled};
use crate::mistake::Mistake;
use crate::read;

/// Where rules are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The files, with `*` and `?` in the last part of a name.
    pub files: Vec<String>,
    /// Where relative names begin.
    pub base: std::path::PathBuf,
    /// The level of paranoia that holds whatever they say: rules above it are not made ready.
    pub level: Option<u64>,
}

/// A set of rules, made ready. Large, and the same for all who have the same files.
#[derive(Debug)]
pub struct Ruleset(pub(crate) Compiled);

impl Ruleset {
    /// Reads files of rules. Blocks.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(settings: &Settings) -> Result<Self, Mistake> {
        let (directives, seen) = read::files(&settings.files, &settings.base)?;
        let mut compiled = compile::compile(directives, settings.level)?;
        compiled.names.seen.and(seen);
        Ok(Self(compiled))
    }

    /// Whether a file that it was read from is another one now. Blocks.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.names.seen.has_changed()
    }

    /// The rules of a text, which names no other files but by whole paths.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(name: &str, text: &str) -> Result<Self, Mistake> {
        Ok(Self(compile::compile(read::text(Path::new(name), text)?, None)?))
    }
}
