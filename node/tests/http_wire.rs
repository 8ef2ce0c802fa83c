//! The connection engine against hostile and unlucky clients, on loopback: raw bytes in, expected answers out.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "http/echo.rs"]
mod echo;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/orderly.rs"]
mod orderly;
#[path = "http/slow.rs"]
mod slow;
