//! Writes on a node that does not lead, on loopback: passed on to the leader, held while there is none, never sent twice.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "http_forward/trouble.rs"]
mod trouble;
#[path = "http_forward/world.rs"]
mod world;
#[path = "http_forward/writes.rs"]
mod writes;
