//! Replicas of one shard in a world without time: messages, disks and crashes happen when a test says so.

mod electing;
mod following;
mod leading;
mod membership;
mod seeding;
mod walk;
mod world;
