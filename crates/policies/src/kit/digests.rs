//! Fields that tell of a body's bytes: once they change, what these say is wrong.

use tollgate_core::head::Fields;

/// RFC 9530 (`Content-Digest`, `Repr-Digest`), its forerunner RFC 3230, `Content-MD5` (RFC 1864), and the length.
const DIGESTS: [&str; 5] = ["Content-Length", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"];

/// Takes them away.
pub(crate) fn remove(fields: &mut Fields) {
    for name in DIGESTS {
        fields.remove(name);
    }
}
