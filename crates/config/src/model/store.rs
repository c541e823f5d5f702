//! `store`: where marks and sessions are kept.

use tollgate_core::section;
use tollgate_core::units::BoundedSize;

use crate::model::defaults::v1;

section! {
    /// Where marks of what may be used once and sessions are kept, for all workers.
    pub struct Store {
        /// Most bytes of memory for them. Once they are used, what needs another entry is answered 503: none is forgotten before its
        /// time.
        memory: BoundedSize<65_536, 68_719_476_736> = v1::STORE_MEMORY,
    }
}
