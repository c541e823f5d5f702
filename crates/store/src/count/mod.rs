//! How limits are counted, and where words of state are by key: what all stores share.

pub(crate) mod bucket;
pub(crate) mod calendar;
pub(crate) mod sliding;
pub(crate) mod table;
