//! Bugs that are planted between a supervisor and the world: it hears and says what a supervisor with that bug would have
//! decided on. Invariant: without a planted bug nothing is changed.

use std::collections::BTreeMap;

use thalweg_node::core::failover::{Action, Input, NodePulse, RoleSeen, RowChange};
use thalweg_node::core::replication::{Phase, SealAnswer, ShardRow, Standing};
use thalweg_node::types::{Epoch, RecordEpoch, ReplicaId, ShardId};

use crate::sim::plant::Plant;
use crate::sim::record::Rows;

/// What one operator sees through.
#[derive(Debug)]
pub(super) struct Lens {
    plant: Option<Plant>,
    /// The rows as they were shown last.
    rows: Rows,
    /// What replicas said when they were sealed.
    sealed: BTreeMap<(ShardId, RecordEpoch, ReplicaId), Standing>,
}

impl Lens {
    pub(super) const fn new(plant: Option<Plant>) -> Self {
        Self { plant, rows: BTreeMap::new(), sealed: BTreeMap::new() }
    }

    /// What the supervisor hears.
    pub(super) fn hears(&mut self, input: Input) -> Vec<Input> {
        let Some(plant) = self.plant else { return vec![input] };
        vec![match input {
            Input::Record(rows) => Input::Record(self.shown(plant, rows)),
            Input::Written(rows) => Input::Written(self.shown(plant, rows)),
            Input::Watched(rows) => Input::Watched(self.shown(plant, rows)),
            Input::Sealed { shard, from, answer } => return self.seal(plant, shard, from, *answer),
            Input::Pulse(mut pulse) => {
                if plant == Plant::ConfirmsUnasked {
                    self.confirms(&mut pulse);
                }
                Input::Pulse(pulse)
            }
            other => other,
        }]
    }

    /// What it says.
    pub(super) fn says(&self, actions: &mut Vec<Action>) {
        let Some(plant) = self.plant else { return };
        let mut early = Vec::new();
        for action in actions.iter_mut() {
            match action {
                Action::Lead { shard, epoch, to, expected, .. } => {
                    *expected = self.sealed.get(&(*shard, *epoch, *to)).copied().unwrap_or(*expected);
                }
                Action::Write(changes) if plant == Plant::AsksOnlyTheNewestSet => {
                    changes.iter_mut().for_each(|change| self.put_back(change));
                }
                Action::Write(changes) if plant == Plant::LeadsBeforeTheRecord => {
                    early.extend(changes.iter().filter_map(|change| self.order(change)));
                }
                _ => {}
            }
        }
        actions.append(&mut early);
    }

    fn shown(&mut self, plant: Plant, mut rows: Rows) -> Rows {
        self.rows.clone_from(&rows);
        if plant == Plant::AsksOnlyTheNewestSet {
            rows.values_mut().for_each(|row| *row = newest_only(row));
        }
        rows
    }

    fn seal(&mut self, plant: Plant, shard: ShardId, from: ReplicaId, answer: SealAnswer) -> Vec<Input> {
        let epoch = answer.promised.record;
        self.sealed.insert((shard, epoch, from), answer.standing);
        let mut seen = answer.clone();
        if plant == Plant::PrefersLength {
            seen.standing.last = Epoch::default();
        }
        let mut inputs = vec![Input::Sealed { shard, from, answer: Box::new(seen) }];
        if plant == Plant::TrustsOneSeal {
            let everybody = self.rows.get(&shard).map(|row| row.configs.everybody()).unwrap_or_default();
            let silent = everybody.into_iter().filter(|id| !self.sealed.contains_key(&(shard, epoch, *id)));
            let empty = Standing { last: Epoch::default(), end: Default::default(), ..answer.standing };
            let nothing = SealAnswer { standing: empty, committed: Default::default(), ..answer };
            inputs.extend(silent.map(|from| Input::Sealed {
                shard,
                from,
                answer: Box::new(nothing.clone()),
            }));
        }
        inputs
    }

    fn confirms(&self, pulse: &mut NodePulse) {
        for (shard, seen) in &mut pulse.shards {
            if let (RoleSeen::Leading { newest, oldest, .. }, Some(row)) =
                (&mut seen.role, self.rows.get(shard))
            {
                (*newest, *oldest) = (row.configs.last().version, row.configs.last().version);
            }
        }
    }

    /// A change that was decided on a row with its older sets left out.
    fn put_back(&self, change: &mut RowChange) {
        let Some(row) = self.rows.get(&change.shard).filter(|row| newest_only(row) == change.before) else {
            return;
        };
        if let Some(after) = change.after.leader().ok().and_then(|leader| row.activate(leader).ok()) {
            (change.before, change.after) = (row.clone(), after);
        }
    }

    fn order(&self, change: &RowChange) -> Option<Action> {
        let to = change.after.leader().ok().filter(|_| change.before.phase == Phase::Sealing)?;
        let (shard, epoch, configs) = (change.shard, change.after.epoch, change.after.configs.clone());
        let expected = *self.sealed.get(&(shard, epoch, to))?;
        Some(Action::Lead { shard, epoch, to, configs, learners: Vec::new(), expected })
    }
}

fn newest_only(row: &ShardRow) -> ShardRow {
    let mut row = row.clone();
    if row.phase == Phase::Sealing {
        row.configs = row.configs.confirmed(row.configs.last().version);
    }
    row
}
