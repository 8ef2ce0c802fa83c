//! An exhaustive model of one shard's epochs: seals, elections, leaders that restart by themselves, changes of the voters,
//! disks that are replaced, reads. Every order of every message, loss and repetition included, and every crash within a
//! [`Scope`] is walked; in each state nothing that was committed may be lost, and no read may miss it.
//!
//! The record's transitions, the commit rule and the election are the product's own (`core::replication`). Messages need
//! no place in the state: what the leader of an epoch ever had can reach anybody at any later time, so its log and the
//! acknowledgements of its followers are kept, and delivering is a step that may be taken at any time or never. Anybody
//! may change the record at any time where its rules allow it, as any number of operators could that crash anywhere.
//!
//! Not modelled: a record that is lost or rolled back, elections without a quorum, damaged logs, several shards, snapshots
//! and cut prefixes, and whether anything ever goes on.

mod few;
mod forget;
mod log;
mod node;
mod plant;
mod quorum;
mod reads;
mod record;
mod report;
mod row;
mod rules;
mod scope;
mod sets;
mod step;
mod steps;
mod tell;
mod twins;
mod walk;
mod world;

pub use plant::Plant;
pub use report::Report;
pub use scope::Scope;
pub use walk::{Progress, Walk};

use step::Step;
use world::World;

/// The model within its bounds, with one rule taken out or none.
#[derive(Debug, Clone, Copy)]
pub struct Epochs {
    /// How much may happen.
    pub scope: Scope,
    /// Which rule is missing.
    pub plant: Option<Plant>,
}

impl Epochs {
    /// The state behind a step, its replicas named as before.
    fn after(&self, world: &World, step: Step) -> Option<World> {
        let mut next = *world;
        step::take(self, &mut next, step)?;
        forget::what_cannot_matter(self, &mut next);
        Some(next)
    }
}
