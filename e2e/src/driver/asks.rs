//! Asks on their way to nodes: all of one kind to one replica go in one call, and what comes back is heard as it comes.

use std::collections::BTreeMap;

use thalweg_node::admin::AdminClient;
use thalweg_node::admin::words::{Addressee, Batch, ConfigAsk, HandOverAsk, LeadAsk, SealAsk};
use thalweg_node::core::failover::Action;
use thalweg_node::core::replication::Answer;
use thalweg_node::runtime::Order;
use thalweg_node::types::ReplicaId;
use tokio::sync::mpsc;

use super::desk::Event;
use super::plan::Plan;
use super::table::Table;

/// What one replica is asked.
#[derive(Debug, Default)]
struct Asks {
    seals: Vec<SealAsk>,
    orders: Vec<LeadAsk>,
    sets: Vec<ConfigAsk>,
    successions: Vec<HandOverAsk>,
}

/// Asks that were decided together, by whom they go to.
#[derive(Debug, Default)]
pub(super) struct Decided(BTreeMap<ReplicaId, Asks>);

impl Decided {
    /// Adds an action, if it is an ask.
    pub(super) fn add(&mut self, action: Action) -> Option<Action> {
        match action {
            Action::Seal { shard, epoch, to } => self.of(to).seals.push(SealAsk { shard, epoch }),
            Action::Lead { shard, epoch, to, configs, learners, expected } => {
                let order = Order { epoch, configs, learners };
                self.of(to).orders.push(LeadAsk::new(shard, order, expected.into()));
            }
            Action::Configure { shard, epoch, to, configs, learners } => {
                let order = Order { epoch, configs, learners };
                self.of(to).sets.push(ConfigAsk::new(shard, order));
            }
            Action::HandOver { shard, epoch, to, successor, patience } => {
                let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
                self.of(to).successions.push(HandOverAsk { shard, epoch, successor, patience_ms });
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
            let to = Addressee { cluster: table.cluster, replica: Some(replica), incarnation };
            tokio::spawn(ask(AdminClient::new(planned.admin), (replica, to), asks, events.clone()));
        }
    }
}

async fn ask(
    admin: AdminClient,
    (from, to): (ReplicaId, Addressee),
    asks: Asks,
    events: mpsc::Sender<Event>,
) {
    let Asks { seals, orders, sets, successions } = asks;
    if !seals.is_empty()
        && let Ok(answers) = admin.seal(&Batch { to, asks: seals }).await
    {
        let sealed = answers.answers.into_iter().filter_map(|answered| match answered.outcome.answer() {
            Ok(Answer::Sealed(answer)) => Some((answered.shard, answer)),
            // It leads already, or has promised more: the record will say so.
            _ => None,
        });
        let event = Event::Sealed { from, answers: sealed.collect() };
        let _ = events.send(event).await;
    }
    // What comes of an order or of a set shows in the next status.
    if !orders.is_empty() {
        let _ = admin.lead(&Batch { to, asks: orders }).await;
    }
    if !sets.is_empty() {
        let _ = admin.configure(&Batch { to, asks: sets }).await;
    }
    // One call each: the shard of a slow successor holds up no other's.
    for ask in successions {
        tokio::spawn(hand_over(admin.clone(), to, ask, events.clone()));
    }
}

/// A shard whose successor has everything is heard of; another is handed over later, or not.
async fn hand_over(
    admin: AdminClient,
    to: Addressee,
    ask: HandOverAsk,
    events: mpsc::Sender<Event>,
) -> Option<()> {
    let answers = admin.hand_over(&Batch { to, asks: vec![ask] }).await.ok()?;
    let answer = answers.answers.into_iter().next()?.outcome.answer();
    let ready = matches!(answer, Ok(Answer::CaughtUp(_)));
    let event = Event::CaughtUp { shard: ask.shard, epoch: ask.epoch };
    if ready { events.send(event).await.ok() } else { None }
}
