//! The promises of the node's library, one module each; the list of modules is the list of promises.
#![allow(missing_docs, reason = "tests are named after what they show")]

mod engine_restart;
mod log_basics;
mod table_model;
