//! The promises of the node's rooms, each a test named after it.
#![allow(missing_docs, reason = "tests are named after what they show")]

mod log_basics;
