//! The world of several real nodes: their processes, disks and the network between them, a driver, clients on every node,
//! and everything that can happen to all of these.
//!
//! Invariants: one history over all nodes and all their lives; whatever is started here ends with its [`World`].

mod gap;
mod kills;
mod line;
mod network;
mod ports;
mod seat;
mod show;
mod trouble;
mod volume;
mod work;
mod world;

pub use gap::{Gap, GapMeter};
pub use kills::{Kill, Kills};
pub use line::{Line, Place};
pub use network::Network;
pub use show::{Show, show};
pub use trouble::{Happened, Trouble};
pub use volume::SmallVolume;
pub use work::{Outcome, Work};
pub use world::{Options, World};
