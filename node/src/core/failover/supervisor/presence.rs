//! Whether replicas are there, for whoever asks that a shard goes on without some of them.

use super::super::pulse::RoleSeen;
use super::super::suspicion::MISSED_MAX;
use super::super::unclean::Presence;
use super::Supervisor;
use crate::types::{ReplicaId, ShardId};

impl Supervisor {
    /// Whether a replica of a shard is there. Whoever has not answered for a moment only may do so again.
    #[must_use]
    pub fn presence(&self, shard: ShardId, replica: ReplicaId) -> Presence {
        let Some(seen) = self.nodes.get(&replica) else { return Presence::Unknown };
        if seen.ended || seen.missed >= MISSED_MAX {
            return Presence::Silent;
        }
        let Some(pulse) = &seen.pulse else { return Presence::Unknown };
        let replica = pulse.shards.get(&shard);
        let damaged = replica.is_none_or(|seen| seen.damaged || seen.role == RoleSeen::Halted);
        Presence::Answers { damaged }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::stage::{SHARD, Stage, id};
    use super::*;
    use crate::core::failover::Input;

    #[test]
    fn whoever_does_not_answer_for_two_seconds_or_has_plainly_ended_is_silent_and_nobody_sooner() {
        let mut stage = Stage::new();
        let presence = |stage: &Stage, number| stage.supervisor.presence(SHARD, id(number));
        assert_eq!(presence(&stage, 0), Presence::Answers { damaged: false });
        assert_eq!(presence(&stage, 7), Presence::Unknown);
        stage.tell(Input::Missed(id(7)));
        assert_eq!(presence(&stage, 7), Presence::Unknown);
        stage.node(1).up = false;
        stage.pass(2);
        assert_eq!(presence(&stage, 1), Presence::Answers { damaged: false }, "it missed three");
        stage.pass(0);
        assert_eq!(presence(&stage, 1), Presence::Silent);
        stage.tell(Input::Ended(id(2)));
        assert_eq!(presence(&stage, 2), Presence::Silent);
        stage.node(0).role = RoleSeen::Halted;
        stage.pass(0);
        assert_eq!(presence(&stage, 0), Presence::Answers { damaged: true });
    }
}
