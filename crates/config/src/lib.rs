//! The file a user writes: reading, merging, sections, schema, formatting.
//!
//! The way of a file: [`read()`] (YAML to nodes) → merge → references → short forms rewritten → decoded into
//! [`model`] → checked across sections. [`load()`] does all of it and tells every mistake at once.

#![forbid(unsafe_code)]

mod check;
mod desugar;
pub mod diagnose;
mod fmt;
mod later;
mod load;
mod merge;
pub mod model;
mod partial;
mod read;
mod references;
mod schema;
mod syntax;

pub use desugar::ShortForms;
pub use diagnose::{Look, Report};
pub use fmt::{format, format_tree};
pub use load::{Loaded, Part, is_read, load, load_part, load_text, load_texts, sources};
pub use model::Config;
pub use model::route::{known_route_keys, known_setting_keys};
pub use partial::Partial;
pub use read::{LARGEST, read};
pub use references::{Environment, redact, redact_text};
pub use schema::{reference_markdown, schema};
