//! What several nodes do together, ours beside a rival's: appends that a majority holds, what a follower costs, how far it lags, and how
//! fast an empty one catches up.
//!
//! Invariant: each fleet has the machine to itself while it runs; rivals take turns, round by round, on fresh directories.

mod append;
mod armdb;
mod bare;
mod catch_up;
mod cluster;
mod cost;
mod fleet;
mod lag;
mod level;
mod streaming;
mod syncs;
mod ursula;
mod verbs;

pub use verbs::Verb;
