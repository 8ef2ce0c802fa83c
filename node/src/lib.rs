//! The Thalweg storage engine: durable streams on a local volume, served over HTTP.
//!
//! Each room imports only from those above it in this list; `tests/architecture.rs` holds it to that.

pub mod core;
pub mod http;
pub mod runtime;
pub mod seam;
pub mod types;
