//! What nodes say, as what the supervisor learns: who they are is settled here, by their volumes.

use thalweg_node::admin::words::Status;
use thalweg_node::core::failover::{Input, NodePulse, Rollback, rollback};
use thalweg_node::types::ReplicaId;

use super::super::bootstrap::fit;
use super::super::members::admit;
use super::super::table::GivenUp;
use super::{Desk, Event};

impl Desk {
    /// Something is heard.
    pub(in super::super) async fn hear(&mut self, event: Event) {
        if let Event::Heard { node, .. } = &event {
            self.asked.insert(node.clone());
        }
        let inputs = match event {
            Event::Heard { node, status: Ok(status) } => self.heard(&node, *status).await,
            Event::Heard { node, status: Err(_) } => self.missed(&node),
            Event::Sealed { from, answers } => {
                let sealed = |(shard, answer)| Input::Sealed { shard, from, answer };
                answers.into_iter().map(sealed).collect()
            }
            Event::CaughtUp { shard, epoch } => vec![Input::CaughtUp { shard, epoch }],
            Event::Measured(lags) => {
                self.levels.measured(&lags, self.clock.elapsed());
                Vec::new()
            }
            Event::Ended(node) => self.ended(&node),
        };
        self.step(inputs).await;
    }

    async fn heard(&mut self, node: &str, status: Status) -> Vec<Input> {
        if let Err(error) = fit(&self.plan, node, &status) {
            self.refuse(error.to_string());
            return self.missed(node);
        }
        let known = self.table.borrow().roster.find(status.incarnation);
        let Some(replica) = known else { return self.stranger(node, status).await };
        // Whoever sat there before has lost its disk, so it will not come back.
        let mut inputs: Vec<Input> =
            self.replicas(node).into_iter().filter(|id| *id != replica).map(Input::Ended).collect();
        match status.pulse.map(NodePulse::from).filter(|pulse| pulse.replica == replica) {
            Some(pulse) => {
                if let Some(shows) = self.is_beyond(&pulse).await {
                    self.halt(format!(
                        "of {node}: {shows}; the record is an older copy (RecordRollback), and nothing is touched any more"
                    ));
                    return inputs;
                }
                self.pulses.insert(replica, pulse.clone());
                inputs.push(Input::Pulse(Box::new(pulse)));
            }
            // It was not told yet who it is: no replica answers there.
            None => {
                self.pulses.remove(&replica);
                inputs.push(Input::Missed(replica));
            }
        }
        inputs
    }

    /// A volume that the record does not know answers in the place of one that it does.
    async fn stranger(&mut self, node: &str, status: Status) -> Vec<Input> {
        let given_up = self.table.borrow().barred(status.incarnation).cloned();
        if let Some(GivenUp { shard, epoch, .. }) = given_up {
            let incarnation = status.incarnation;
            self.refuse(format!(
                "{node} holds the data of volume {incarnation}, which was barred for ever when shard {shard} went on without \
                 it in epoch {epoch}: it takes no part and nothing of it is followed; switch it off, and give it an empty \
                 directory to let it in"
            ));
            return self.missed(node);
        }
        if !status.is_new {
            let incarnation = status.incarnation;
            self.refuse(format!(
                "{node} holds the data of volume {incarnation}, which is no member (ForeignData); give it an empty \
                 directory to let it in"
            ));
            return self.missed(node);
        }
        let before = self.replicas(node);
        let (plan, (sender, receiver)) = (self.plan.clone(), std::sync::mpsc::channel());
        let admitted = self
            .on_record(move |record| {
                record.change(|table| {
                    admit(&plan, table, &status).into_iter().for_each(|news| drop(sender.send(news)));
                    true
                })
            })
            .await;
        if admitted.is_some() {
            receiver.try_iter().for_each(|news| self.say(news));
            before.iter().for_each(|id| drop(self.pulses.remove(id)));
        }
        before.into_iter().map(Input::Ended).collect()
    }

    /// What a node knows and the record does not, also once that was read anew.
    async fn is_beyond(&mut self, pulse: &NodePulse) -> Option<Rollback> {
        rollback(&self.table.borrow().rows, pulse)?;
        let table = self.on_record(|record| record.read()).await?;
        rollback(&table.rows, pulse)
    }

    fn missed(&mut self, node: &str) -> Vec<Input> {
        self.gone(node).into_iter().map(Input::Missed).collect()
    }

    fn ended(&mut self, node: &str) -> Vec<Input> {
        self.gone(node).into_iter().map(Input::Ended).collect()
    }

    /// Those who do not answer any more.
    fn gone(&mut self, node: &str) -> Vec<ReplicaId> {
        let replicas = self.replicas(node);
        replicas.iter().for_each(|id| drop(self.pulses.remove(id)));
        replicas
    }

    /// The replicas that were ever seen under this name and are in the record still.
    fn replicas(&self, node: &str) -> Vec<ReplicaId> {
        let table = self.table.borrow();
        table.roster.members.iter().filter(|(_, member)| member.node == node).map(|(id, _)| *id).collect()
    }
}
