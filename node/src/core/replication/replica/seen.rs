//! What others may know of a replica: its part, whom it takes for the leader, how far its followers are.

use std::time::Duration;

use super::super::effect::Halt;
use super::leading::Link;
use super::{Replica, Role};
use crate::types::{Configs, Epoch, LogIndex, ReplicaId};

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It follows nobody and leads nothing.
    Waiting,
    /// It follows.
    Following {
        /// Whom.
        leader: ReplicaId,
    },
    /// It leads.
    Leading {
        /// In this epoch.
        epoch: Epoch,
        /// An entry of that epoch is committed.
        open: bool,
        /// It hears of too few voters.
        suspended: bool,
    },
    /// It stopped by itself.
    Halted(Halt),
}

/// A follower, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerSeen {
    /// Who.
    pub id: ReplicaId,
    /// It holds the leader's log up to here on its disk.
    pub held: LogIndex,
    /// It gets entries.
    pub is_shipped: bool,
    /// It gets an image, because the log no longer has what it lacks.
    pub is_seeded: bool,
    /// For how long nothing was heard of it; `None`: never in this epoch.
    pub silent: Option<Duration>,
}

impl Replica {
    /// What it does now.
    #[must_use]
    pub fn part(&self) -> Part {
        match &self.role {
            Role::Waiting => Part::Waiting,
            Role::Following(following) => Part::Following { leader: following.leader() },
            Role::Leading(leading) => {
                Part::Leading { epoch: leading.epoch, open: leading.is_open(), suspended: leading.suspended }
            }
            Role::Halted(halt) => Part::Halted(*halt),
        }
    }

    /// For how long it has heard of no leader of an epoch that it would follow.
    #[must_use]
    pub const fn silent(&self) -> Duration {
        self.now.saturating_sub(self.heard_leader)
    }

    /// The sets of voters that it goes by.
    #[must_use]
    pub fn configs(&self) -> Option<&Configs> {
        match &self.role {
            Role::Leading(leading) => Some(leading.configs()),
            _ => self.voters.last().map(|(_, configs)| configs),
        }
    }

    /// As a leader: its followers.
    pub fn followers(&self) -> impl Iterator<Item = FollowerSeen> + '_ {
        let leading = match &self.role {
            Role::Leading(leading) => Some(leading),
            _ => None,
        };
        leading.into_iter().flat_map(|leading| &leading.peers).map(|(id, peer)| FollowerSeen {
            id: *id,
            held: peer.held,
            is_shipped: peer.link == Link::Shipping,
            is_seeded: peer.link == Link::Seeding,
            silent: peer.heard.map(|heard| self.now.saturating_sub(heard)),
        })
    }
}
