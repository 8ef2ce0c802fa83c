//! The promises of the node's rooms, each a test named after it.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic"
)]

mod formats;
mod log_basics;
mod log_crash;
mod log_damage;
mod log_faults;
mod log_model;
mod volume;
