//! One workload, one checker, and the worlds that they run in.
//!
//! `server` starts and stops processes (ours and rivals), `client` speaks HTTP to them, `workload` makes traffic,
//! `history` records what was asked and answered, `checker` judges it; `conformance` runs the official suite and
//! `bench` measures. Nothing here is part of the product.

pub mod bench;
pub mod checker;
pub mod client;
pub mod conformance;
pub mod cycles;
pub mod dice;
pub mod driver;
pub mod growth;
pub mod history;
pub mod model;
pub mod proxy;
pub mod server;
pub mod sim;
pub mod stopwatch;
pub mod workload;
