//! What a replica must never forget. Invariant: it is on the disk before anything is said or done that rests on it, and
//! no epoch in it ever falls.

use crate::codec::superblock::ShardMemory;
use crate::codec::voters::{decode_configs, encode_configs};
use crate::types::{Configs, Epoch};

/// The durable state of one replica beside its log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Nothing of an epoch below is accepted, confirmed or answered any more.
    pub promised: Epoch,
    /// The last epoch that this replica led; it never writes in it again after a restart.
    pub led: Epoch,
    /// The sets of voters that it goes by as a leader.
    pub configs: Option<Configs>,
    /// It has applied its own removal, and takes no part until a set of voters has it again.
    pub retired: bool,
    /// Something that it may have confirmed is damaged here: it keeps its promises, and counts for nothing else until it holds
    /// all that a leader held.
    pub damaged: bool,
}

impl From<&ShardMemory> for Memory {
    /// Sets of voters that cannot be read are as good as none: such a replica does not lead by itself.
    fn from(kept: &ShardMemory) -> Self {
        Self {
            promised: kept.promised,
            led: kept.led,
            configs: decode_configs(&kept.config).ok(),
            retired: kept.retired,
            damaged: kept.quarantined.is_some(),
        }
    }
}

impl Memory {
    /// Changes what the superblock keeps to this. Why a shard is damaged stays, as long as it is.
    pub fn keep_in(&self, kept: &mut ShardMemory) {
        (kept.promised, kept.led, kept.retired) = (self.promised, self.led, self.retired);
        kept.quarantined = match self.damaged {
            true => kept.quarantined.take().or_else(|| Some("found damaged".to_owned())),
            false => None,
        };
        kept.config.clear();
        self.configs.iter().for_each(|configs| encode_configs(configs, &mut kept.config));
    }
}

/// Counts the times that a memory was asked to be saved; a later save holds what an earlier one held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// A memory, and how much of it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    memory: Memory,
    asked: Ticket,
    saved: Ticket,
}

impl Kept {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, asked: Ticket(0), saved: Ticket(0) }
    }

    pub(super) const fn get(&self) -> &Memory {
        &self.memory
    }

    /// Changes it; what rests on the change waits for the ticket.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Memory)) -> Ticket {
        let before = (self.memory.promised, self.memory.led);
        change(&mut self.memory);
        debug_assert!(
            before.0 <= self.memory.promised && before.1 <= self.memory.led,
            "a promise was taken back"
        );
        self.asked = Ticket(self.asked.0 + 1);
        self.asked
    }

    pub(super) fn saved(&mut self, ticket: Ticket) {
        self.saved = self.saved.max(ticket.min(self.asked));
    }

    /// Whether all that was in it when the ticket was given is on the disk.
    pub(super) fn holds(&self, ticket: Ticket) -> bool {
        ticket <= self.saved
    }

    /// Waits for everything in it.
    pub(super) const fn newest(&self) -> Ticket {
        self.asked
    }
}
