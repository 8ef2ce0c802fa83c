//! An exhaustive model of one shard's epochs: seals, elections, leaders that restart by themselves, changes of the voters,
//! disks that are replaced. Every order of every message, loss and repetition included, and every crash within a
//! [`Scope`] is walked, and in each state nothing that was committed may be lost.
//!
//! The record's transitions, the commit rule and the election are the product's own (`core::replication`). Messages need
//! no place in the state: what the leader of an epoch ever had can reach anybody at any later time, so its log and the
//! acknowledgements of its followers are kept, and delivering is a step that may be taken at any time or never.

mod log;
mod plant;
mod scope;
mod step;
mod steps;
mod world;

pub use plant::Plant;
pub use scope::Scope;
pub use step::Step;
pub use world::World;

use stateright::{Checker, Model, Property};

/// The model within its bounds, with one rule taken out or none.
#[derive(Debug, Clone, Copy)]
pub struct Epochs {
    /// How much may happen.
    pub scope: Scope,
    /// Which rule is missing.
    pub plant: Option<Plant>,
}

/// What a walk through all states found.
#[derive(Debug)]
pub struct Walk {
    /// Different states.
    pub states: usize,
    /// Steps to the farthest of them.
    pub depth: usize,
    /// The steps of a shortest way to a loss, and what was lost.
    pub loss: Option<(Vec<Step>, &'static str)>,
    /// The last epoch committed something: the walk did not stay at the beginning.
    pub reached_the_end: bool,
}

const NOTHING_LOST: &str = "nothing that was committed is lost";
const REACHED_THE_END: &str = "the last epoch commits";

impl Epochs {
    /// Walks through every state, on so many threads.
    #[must_use]
    pub fn walk(self, threads: usize) -> Walk {
        let checker = self.checker().threads(threads).spawn_bfs().join();
        let loss = checker.discovery(NOTHING_LOST).map(|path| {
            let lost = path.last_state().lost.unwrap_or_default();
            (path.into_actions(), lost)
        });
        Walk {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            reached_the_end: checker.discovery(REACHED_THE_END).is_some(),
            loss,
        }
    }
}

impl Model for Epochs {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::first(&self.scope)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.lost.is_none() {
            steps::possible(self, world, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        step::take(self, &mut next, step)?;
        next.forget_what_cannot_matter();
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_LOST, |_, world: &World| world.lost.is_none()),
            Property::sometimes(REACHED_THE_END, |model: &Self, world: &World| {
                let committed = &world.committed;
                committed.stamp(committed.len()).record() == model.scope.epochs
            }),
        ]
    }
}
