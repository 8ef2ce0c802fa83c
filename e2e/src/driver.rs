//! A small operator without Kubernetes: the failovers that the product decides, carried out against real processes, with
//! the cluster's record in a file.
//!
//! Invariants: it decides nothing about leaders itself, that is `core::failover`; the record changes only by
//! compare-and-set under a lock, so several drivers may share one; who a replica is, is its volume's incarnation, and an
//! empty disk under an old name becomes another replica.

mod asks;
mod bootstrap;
mod desk;
mod drive;
mod levels;
mod members;
mod news;
mod plan;
mod record;
mod table;
mod unclean;
mod visit;

pub use bootstrap::{BootstrapError, bootstrap};
pub use drive::{Driver, Setup};
pub use news::{News, View};
pub use plan::{Detour, Plan, Planned};
pub use record::{RecordError, RecordFile};
pub use table::{GivenUp, Outcast, Table, Wish};
pub use unclean::{price, wish};

#[cfg(test)]
mod tests;
