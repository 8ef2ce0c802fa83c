//! Who leads next, decided: what is seen of the nodes and of the record goes in, what is to be asked of nodes and written to
//! the record comes out. The operator, the simulator and every test run this same code; each brings its own clock, network
//! and record.
//!
//! Invariants: nobody is sealed before enough voters answer to elect; a leader is chosen on what the seals returned and by
//! one compare-and-set; losing the record or all answers changes nothing.

mod choice;
mod hold_down;
mod pulse;
mod rollback;
mod supervisor;
mod suspicion;
mod unclean;

pub use choice::{Choice, Taste, Undecided, choose};
pub use pulse::{NodePulse, RoleSeen, ShardPulse};
pub use rollback::{Rollback, rollback};
pub use supervisor::{Action, Input, Learners, RowChange, Supervisor, Trouble};
pub use suspicion::{Reason, Verdict};
pub use unclean::{Presence, Unclean, UncleanRefusal, unclean};

#[cfg(test)]
mod tests;
