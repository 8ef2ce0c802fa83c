//! The admin port: what whoever elects asks of a node and orders it to do, as JSON over HTTP. Calls are described in
//! `docs/admin.md`.
//!
//! Invariant: an order that was meant for another node is refused before anything happens, and every order may be
//! repeated. Decisions are those of `runtime`; here is their form alone.

mod body;
mod client;
mod governed;
mod orders;
mod routes;
mod seats;
mod server;
mod table;
pub mod words;

pub use body::parse;
pub use client::{AdminClient, AdminError};
pub use governed::{Governed, Pending};
pub use server::serve;

#[cfg(test)]
mod tests;
