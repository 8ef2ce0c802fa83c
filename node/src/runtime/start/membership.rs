//! Whether a node is on its own, and if not, what it knows of its cluster when it starts. Invariant: a volume that has voted
//! among others is never served on its own, and one that was served on its own never among others.

use std::sync::Arc;

use anyhow::Context;

use crate::codec::roster::decode_roster;
use crate::codec::superblock::Superblock;
use crate::config::{ClusterFile, Config};
use crate::core::replication::Memory;
use crate::runtime::vault::Vault;
use crate::types::{Boot, Configs, Epoch, RecordEpoch, ReplicaId, Roster, ShardId, Voters};

/// The id of a node on its own: nobody else hears of it.
const ALONE: ReplicaId = ReplicaId(0);

/// Why a directory that was served on its own is none of a member.
const WAS_ALONE: &str = "this directory has been served on its own: by its log nobody else votes, so it would take writes without the \
     others. To make a cluster of what it holds, take a `node snapshot` of it, `node restore` that into a new directory, and start the \
     members with this one and empty ones; to go on alone, leave --cluster-file and --cluster-id out";

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Membership {
    /// On its own.
    Alone,
    /// A member of a cluster.
    Member {
        /// The other members, as far as they are known.
        roster: Roster,
        /// Who it is, once it was told.
        me: Option<ReplicaId>,
        /// Who leads first, if a file says so.
        file: Option<Arc<ClusterFile>>,
    },
}

impl Membership {
    /// What the settings and the volume say.
    pub(crate) fn find(config: &Config, vault: &Vault) -> anyhow::Result<Self> {
        let (kept, incarnation) =
            vault.look(|superblock| (superblock.roster.clone(), superblock.incarnation));
        let kept = match kept.is_empty() {
            true => None,
            false => Some(decode_roster(&kept).context("the superblock does not say who is in the cluster")?),
        };
        if !config.in_cluster() {
            anyhow::ensure!(
                kept.is_none(),
                "this directory is a member of cluster {}: start it with --cluster-id or --cluster-file",
                vault.look(|superblock| superblock.cluster)
            );
            return Ok(Self::Alone);
        }
        let voted_alone =
            |superblock: &Superblock| superblock.shards.values().any(|kept| voted_alone(&kept.into()));
        let was_alone = kept.is_none() && vault.look(voted_alone);
        let Some(path) = &config.cluster_file else {
            anyhow::ensure!(!was_alone, WAS_ALONE);
            let roster = kept.unwrap_or_default();
            let me = roster.find(incarnation);
            return Ok(Self::Member { roster, me, file: None });
        };
        let file = ClusterFile::read(path)?;
        let me = file.me(path, &config.node_name)?;
        let mut roster = file.roster_of(me, incarnation);
        anyhow::ensure!(!was_alone || roster.members.len() == 1, WAS_ALONE);
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.members.keys().eq(roster.members.keys())) {
            anyhow::bail!(
                "the members of a cluster file never change: this directory knows the ids {}, and {} names {}",
                ids(kept),
                path.display(),
                ids(&roster)
            );
        }
        // Addresses are the file's; volumes are those that were seen.
        for (id, member) in &mut roster.members {
            let seen = kept.as_ref().and_then(|kept| kept.members.get(id));
            member.incarnation = member.incarnation.or(seen.and_then(|seen| seen.incarnation));
        }
        if let Some(known) =
            kept.as_ref().and_then(|kept| kept.find(incarnation)).filter(|known| *known != me)
        {
            anyhow::bail!(
                "this directory is {known} of the cluster for good, and {} calls {} {me}: start it with the --node-name of {known}",
                path.display(),
                config.node_name
            );
        }
        Ok(Self::Member { roster, me: Some(me), file: Some(Arc::new(file)) })
    }

    /// Whether nobody else votes.
    pub(crate) const fn is_alone(&self) -> bool {
        matches!(self, Self::Alone)
    }

    /// Who this node is, if it knows.
    pub(crate) const fn me(&self) -> Option<ReplicaId> {
        match self {
            Self::Alone => Some(ALONE),
            Self::Member { me, .. } => *me,
        }
    }

    /// Whether a shard that never remembered anything is begun by this node, and only once all members are there: one of them may have
    /// data that this volume lacks because it was emptied.
    pub(crate) fn founds(&self, shard: ShardId) -> bool {
        match self {
            Self::Member { me: Some(me), file: Some(file), .. } => file.first_leader(shard) == *me,
            _ => false,
        }
    }

    /// What a replica remembers that never remembered anything: a node on its own, and the first leader of a file, lead as
    /// if they had led before. Everybody else waits.
    pub(crate) fn first_memory(&self, shard: ShardId) -> Memory {
        let led = |voters: Option<Voters>| {
            let first = Epoch { record: RecordEpoch(1), boot: Boot(0) };
            let configs = voters.map(Configs::first);
            Memory { promised: first, led: first, configs, ..Memory::default() }
        };
        match self {
            Self::Alone => led(Voters::new([ALONE])),
            Self::Member { me: Some(me), file: Some(file), .. } if file.first_leader(shard) == *me => {
                led(Voters::new(file.roster.members.keys().copied()))
            }
            Self::Member { .. } => Memory::default(),
        }
    }
}

/// Whether a shard was committed by this node alone, as one that is in no cluster.
fn voted_alone(memory: &Memory) -> bool {
    memory
        .configs
        .as_ref()
        .is_some_and(|configs| configs.as_slice().iter().all(|set| set.voters.iter().eq([ALONE])))
}

fn ids(roster: &Roster) -> String {
    roster.members.keys().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ")
}
