//! Asks on their way to nodes: all of one kind to one replica go in one call, and what comes back is heard as it comes.

use std::collections::BTreeMap;

use thalweg_node::core::failover::Action;
use thalweg_node::core::replication::Standing;
use thalweg_node::runtime::Order;
use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId};
use tokio::sync::mpsc;

use super::admin::{Admin, Meant, Reply};
use super::desk::Event;
use super::plan::Plan;
use super::table::Table;

/// What one replica is asked.
#[derive(Debug, Default)]
struct Asks {
    seals: Vec<(ShardId, RecordEpoch)>,
    orders: Vec<(ShardId, Order, Standing)>,
    sets: Vec<(ShardId, Order)>,
}

/// Asks that were decided together.
#[derive(Debug, Default)]
pub(super) struct Batch(BTreeMap<ReplicaId, Asks>);

impl Batch {
    /// Adds an action, if it is an ask.
    pub(super) fn add(&mut self, action: Action, table: &Table) -> Option<Action> {
        match action {
            Action::Seal { shard, epoch, to } => self.of(to).seals.push((shard, epoch)),
            Action::Lead { shard, epoch, to, configs, expected } => {
                let order = Order { epoch, configs, learners: table.learners(shard) };
                self.of(to).orders.push((shard, order, expected));
            }
            Action::Configure { shard, epoch, to, configs } => {
                let order = Order { epoch, configs, learners: table.learners(shard) };
                self.of(to).sets.push((shard, order));
            }
            other => return Some(other),
        }
        None
    }

    fn of(&mut self, replica: ReplicaId) -> &mut Asks {
        self.0.entry(replica).or_default()
    }

    /// Sends all of it. Nobody waits: what is not answered is asked again by whoever decided on it.
    pub(super) fn send(self, plan: &Plan, table: &Table, events: &mpsc::Sender<Event>) {
        for (replica, asks) in self.0 {
            let Some(member) = table.roster.members.get(&replica) else { continue };
            let planned = plan.nodes.iter().find(|planned| planned.name == member.node);
            let Some((incarnation, planned)) = member.incarnation.zip(planned) else { continue };
            let meant = Meant { cluster: table.cluster, replica: Some(replica), incarnation };
            tokio::spawn(ask(Admin(planned.admin), (replica, meant), asks, events.clone()));
        }
    }
}

async fn ask(admin: Admin, (from, meant): (ReplicaId, Meant), asks: Asks, events: mpsc::Sender<Event>) {
    let Asks { seals, orders, sets } = asks;
    if !seals.is_empty()
        && let Ok(replies) = admin.seal(&meant, &seals).await
    {
        let shards = seals.iter().map(|(shard, _)| *shard);
        let sealed = shards.zip(replies).filter_map(|(shard, reply)| match reply {
            Reply::Sealed(answer) => Some((shard, answer)),
            // It leads already, or has promised more: the record will say so.
            _ => None,
        });
        let event = Event::Sealed { from, answers: sealed.collect() };
        let _ = events.send(event).await;
    }
    // What comes of an order or of a set shows in the next status.
    if !orders.is_empty() {
        let _ = admin.lead(&meant, &orders).await;
    }
    if !sets.is_empty() {
        let _ = admin.configure(&meant, &sets).await;
    }
}
