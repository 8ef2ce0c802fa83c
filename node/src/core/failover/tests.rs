//! A supervisor over nodes and a record that are only told of. Time goes on when a test says so.

mod hazards;
mod invariants;
mod judging;
mod moving;
pub(super) mod stage;
mod telling;
