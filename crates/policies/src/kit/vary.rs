//! `Vary`: what an answer depends on (RFC 9110 §12.5.5).

use tollgate_core::head::Fields;

/// Adds a name to what the answer depends on already.
pub(crate) fn add(fields: &mut Fields, name: &'static str) {
    let lines: Vec<&[u8]> = fields.all("vary").filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return fields.set("Vary", name);
    }
    let mut names = lines.iter().flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    if names.any(|have| have == b"*" || have.eq_ignore_ascii_case(name.as_bytes())) {
        return;
    }
    let merged = [lines.as_slice(), &[name.as_bytes()]].concat().join(&b", "[..]);
    fields.set("Vary", merged);
}
