//! Workers, listeners, the way of a request. Knows no policy by name; what is decided before a request comes is in the
//! plan.

#![forbid(unsafe_code)]

mod bind;
mod content;
mod crowd;
mod deadline;
mod deployment;
mod drain;
mod fallback;
pub mod faults;
mod finish;
mod forward;
mod gateway;
mod hops;
mod http;
mod identify;
mod listener;
mod mirror;
pub mod overload;
mod pace;
mod rarely;
mod recall;
mod rehearsal;
mod respond;
mod security;
mod serve;
mod tunnel;
mod worker;

pub use bind::{BindError, Bound, Port, SocketFile, adopt, bind, is_of};
pub use crowd::Admission;
pub use deployment::{Backend, Correlation, Deployment, Retrying, Rules, StickyCookie};
pub use drain::{Drain, Stage};
pub use gateway::{Change, Gateway, Listening, Parts, Serves};
pub use http::{Forward, Greeting};
pub use identify::identify;
pub use recall::Recall;
pub use rehearsal::{Answered, Asked, Forwarded, StandIn, rehearse};
