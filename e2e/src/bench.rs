//! The load generator: work loads, side by side on several servers in one run, and the table that comes out.
//!
//! Invariant: within a plan every server gets the same requests from the same client, in interleaved rounds, each
//! server on a fresh directory; an answer that is not the expected one ends the run instead of being counted.

mod catch_up;
mod floor;
mod histogram;
mod load;
mod machine;
mod many;
mod page;
mod plan;
mod requests;
mod rounds;
mod sample;
mod tail;

pub use floor::{Floor, sync_floor};
pub use histogram::Histogram;
pub use machine::machine_facts;
pub use many::Verb;
pub use page::{json, markdown, page};
pub use plan::{Plan, Work, full_plans, quick_plans};
pub use rounds::{Outcome, Settings, run};
pub use sample::Sample;
