//! One workload, one checker, and the worlds that they run in.
//!
//! `server` starts and stops processes (ours and rivals), `client` speaks HTTP to them, `workload` makes traffic,
//! `history` records what was asked and answered, `checker` judges it; `cluster` runs several nodes with a `driver`
//! that elects and a `proxy` on every way between them; `conformance` runs the official suite, `official` the
//! official client, and `bench` measures. Nothing here is part of the product.

pub mod bench;
pub mod checker;
pub mod client;
pub mod cluster;
pub mod conformance;
pub mod cycles;
pub mod dice;
pub mod driver;
pub mod growth;
pub mod history;
pub mod model;
pub mod official;
pub mod proxy;
pub mod server;
pub mod sim;
pub mod stopwatch;
pub mod workload;
