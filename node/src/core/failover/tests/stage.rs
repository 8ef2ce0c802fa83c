//! Three nodes with one shard each way, a record in memory, a supervisor: what it asks for is done at once, or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::failover::{Action, Input, NodePulse, RoleSeen, RowChange, ShardPulse, Supervisor};
use crate::core::replication::{History, SealAnswer, ShardRow, Standing};
use crate::types::{Boot, Chain, ConfigVersion, Epoch, LogIndex, RecordEpoch, ReplicaId, ShardId, Voters};

pub(in crate::core::failover) const SHARD: ShardId = ShardId(0);

pub(in crate::core::failover) fn id(number: u32) -> ReplicaId {
    ReplicaId(number)
}

pub(in crate::core::failover) fn voters(ids: &[u32]) -> Voters {
    Voters::new(ids.iter().copied().map(ReplicaId)).unwrap()
}

pub(in crate::core::failover) fn epoch(record: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(1) }
}

/// A node that the test moves.
#[derive(Debug, Clone)]
pub(in crate::core::failover) struct Node {
    pub(in crate::core::failover) up: bool,
    pub(in crate::core::failover) draining: bool,
    pub(in crate::core::failover) sick: bool,
    /// It cannot read all of the shard.
    pub(in crate::core::failover) rotten: bool,
    /// It serves nothing of it.
    pub(in crate::core::failover) refuses: bool,
    pub(in crate::core::failover) role: RoleSeen,
    pub(in crate::core::failover) promised: Epoch,
    pub(in crate::core::failover) end: u64,
    pub(in crate::core::failover) committed: u64,
    pub(in crate::core::failover) damaged: bool,
    /// It answers no seal: its disk takes nothing.
    pub(in crate::core::failover) deaf: bool,
    /// Its volume has no room.
    pub(in crate::core::failover) full: bool,
}

pub(in crate::core::failover) struct Stage {
    pub(in crate::core::failover) supervisor: Supervisor,
    pub(in crate::core::failover) record: BTreeMap<ShardId, ShardRow>,
    pub(in crate::core::failover) nodes: BTreeMap<ReplicaId, Node>,
    pub(in crate::core::failover) now: Duration,
    pub(in crate::core::failover) done: Vec<Action>,
    /// The record does not answer.
    pub(in crate::core::failover) record_down: bool,
    /// The record takes writes, and its answers are lost.
    pub(in crate::core::failover) deaf_to_writes: bool,
    /// So many of the next seals are lost on the way, and so many orders.
    pub(in crate::core::failover) lost: u32,
    pub(in crate::core::failover) lost_orders: u32,
    /// Nobody gets everything before the patience of its leader ends.
    pub(in crate::core::failover) nobody_catches_up: bool,
    /// The seals that were answered.
    pub(in crate::core::failover) answered: Vec<Input>,
}

pub(in crate::core::failover) fn leading(record: u64) -> RoleSeen {
    let (newest, oldest) = (ConfigVersion(1), ConfigVersion(1));
    let (waiting, committed) = (Duration::ZERO, LogIndex(0));
    RoleSeen::Leading { epoch: epoch(record), open: true, waiting, committed, newest, oldest }
}

/// A leader of the first epoch whose oldest write waits.
pub(in crate::core::failover) fn hung(seconds: u64) -> RoleSeen {
    match leading(1) {
        RoleSeen::Leading { epoch, open, committed, newest, oldest, .. } => {
            let waiting = Duration::from_secs(seconds);
            RoleSeen::Leading { epoch, open, waiting, committed, newest, oldest }
        }
        other => other,
    }
}

pub(in crate::core::failover) fn following(silent_ms: u64) -> RoleSeen {
    RoleSeen::Following { silent: Duration::from_millis(silent_ms) }
}

impl Stage {
    pub(in crate::core::failover) fn new() -> Self {
        let node = |number| {
            let role = if number == 0 { leading(1) } else { following(0) };
            let (up, draining, sick, rotten, refuses, damaged) = (true, false, false, false, false, false);
            let (promised, end, committed, deaf, full) = (epoch(1), 7, 7, false, false);
            Node { up, draining, sick, rotten, refuses, role, promised, end, committed, damaged, deaf, full }
        };
        let mut stage = Self {
            supervisor: Supervisor::new(0),
            record: BTreeMap::from([(SHARD, ShardRow::first(voters(&[0, 1, 2]), id(0)))]),
            nodes: (0..3).map(|number| (id(number), node(number))).collect(),
            now: Duration::from_secs(100),
            done: Vec::new(),
            record_down: false,
            deaf_to_writes: false,
            lost: 0,
            lost_orders: 0,
            nobody_catches_up: false,
            answered: Vec::new(),
        };
        let rows = stage.record.clone();
        stage.tell(Input::Record(rows));
        stage.pass(0);
        stage
    }

    pub(in crate::core::failover) fn node(&mut self, number: u32) -> &mut Node {
        self.nodes.get_mut(&id(number)).unwrap()
    }

    pub(in crate::core::failover) fn row(&self) -> &ShardRow {
        &self.record[&SHARD]
    }

    /// Half a second goes by, `halves` times; each time every node is asked.
    pub(in crate::core::failover) fn pass(&mut self, halves: u64) {
        for _ in 0..=halves {
            self.now += Duration::from_millis(500);
            self.tell(Input::Tick(self.now));
            for replica in self.nodes.keys().copied().collect::<Vec<_>>() {
                let input = self.pulse(replica);
                self.tell(input);
            }
        }
    }

    fn pulse(&self, replica: ReplicaId) -> Input {
        let node = &self.nodes[&replica];
        if !node.up {
            return Input::Missed(replica);
        }
        let (promised, end, mut role) = (node.promised, LogIndex(node.end), node.role.clone());
        if let RoleSeen::Leading { committed, .. } = &mut role {
            *committed = LogIndex(node.committed);
        }
        let shard =
            ShardPulse { promised, end, damaged: node.rotten || node.refuses, refuses: node.refuses, role };
        Input::Pulse(Box::new(NodePulse {
            replica,
            boot: Boot(1),
            draining: node.draining,
            sick: node.sick,
            has_room: !node.full,
            shards: self.record.keys().map(|id| (*id, shard.clone())).collect(),
        }))
    }

    pub(in crate::core::failover) fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.supervisor.step(input, &mut out);
        for action in out {
            self.done.push(action.clone());
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Read if !self.record_down => {
                let rows = self.record.clone();
                self.tell(Input::Record(rows));
            }
            Action::Write(changes) if !self.record_down => self.write(&changes),
            Action::Seal { .. } if self.lost > 0 => self.lost -= 1,
            Action::HandOver { shard, epoch, to, successor, .. } if !self.nobody_catches_up => {
                let all = self.nodes[&to].end;
                self.nodes.get_mut(&successor).unwrap().end = all;
                self.tell(Input::CaughtUp { shard, epoch });
            }
            Action::Lead { .. } if self.lost_orders > 0 => self.lost_orders -= 1,
            Action::Seal { shard, epoch, to } => self.seal(shard, epoch, to),
            Action::Lead { epoch, to, .. } => {
                let node = self.nodes.get_mut(&to).unwrap();
                if node.up {
                    node.role = leading(epoch.0);
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, changes: &[RowChange]) {
        if changes.iter().all(|change| self.record[&change.shard] == change.before) {
            changes.iter().for_each(|change| drop(self.record.insert(change.shard, change.after.clone())));
        }
        if !self.deaf_to_writes {
            let rows = self.record.clone();
            self.tell(Input::Written(rows));
        }
    }

    fn seal(&mut self, shard: ShardId, record: RecordEpoch, from: ReplicaId) {
        let node = self.nodes.get_mut(&from).unwrap();
        if !node.up || node.deaf || node.promised.record > record {
            return;
        }
        node.promised = Epoch { record, boot: Boot(0) };
        node.role = following(0);
        let mut history = History::default();
        (0..node.end).for_each(|index| history.push(epoch(1), Chain(index)));
        let standing = Standing { boot: Boot(1), last: history.last_epoch(), end: history.end() };
        let answer = SealAnswer {
            promised: node.promised,
            standing,
            committed: LogIndex(node.committed),
            history,
            configs: None,
            intact: !node.damaged,
        };
        let input = Input::Sealed { shard, from, answer: Box::new(answer) };
        self.answered.push(input.clone());
        self.tell(input);
    }

    pub(in crate::core::failover) fn sealed(&self) -> usize {
        self.done.iter().filter(|action| matches!(action, Action::Seal { .. })).count()
    }
}
