//! Promise: whatever order messages, crashes, elections and changes of voters come in, nothing that was committed is lost
//! and no read misses it; and each rule that this takes is shown to be needed, since without it the model loses something.
//!
//! `TEST_MODEL=all` also takes out the rules whose loss is far away (CI); `make model` walks the large scopes.
#![expect(clippy::print_stdout, reason = "the figures are the evidence")]

use std::collections::BTreeMap;

use anyhow::ensure;
use thalweg_e2e::model::{Epochs, Plant, Report, Scope, Walk};

/// Rules without which a loss is seconds away, and minutes if the test itself is not optimised.
const FAR: [Plant; 2] = [Plant::LeavesTheWinnerOutside, Plant::CommitsByTheNewestSet];

fn walked(model: Epochs) -> anyhow::Result<Walk> {
    // One thread finds a shortest way to a loss.
    let walk = model.walk(if model.plant.is_some() { 1 } else { 2 });
    let report = Report { model, walk: &walk };
    println!("{}", report.text());
    ensure!(report.complaint().is_none(), "{}", report.complaint().unwrap_or_default());
    Ok(walk)
}

/// Fewer states than there were would mean that something can no longer happen in the model: then this table is to be
/// looked at, not only changed.
#[test]
fn every_state_of_the_small_scopes_keeps_what_was_committed() -> anyhow::Result<()> {
    let least = BTreeMap::from([
        ("plain", 13_751),
        ("three epochs", 18_104),
        ("shrink", 25_545),
        ("spare in", 38_104),
        ("taken back", 63_907),
        ("disk lost", 121_659),
        ("read", 3_368),
        ("read and shrink", 15_357),
    ]);
    for scope in Scope::SMALL {
        let walk = walked(Epochs { scope, plant: None })?;
        ensure!(walk.reached_the_end, "{}: the last epoch never committed", scope.name);
        let before = least.get(scope.name).copied().unwrap_or_default();
        ensure!(walk.states >= before, "{}: {} states, there were {before}", scope.name, walk.states);
    }
    Ok(())
}

#[test]
fn each_rule_that_is_taken_out_is_missed() -> anyhow::Result<()> {
    let all = std::env::var("TEST_MODEL").is_ok_and(|tier| tier == "all");
    for plant in Plant::ALL.into_iter().filter(|plant| all || !FAR.contains(plant)) {
        walked(Epochs { scope: plant.scope(), plant: Some(plant) })?;
    }
    Ok(())
}

#[test]
fn every_scope_fits_into_a_state() -> anyhow::Result<()> {
    let plants = Plant::ALL.map(Plant::scope);
    for scope in Scope::SMALL.iter().chain(&Scope::LARGE).chain(&Scope::VAST).chain(&plants) {
        ensure!(scope.too_large().is_none(), "{scope:?}: {}", scope.too_large().unwrap_or_default());
    }
    Ok(())
}
