//! Appends that a majority holds on its disks, at several numbers of clients.

use std::time::Duration;

use anyhow::Context;

use super::super::Outcome;
use super::super::load::{Phase, Window, drive};
use super::super::plan::{Plan, Work};
use super::append::{repeat, to_many, to_one};
use super::fleet::{Fleet, Kind};
use super::verbs::Common;

/// The rows.
pub(super) fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    plans.extend([1, 16, 64].map(|clients| Plan::new(Work::AppendOne, clients, 100)));
    plans.extend([16, 64].map(|clients| Plan::new(Work::AppendMany, clients, 100)));
    plans.extend([1_000, 10_000].map(|bytes| Plan::new(Work::AppendOne, 64, bytes)));
    plans
}

/// One plan on all fleets, in turn.
pub(super) async fn compare(common: &Common, kinds: &[Kind], plan: Plan) -> anyhow::Result<Vec<Outcome>> {
    let start = |kind: &Kind| Outcome { plan, server: kind.to_string(), samples: Vec::new() };
    let mut outcomes: Vec<Outcome> = kinds.iter().map(start).collect();
    for _ in 0..common.rounds {
        for (kind, outcome) in kinds.iter().zip(&mut outcomes) {
            let fleet = Fleet::start(kind, &common.folder).await.with_context(|| kind.to_string())?;
            let (clients, bytes) = (plan.connections, plan.message_bytes);
            let scripts = match plan.work {
                Work::AppendMany => to_many(&fleet, clients, bytes).await?,
                _ => to_one(&fleet, clients, bytes).await?,
            };
            let measured = Duration::from_secs_f64(common.seconds);
            // A fleet that has just begun is slower than one that runs.
            let window = Window { warm_up: measured / 3, measured, threads: common.client_threads };
            let worker = move |number: usize, phase: Phase| {
                let script = scripts.get(number).cloned().unwrap_or_default();
                repeat(script, bytes, phase)
            };
            outcome.samples.push(drive(&fleet, window, clients, worker).await?);
            fleet.end().await?;
        }
    }
    Ok(outcomes)
}
