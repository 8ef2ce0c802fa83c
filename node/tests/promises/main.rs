//! The promises of the node's rooms, each a test named after it.
#![allow(missing_docs, reason = "tests are named after what they show")]

mod formats;
mod log_basics;
mod log_crash;
mod log_damage;
mod log_faults;
mod log_model;
mod volume;
