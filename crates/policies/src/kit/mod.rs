//! What the files of the list share: short forms, texts turned into types, the reference page.

pub(crate) mod codings;
pub(crate) mod digests;
pub(crate) mod forms;
pub(crate) mod key;
pub(crate) mod limits;
pub(crate) mod page;
pub(crate) mod reference;
#[cfg(test)]
mod tests;
pub(crate) mod vary;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use tollgate_core::policy::PolicyKind;

use crate::ENTRIES;
use crate::kit::forms::ShortForm;

/// One line of the list.
pub(crate) struct Entry {
    /// The file it is in, without `.rs`.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the generic tests ask for it"))]
    pub(crate) file: &'static str,
    /// The policy.
    pub(crate) kind: &'static PolicyKind,
    /// Its short forms.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the generic tests ask for it"))]
    pub(crate) short_forms: &'static [ShortForm],
    /// The lines of its page, each still with its `//!`.
    pub(crate) page: &'static [u8],
}

/// The schema of every policy by name, short forms included, each whole in itself: with the `$defs` that it refers to.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Schema)> {
    ENTRIES.iter().map(|entry| (entry.kind.name, schema(entry.kind))).collect()
}

/// The whole schema of one policy.
pub(crate) fn schema(kind: &PolicyKind) -> Schema {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = (kind.schema)(&mut generator);
    let definitions = generator.take_definitions(true);
    if !definitions.is_empty() {
        schema.insert("$defs".into(), definitions.into());
    }
    schema
}
