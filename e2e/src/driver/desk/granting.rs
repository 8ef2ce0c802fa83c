//! Wishes for unclean elections, granted or refused by what this driver sees of the voters.

use std::collections::BTreeMap;

use thalweg_node::core::failover::{Input, Presence};
use thalweg_node::core::replication::ShardRow;
use thalweg_node::types::{ReplicaId, ShardId};

use super::super::news::News;
use super::super::table::Wish;
use super::super::unclean::{Granted, grant};
use super::Desk;

impl Desk {
    /// Those who vote still and are members no more: nobody asks them, and they will not come back.
    pub(super) fn outcasts(&self) -> Vec<ReplicaId> {
        let table = self.table.borrow();
        let voters = table.rows.values().flat_map(|row| row.configs.everybody());
        voters.filter(|id| !table.roster.members.contains_key(id)).collect()
    }

    /// Goes on without a quorum where somebody wishes it, and that may be.
    pub(super) async fn grant(&mut self) -> Option<Input> {
        let table = self.table.borrow().clone();
        if self.halted || table.wish.as_ref().is_none_or(|wish| wish.refused.is_some()) {
            return None;
        }
        let everybody = |(shard, row): (&ShardId, &ShardRow)| {
            let seen = |id| ((*shard, id), self.supervisor.presence(*shard, id));
            row.configs.everybody().into_iter().map(seen).collect::<Vec<_>>()
        };
        let presences: BTreeMap<_, _> = table.rows.iter().flat_map(everybody).collect();
        let (sender, receiver) = std::sync::mpsc::channel();
        let changed = self
            .on_record(move |record| {
                let presence = |shard, id| presences.get(&(shard, id)).copied().unwrap_or(Presence::Unknown);
                record.change(|table| {
                    grant(table, presence).into_iter().for_each(|granted| drop(sender.send(granted)));
                    true
                })
            })
            .await?;
        for granted in receiver.try_iter() {
            match granted {
                Granted::Yes(given_up) => self.say(News::GivenUp(given_up)),
                Granted::No(Wish { shard, epoch, .. }, why) => {
                    self.say(News::Refused(format!(
                        "no unclean election of shard {shard} in epoch {epoch}: {why}"
                    )));
                }
            }
        }
        Some(Input::Record(changed.rows.clone()))
    }
}
