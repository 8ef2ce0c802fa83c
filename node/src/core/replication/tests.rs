//! Replicas of one shard in a world without time: messages, disks and crashes happen when a test says so.

mod electing;
mod following;
mod handing_over;
mod hazards;
mod invariants;
mod leading;
mod lessons;
mod membership;
mod mending;
mod seeding;
mod vouching;
mod walk;
mod world;
