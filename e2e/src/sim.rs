//! The simulator: replicas of the product's own state machine in a world of virtual time, network and disks, in which
//! everything goes wrong that a seed says. Invariant: the seed is the only source of chance, so a run can be repeated.
//!
//! One run is a phase of trouble and a phase of peace. At every step each claim of a replica is compared with what is
//! true (`ledger`, `driver`); at the end the histories of the clients are judged (`judge`).

mod acquaintance;
mod asking;
mod books;
mod checks;
mod client;
mod desk;
mod disk;
mod driver;
mod ending;
mod event;
mod faults;
mod hand;
mod harm;
mod judge;
mod ledger;
mod log;
mod long;
mod network;
mod node;
mod office;
mod operator;
mod plant;
mod pulse;
mod queue;
mod record;
mod replay;
mod seeding;
mod shipping;
mod storage;
mod streams;
mod table;
mod trace;
mod trouble;
mod vault;
mod wire;
mod world;

pub use long::{Progress, planted};
pub use plant::Plant;
pub use queue::Micros;

use self::queue::SECOND;
use self::world::World;

/// What is to be simulated.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// How much virtual time passes.
    pub virtual_micros: Micros,
    /// A bug to plant.
    pub plant: Option<Plant>,
    /// Keep an event log.
    pub lines: bool,
}

impl Scope {
    /// Ten virtual minutes of a seed.
    #[must_use]
    pub const fn of_seed(seed: u64) -> Self {
        Self { seed, virtual_micros: 600 * SECOND, plant: None, lines: false }
    }
}

/// What happened in one run or several, so that one in which nothing happens is noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Virtual time.
    pub micros: Micros,
    /// Events.
    pub events: u64,
    /// Messages between replicas that arrived.
    pub messages: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Times that a write was answered as one that was accepted before.
    pub repeated: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Times that a leader opened.
    pub elections: u64,
    /// Times that a node's power failed.
    pub crashes: u64,
    /// Disks that were replaced.
    pub wipes: u64,
    /// Partitions.
    pub partitions: u64,
    /// Syncs and saves that a disk refused.
    pub refused: u64,
    /// Shards that were found damaged.
    pub damaged: u64,
    /// Writes that went elsewhere, and files of which the directory lost the entry.
    pub misplaced: u64,
    /// Times that a device did not let something be read.
    pub unread: u64,
    /// Times that a leader found damage in what it was to send.
    pub lacking: u64,
    /// Nodes that started with another version of the protocol.
    pub upgraded: u64,
    /// Shards that were made whole again.
    pub mended: u64,
    /// Followers that were seeded with an image.
    pub seeded: u64,
    /// Disks that were found to be older ones.
    pub rolled_back: u64,
}

impl Figures {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, own), (_, more)) in self.named().into_iter().zip(other.named()) {
            *own += *more;
        }
    }

    /// Each figure with its name.
    pub const fn named(&mut self) -> [(&'static str, &mut u64); 19] {
        [
            ("micros", &mut self.micros),
            ("events", &mut self.events),
            ("messages", &mut self.messages),
            ("writes", &mut self.writes),
            ("repeated", &mut self.repeated),
            ("reads", &mut self.reads),
            ("elections", &mut self.elections),
            ("crashes", &mut self.crashes),
            ("wipes", &mut self.wipes),
            ("partitions", &mut self.partitions),
            ("refused", &mut self.refused),
            ("damaged", &mut self.damaged),
            ("misplaced", &mut self.misplaced),
            ("unread", &mut self.unread),
            ("lacking", &mut self.lacking),
            ("upgraded", &mut self.upgraded),
            ("mended", &mut self.mended),
            ("seeded", &mut self.seeded),
            ("rolled-back", &mut self.rolled_back),
        ]
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What happened in it.
    pub figures: Figures,
    /// The hash of everything that happened: equal for equal seeds.
    pub hash: u64,
    /// What must never be seen, if it was.
    pub violation: Option<String>,
    /// The event log, if it was asked for.
    pub lines: Vec<String>,
}

/// Simulates.
#[must_use]
pub fn simulate(scope: &Scope) -> Outcome {
    let mut world = World::new(scope);
    world.run(scope);
    let hash = world.trace.hash();
    Outcome { figures: world.figures, hash, violation: world.violation, lines: world.trace.into_lines() }
}
