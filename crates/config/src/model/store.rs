//! `store`: where marks, sessions and answers are kept.

use tollgate_core::section;
use tollgate_core::units::BoundedSize;

use crate::model::defaults::v1;

section! {
    /// Where marks of what may be used once and sessions are kept, for all workers, and what other servers answered (of tokens, for
    /// tokens, with decisions): not asked again after a reload.
    pub struct Store {
        /// Most bytes of memory for them. Once they are used, answers make room, and once there are none, what needs another entry is
        /// answered 503: no mark and no session is forgotten before its time.
        memory: BoundedSize<65_536, 68_719_476_736> = v1::STORE_MEMORY,
    }
}
