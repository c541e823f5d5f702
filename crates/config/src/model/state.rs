//! `state`: where counters, marks, sessions and answers are kept.

use tollgate_core::section;
use tollgate_core::units::{Bounded, BoundedSize};

use crate::model::defaults::v1;

section! {
    /// Where limits are counted; where marks of what may be used once and sessions are kept, for all workers; and what other servers answered
    /// (of tokens, for tokens, with decisions): not asked again after a reload.
    pub struct State {
        /// Most bytes of memory for marks, sessions and answers. Once they are used, answers make room, and once there are none, what needs
        /// another entry is answered 503: no mark and no session is forgotten before its time.
        memory: BoundedSize<65_536, 68_719_476_736> = v1::STATE_MEMORY,
        /// About how many callers are known of each kind of limit (buckets, windows, the calendar), over all limits: beside it, some
        /// 40 bytes of memory for each. Beyond it those are forgotten who used least of theirs.
        counters: Bounded<1_000, 100_000_000> = v1::STATE_COUNTERS,
    }
}
