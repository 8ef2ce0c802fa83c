//! How the shards of a lane stand, as its owner last said: whoever asks gets an answer also while the owner hangs, and sees
//! from its age that it does.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::LaneOwner;
use crate::core::failover::{RoleSeen, ShardPulse};
use crate::core::replication::{Part, Replica};
use crate::runtime::control::{FollowerReport, ShardReport, ShardRole};
use crate::runtime::owner::{Service, ShardOwner};
use crate::runtime::shared::Shard;
use crate::types::{ConfigVersion, Configs, LaneId, LanePosition, ReplicaId, ShardId};

/// An owner says how its shards stand with every heartbeat, also while it waits for the applier. One that has not for so
/// long stands in a write or a sync: as long as a write may wait before its leader is taken for hung.
const HUNG: Duration = Duration::from_secs(3);

/// What a replica hears of a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contact {
    /// Nothing for so long; a leader hears of itself.
    Silent(Duration),
    /// A leader hears of too few voters, or the replica has halted.
    Cut,
}

/// What the owners of all lanes last said.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<BTreeMap<LaneId, Look>>);

/// What one of them said.
#[derive(Debug, Clone, Default)]
struct Look {
    at: Duration,
    /// The lane refuses writes for lack of room.
    full: bool,
    shards: Vec<(ShardReport, ShardPulse)>,
}

impl Looks {
    fn say(&self, lane: LaneId, look: Look) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lane, look);
    }

    /// No lane lacks room.
    pub(crate) fn have_room(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).values().any(|look| look.full)
    }

    /// Whether an owner has said nothing for so long that what it waits for, its disk most likely, must be taken for hung.
    pub(in crate::runtime) fn hang(&self, now: Duration) -> bool {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().any(|look| now.saturating_sub(look.at) >= HUNG)
    }

    /// What each replica hears of a leader.
    pub(super) fn contacts(&self, now: Duration) -> Vec<(ShardId, Contact)> {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = lanes.values().flat_map(|look| {
            let age = now.saturating_sub(look.at);
            look.shards.iter().map(move |(report, pulse)| {
                let contact = match (&report.role, &pulse.role) {
                    (ShardRole::Suspended | ShardRole::Halted(_), _) => Contact::Cut,
                    (_, RoleSeen::Following { silent }) => Contact::Silent(*silent + age),
                    // An owner that says nothing hears nothing.
                    _ => Contact::Silent(age),
                };
                (report.shard, contact)
            })
        });
        told.collect()
    }

    /// All that was said, with what has passed since.
    pub(crate) fn all(&self, now: Duration) -> Vec<(ShardReport, ShardPulse)> {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let aged = lanes.values().flat_map(|look| {
            let age = now.saturating_sub(look.at);
            look.shards.iter().cloned().map(move |(report, pulse)| (report, aged(pulse, age)))
        });
        let mut all: Vec<_> = aged.collect();
        all.sort_by_key(|(report, _)| report.shard);
        all
    }
}

/// An owner that says nothing does nothing: its writes wait.
fn aged(mut pulse: ShardPulse, age: Duration) -> ShardPulse {
    match &mut pulse.role {
        RoleSeen::Leading { waiting, .. } if age > Duration::from_secs(1) => *waiting += age,
        RoleSeen::Following { silent } => *silent += age,
        RoleSeen::Leading { .. } | RoleSeen::Halted => {}
    }
    pulse
}

impl LaneOwner {
    /// Says how the shards stand.
    pub(in crate::runtime) fn tell(&self, now: Duration) {
        let shards = self.shards.values().filter_map(|owner| self.look(owner, now)).collect();
        self.shared.looks.say(self.lane, Look { at: now, full: self.full, shards });
    }

    fn look(&self, owner: &ShardOwner, now: Duration) -> Option<(ShardReport, ShardPulse)> {
        let replica = owner.replica.as_ref()?;
        let role = match replica.part() {
            Part::Waiting => ShardRole::Waiting,
            Part::Following { .. } => ShardRole::Following,
            Part::Halted(halt) => ShardRole::Halted(halt.to_string()),
            Part::Leading { suspended: true, .. } => ShardRole::Suspended,
            Part::Leading { .. } if owner.service == Service::Open => ShardRole::Leading,
            Part::Leading { .. } => ShardRole::Opening,
        };
        let followers =
            replica.followers().map(|seen| (seen.id, self.follower(owner, replica, seen.id, now)));
        let report = ShardReport {
            shard: owner.shard,
            role,
            promised: replica.memory().promised,
            leader: owner.leader.or_else(|| replica.leads().map(|_| replica.id())),
            end: replica.history().end(),
            synced: replica.synced(),
            committed: replica.committed(),
            applied: owner.applied,
            configs: replica.configs().cloned(),
            followers: followers.collect(),
            seeding: self.shared.cluster.get().and_then(|cluster| cluster.seeding.report(owner.shard)),
        };
        Some((report, self.pulse(owner, replica, now)))
    }

    fn follower(
        &self,
        owner: &ShardOwner,
        replica: &Replica,
        id: ReplicaId,
        now: Duration,
    ) -> FollowerReport {
        let seen = replica.followers().find(|seen| seen.id == id);
        let held = seen.map(|seen| seen.held).unwrap_or_default();
        let lag_entries = replica.history().end().0.saturating_sub(held.0);
        FollowerReport {
            is_shipped: seen.is_some_and(|seen| seen.is_shipped),
            held,
            lag_entries,
            lag_bytes: match lag_entries {
                0 => 0,
                _ => lag_bytes(owner.mark(held), || self.log.reader().start(), self.log.tail()),
            },
            lag: owner.line.lacking_since(held).map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            silent: seen.and_then(|seen| seen.silent),
            seeding: self.duty.seeds.report(owner.shard, id),
        }
    }

    fn pulse(&self, owner: &ShardOwner, replica: &Replica, now: Duration) -> ShardPulse {
        let role = match replica.part() {
            Part::Leading { epoch, .. } => {
                let since = owner.line.lacking_since(replica.committed());
                let version =
                    |pick: fn(&Configs) -> ConfigVersion| replica.configs().map(pick).unwrap_or_default();
                RoleSeen::Leading {
                    epoch,
                    open: owner.service == Service::Open,
                    waiting: since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
                    committed: replica.committed(),
                    newest: version(|configs| configs.last().version),
                    oldest: version(|configs| configs.oldest().version),
                }
            }
            Part::Halted(_) => RoleSeen::Halted,
            Part::Waiting | Part::Following { .. } => RoleSeen::Following { silent: replica.silent() },
        };
        let open = self.shared.open_shard(owner.shard);
        let (damaged, refuses) =
            (!replica.is_intact() || open.is_some_and(Shard::is_damaged), open.is_some_and(Shard::refuses));
        ShardPulse {
            promised: replica.memory().promised,
            end: replica.history().end(),
            damaged,
            refuses,
            role,
        }
    }
}

/// What a follower lacks, whose next entry stands at `mark`, in a log that ends at `tail`. Where nobody knows that place, it
/// lacks what the log still has, at least.
fn lag_bytes(mark: Option<LanePosition>, start: impl FnOnce() -> LanePosition, tail: LanePosition) -> u64 {
    tail.0.saturating_sub(mark.unwrap_or_else(start).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_whose_place_in_the_log_is_not_known_lacks_all_that_the_log_has() {
        let (start, tail) = (LanePosition(400), LanePosition(1000));
        assert_eq!(lag_bytes(Some(LanePosition(900)), || start, tail), 100);
        assert_eq!(lag_bytes(None, || start, tail), 600);
    }

    #[test]
    fn a_lane_that_says_nothing_for_three_seconds_makes_its_node_sick_however_well_the_others_do() {
        let (looks, seconds) = (Looks::default(), Duration::from_secs);
        assert!(!looks.hang(seconds(100)), "no lane has begun");
        let said = |lane, at| looks.say(LaneId(lane), Look { at, ..Look::default() });
        said(0, seconds(10));
        said(1, seconds(10));
        said(0, seconds(12));
        assert!(!looks.hang(Duration::from_millis(12_999)));
        assert!(looks.hang(seconds(13)));
        said(1, seconds(13));
        assert!(!looks.hang(seconds(13)), "it came back");
    }
}
