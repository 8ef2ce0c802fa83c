//! The promises of the node's library, one module each; the list of modules is the list of promises.
#![allow(missing_docs, reason = "tests are named after what they show")]

mod engine_restart;
mod formats;
mod log_basics;
mod log_crash;
mod log_damage;
mod log_faults;
mod log_model;
mod table_crash;
mod table_damage;
mod table_disk;
mod table_faults;
mod table_model;
mod table_speed;
mod volume;
