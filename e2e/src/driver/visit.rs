//! A task per node: asks how it is, tells it again who is in the cluster when it does not know, and measures learners.

use std::sync::Arc;
use std::time::Duration;

use thalweg_node::types::Roster;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::admin::{Admin, Status};
use super::desk::Event;
use super::plan::{Plan, Planned};
use super::table::Table;

/// How often each node is asked.
pub(super) const ROUND: Duration = Duration::from_millis(500);

/// Visits one node until nobody listens any more.
pub(super) async fn visit(
    plan: Arc<Plan>,
    planned: Planned,
    table: watch::Receiver<Arc<Table>>,
    events: mpsc::Sender<Event>,
) {
    let admin = Admin(planned.admin);
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        rounds.tick().await;
        let known = table.borrow().clone();
        let status = admin.status().await.map_err(|error| error.to_string());
        if let Ok(status) = &status
            && known.roster.find(status.incarnation).is_some()
        {
            // What fails here is seen in the next status, and tried again then.
            let told = plan.told_to(&planned.name, &known.roster);
            if !knows(status, &told) && status.cluster == known.cluster {
                let _ = admin.members(&status.meant(), &told).await;
            }
        }
        let node = planned.name.clone();
        let measures = status.is_ok() && !known.learners.is_empty();
        if events.send(Event::Heard { node, status: status.map(Box::new) }).await.is_err() {
            return;
        }
        if measures
            && let Ok(lags) = admin.lags().await
            && events.send(Event::Measured(lags)).await.is_err()
        {
            return;
        }
    }
}

/// Whether a node knows who it is and who else is there.
pub(super) fn knows(status: &Status, told: &Roster) -> bool {
    status.replica.is_some() && status.roster == *told
}
