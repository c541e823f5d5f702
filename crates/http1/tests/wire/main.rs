//! The grammar as a whole: whatever is accepted has one meaning, for us, for those behind us, and for two other readers.

// Helpers of tests may fail like tests; clippy knows only the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may fail like tests")]

mod any_cut;
mod arbitrary;
mod bodies;
mod forward;
mod forwarding;
mod generate;
mod one_message;
mod ours;
mod second;
mod second_opinion;
mod splits;
mod stricter;
