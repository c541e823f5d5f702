//! Config compiled to an immutable plan: matcher, routes, explain.

#![forbid(unsafe_code)]

mod chain;
mod compile;
mod conditions;
pub mod diff;
mod explain;
pub mod faults;
mod hedge;
pub mod matcher;
mod plan;
mod readings;
mod table;
mod template;
#[cfg(test)]
mod testing;

pub use compile::{Compiled, compile};
pub use explain::{Explained, explain};
pub use hedge::Hedge;
pub use matcher::Captures;
pub use plan::{Found, Plan};
pub use table::{
    Action, Bounds, DeadlineField, Fallback, Fixed, Instead, Link, Mirror, Proxy, Redirect, RoutePlan, Says,
};
pub use template::{PathPlan, TargetPlan};
