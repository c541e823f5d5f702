//! The list of policies, one file each.
/// ALL
pub static ALL: &[&tollgate_core::policy::PolicyKind] = &[];
/// page
pub fn reference_markdown() -> String { String::new() }
