//! Somebody else who decides whether a request may be made: a port, implemented by `identity`.

use std::fmt;

use crate::exchange::Exchange;
use crate::policy::BoxFuture;
use crate::principal::Standing;
use crate::problem::Problem;

/// What came of a question.
pub enum Deciding {
    /// It was answered before.
    Known(Result<(), Problem>),
    /// It is being asked.
    Asking(BoxFuture<'static, Result<(), Problem>>),
}

/// Decides about requests, once it is known who calls.
pub trait DecisionPoint: fmt::Debug + Send + Sync + 'static {
    /// Its name under `decisions`.
    fn name(&self) -> &str;

    /// Asks whether this request may be made. A problem says that it may not (403), or that nobody could tell (503).
    fn decide(&self, x: &Exchange) -> Deciding;

    /// Who decides, in a few words.
    fn describe(&self) -> String;

    /// Whether it can tell now.
    fn standing(&self) -> Standing;
}
