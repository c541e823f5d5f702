//! The file a user writes: reading, merging, sections, schema, formatting.
