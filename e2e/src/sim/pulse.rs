//! What a node says of itself when an operator asks.

use std::time::Duration;

use thalweg_node::core::failover::{NodePulse, RoleSeen, ShardPulse};
use thalweg_node::types::ConfigVersion;

use super::event::NodeId;
use super::node::Local;
use super::queue::Micros;
use super::record::shard_id;
use super::world::World;

impl World {
    /// How a node and its shards are.
    pub(super) fn pulse(&self, node: NodeId) -> NodePulse {
        let (it, now) = (&self.nodes[node], self.queue.now());
        let shards = it.locals.iter().enumerate();
        NodePulse {
            replica: it.id,
            boot: it.disk.boot(),
            draining: now < it.draining,
            sick: false,
            has_room: now >= it.full,
            shards: shards.filter_map(|(shard, local)| Some((shard_id(shard), seen(local, now)?))).collect(),
        }
    }
}

fn seen(local: &Local, now: Micros) -> Option<ShardPulse> {
    let replica = local.replica.as_ref()?;
    let since = |then: Micros| Duration::from_micros(now.saturating_sub(then));
    let role = match (replica.halted(), replica.leads()) {
        (Some(_), _) => RoleSeen::Halted,
        (None, Some(epoch)) => {
            let configs = replica.memory().configs.as_ref();
            RoleSeen::Leading {
                epoch,
                open: replica.takes_writes() && local.desk.is_open(),
                waiting: local.writes.front().map_or(Duration::ZERO, |write| since(write.begun)),
                committed: replica.committed(),
                newest: configs.map_or(ConfigVersion(0), |configs| configs.last().version),
                oldest: configs.map_or(ConfigVersion(0), |configs| configs.oldest().version),
            }
        }
        (None, None) => RoleSeen::Following { silent: since(local.heard) },
    };
    let (promised, end, damaged) = (replica.memory().promised, local.log.end(), false);
    Some(ShardPulse { promised, end, damaged, refuses: false, role })
}
