//! `paths`: what is done with paths that services may read in more than one way.

use tollgate_core::section;

use crate::model::defaults::v1;
use tollgate_core::text::words;

words! {
    /// What is done with a path that has such a thing.
    pub enum Unusual {
        /// It is matched and sent on as it is.
        Keep = "keep",
        /// The same, but refused where another reading would have met another route.
        Check = "check",
        /// It is refused.
        Refuse = "refuse",
    }
}

section! {
    /// What is done with paths that services may read in more than one way; refused means 400.
    pub struct Paths {
        /// Parameters (`/orders;v=1`), which servlet containers drop: `keep`, `check` (refused if the path without them
        /// belongs to another route) or `refuse`.
        parameters: Unusual = v1::PATH_UNUSUAL,
        /// Encoded slashes (`/orders%2F7`), which some servers decode: `keep`, `check` (refused if the decoded path belongs to
        /// another route) or `refuse`.
        encoded_slashes: Unusual = v1::PATH_UNUSUAL,
    }
}
