//! Rules of SecLang, held against requests: the part of that language that the OWASP Core Rule Set uses for them.
//!
//! | Step | Code |
//! |---|---|
//! | files become lines of words, with their places | `read.rs` |
//! | words become directives, targets, actions | `parse.rs` |
//! | what is asked for is made ready, and nothing else | `compile.rs`, `operator.rs`, `pipeline.rs` |
//! | a request becomes values | `values.rs`, `body.rs` |
//! | rules are run, in their order, for so much work and no more | `transaction.rs` |
//!
//! What the engine does not know is a mistake of the file, with its place. Rules that it knows and does not run (answers, a memory from one request to
//! the next, questions to other servers) are named by [`Guard::not_run`].

#![forbid(unsafe_code)]

mod body;
mod compile;
mod guard;
mod mistake;
mod operator;
mod parse;
mod pipeline;
mod read;
mod request;
mod rule;
mod ruleset;
mod template;
mod texts;
mod transaction;
mod transform;
mod tx;
mod value;
mod values;

pub use guard::{Exclusion, Guard, NotRun, Target, Tuning};
pub use mistake::Mistake;
pub use request::Request;
pub use ruleset::{Ruleset, Settings};
pub use transaction::{Finding, Refusal, Verdict};
