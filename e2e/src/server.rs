//! Servers under test: which ones there are, how each is started, and a running one with its log and its cost.
//!
//! Invariant: a process that was started here ends with its [`Server`]; nothing else is ever signalled.

mod build;
mod complaints;
mod descriptors;
mod kind;
mod process;

pub use build::{node_binary, rival_binary, workspace_root};
pub use complaints::{complaints, is_complaint};
pub use descriptors::allow_descriptors;
pub use kind::{AolMode, FsyncMode, NodeOptions, ServerKind};
pub use process::{Cost, Server};
