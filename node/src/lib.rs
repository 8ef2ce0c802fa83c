//! The Thalweg storage engine: durable streams on a local volume, served over HTTP.
//!
//! Each room imports only from those above it in this list; `tests/architecture.rs` holds it to that.

pub mod types;

pub mod codec;

pub mod config;
pub mod telemetry;

pub mod core;

pub mod seam;

pub mod store;

pub mod wire;

pub mod runtime;

pub mod admin;

pub mod tool;

pub mod http;

pub mod run;
