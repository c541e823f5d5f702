//! `drain`: how the gateway stops.

use tollgate_core::section;
use tollgate_core::units::Period;

use crate::model::defaults::v1;

section! {
    /// How the gateway stops.
    pub struct Drain {
        /// How long it serves on as before once it is told to stop, and only says that it is not ready: as long as balancers
        /// take to see that. Without it, not at all.
        lead: Option<Period>,
        /// How long requests in flight may take to finish after that.
        time: Period = v1::DRAIN_TIME,
    }
}
