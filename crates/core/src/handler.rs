//! Answers that the gateway computes itself: health, metrics, status; later admin, keys, files.

use std::time::Duration;

use crate::exchange::Exchange;
use crate::policy::BoxFuture;
use crate::problem::Problem;
use crate::reply::Reply;

/// Something that answers an exchange in place of a service.
pub trait Handler: std::fmt::Debug + Send + Sync + 'static {
    /// The answer.
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>>;

    /// Most bytes of a request's body that it wants to have in `x.content`; 0: it wants none.
    fn most_content(&self) -> usize {
        0
    }

    /// For how long it may wait on purpose (a long poll), beyond the time that every answer may take.
    fn most_wait(&self) -> Duration {
        Duration::ZERO
    }

    /// What answers, for `explain`.
    fn describe(&self) -> String {
        "the gateway itself".to_owned()
    }
}
