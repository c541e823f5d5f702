//! Config compiled to an immutable plan: matcher, routes, explain.

pub mod matcher;
