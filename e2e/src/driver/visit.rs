//! A task per node: asks how it is, tells it again who is in the cluster when it does not know, and measures learners.

use std::sync::Arc;
use std::time::Duration;

use thalweg_node::admin::AdminClient;
use thalweg_node::admin::words::{MemberList, Members, Status};
use thalweg_node::types::Roster;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::desk::Event;
use super::levels::lags;
use super::plan::{Plan, Planned};
use super::table::Table;

/// How often each node is asked.
pub(super) const ROUND: Duration = Duration::from_millis(500);
/// A question that takes longer counts as not answered: one is over before the next one is due.
const QUESTION_MAX: Duration = Duration::from_millis(450);

/// Visits one node until nobody listens any more.
pub(super) async fn visit(
    plan: Arc<Plan>,
    planned: Planned,
    table: watch::Receiver<Arc<Table>>,
    events: mpsc::Sender<Event>,
) {
    let (questions, orders) = (questions(&planned), AdminClient::new(planned.admin));
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        rounds.tick().await;
        let known = table.borrow().clone();
        let status = questions.status().await.map_err(|error| error.to_string());
        if let Ok(status) = &status
            && known.roster.find(status.incarnation).is_some()
        {
            // What fails here is seen in the next status, and tried again then.
            let told = plan.told_to(&planned.name, &known.roster);
            if !knows(status, &told) && status.cluster == known.cluster {
                let news = Members { to: status.addressee(), members: MemberList(told) };
                let _ = orders.members(&news).await;
            }
        }
        let node = planned.name.clone();
        let measures = status.is_ok() && !known.learners.is_empty();
        if events.send(Event::Heard { node, status: status.map(Box::new) }).await.is_err() {
            return;
        }
        if measures
            && let Ok(shards) = questions.shards().await
            && events.send(Event::Measured(lags(shards))).await.is_err()
        {
            return;
        }
    }
}

/// Asks one node, with little patience.
pub(super) fn questions(planned: &Planned) -> AdminClient {
    AdminClient::new(planned.admin).with_timeout(QUESTION_MAX)
}

/// Whether a node knows who it is and who else is there.
pub(super) fn knows(status: &Status, told: &Roster) -> bool {
    status.replica.is_some() && status.members.0 == *told
}
