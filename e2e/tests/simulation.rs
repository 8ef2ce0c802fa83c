//! Replicated shards in the simulator: whatever goes wrong, nothing acknowledged is lost; equal seeds are equal runs; and
//! the simulator finds the bugs that are planted into its driver.

use thalweg_e2e::sim::{Figures, Plant, Scope, simulate};

/// Seeds that every developer runs; `TEST_SIM_SEEDS` asks for more.
const SEEDS: u64 = 100;
/// Seeds that are run twice; `TEST_SIM_TWICE` asks for more.
const TWICE: u64 = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_acknowledged_write_is_lost_and_every_shard_recovers_whatever_a_seed_brings() {
    let from = number("TEST_SEED").unwrap_or(1);
    let seeds = number("TEST_SIM_SEEDS").unwrap_or(SEEDS);
    let mut figures = Figures::default();
    for seed in from..from + seeds {
        let outcome = simulate(&Scope::of_seed(seed));
        assert_eq!(outcome.violation, None, "to see it again: make sim SEED={seed}");
        figures.add(&outcome.figures);
    }
    assert!(figures.writes > 1000 * seeds && figures.reads > 500 * seeds, "{figures:?}");
    assert!(figures.elections > 5 * seeds && figures.crashes > 5 * seeds, "{figures:?}");
    assert!(figures.wipes > seeds && figures.partitions > seeds, "{figures:?}");
    assert!(figures.damaged > seeds / 4 && figures.rolled_back > seeds / 2, "{figures:?}");
    assert!(figures.refused > seeds / 3, "{figures:?}");
    assert!(figures.mended > seeds / 4 && figures.seeded > seeds, "{figures:?}");
    assert!(figures.repeated > 5 * seeds && figures.upgraded > seeds, "{figures:?}");
    assert!(figures.misplaced > seeds / 8 && figures.unread > seeds, "{figures:?}");
    assert!(figures.lacking > 0, "{figures:?}");
    println!("{seeds} seeds from {from}: {figures:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let from = number("TEST_SEED").unwrap_or(1);
    let seeds = number("TEST_SIM_TWICE").unwrap_or(TWICE);
    for seed in from..from + seeds {
        let (one, other) = (simulate(&Scope::of_seed(seed)), simulate(&Scope::of_seed(seed)));
        assert_eq!((one.hash, one.figures), (other.hash, other.figures), "seed {seed}");
        let told = simulate(&Scope { lines: true, ..Scope::of_seed(seed) });
        assert_eq!(told.hash, one.hash, "an event log changes nothing");
    }
    println!("{seeds} seeds from {from} were the same twice");
}

/// Each bug with a seed that shows it: `make sim ARGS="--plant all --seeds 2000"` finds others when worlds have changed.
const FOUND: [(Plant, u64); 48] = [
    (Plant::AcknowledgesBeforeCommit, 1),
    (Plant::CountsTheUnsynced, 1),
    (Plant::ForgetsPromises, 1),
    (Plant::SealsTheUnsynced, 101),
    (Plant::CountsAnEmptyDisk, 4),
    (Plant::ReadsWithoutARound, 7),
    (Plant::ReadsFromAnOlderRound, 2),
    (Plant::ReadsPastTheCommit, 1),
    (Plant::DropsOnAFullLink, 1),
    (Plant::CutsInMemoryOnly, 1),
    (Plant::CutsTooMuch, 1),
    (Plant::ResumesInItsOldEpoch, 1),
    (Plant::ForgetsNewVoters, 1),
    (Plant::AppliesTheUncommitted, 1),
    (Plant::DuplicatesOnRetry, 1),
    (Plant::RefusesTheUnknown, 2),
    (Plant::CountsOldAcknowledgements, 427),
    (Plant::WritesWithoutPrecondition, 1),
    (Plant::PrefersLength, 7),
    (Plant::TrustsOneSeal, 1),
    (Plant::AsksOnlyTheNewestSet, 30),
    (Plant::LeadsBeforeTheRecord, 2),
    (Plant::ConfirmsUnasked, 1),
    (Plant::AcknowledgesTheUnsynced, 1),
    (Plant::CountsTheUnsaved, 1),
    (Plant::SkipsTheBarrier, 1),
    (Plant::ConfirmsTooEarly, 1),
    (Plant::TakesDamageForATornTail, 5),
    (Plant::RetriesAFailedSync, 8),
    (Plant::ForgetsBoots, 37),
    (Plant::AcceptsAnyStart, 37),
    (Plant::VotesUnvouched, 7),
    (Plant::TakesTheDroppedForWritten, 3),
    (Plant::CountsTheDamaged, 158),
    (Plant::MendsTooEarly, 5),
    (Plant::LetsGoTooMuch, 8),
    (Plant::OffersTheUncommitted, 2),
    (Plant::TakesAnOlderImage, 23),
    (Plant::SeedsInMemoryOnly, 16),
    (Plant::LeavesProducersOut, 2),
    (Plant::ServesBeforeItsTables, 1),
    (Plant::KeepsWhatWasTakenBack, 2),
    (Plant::AnswersDuplicatesAtOnce, 1),
    (Plant::ForgetsTheUnapplied, 1),
    (Plant::ServesDamagedBytes, 57),
    (Plant::TakesZerosForTheEnd, 30),
    (Plant::TakesAnErrorForTheEnd, 1),
    (Plant::LeavesTheDirectoryUnsynced, 2),
];

#[test]
fn planted_bugs_are_found() {
    assert_eq!(FOUND.map(|(plant, _)| plant), Plant::ALL, "each has a seed");
    for (plant, seed) in FOUND {
        let outcome = simulate(&Scope { plant: Some(plant), ..Scope::of_seed(seed) });
        assert!(outcome.violation.is_some(), "{plant:?} is not found with seed {seed}");
        assert_eq!(simulate(&Scope::of_seed(seed)).violation, None, "seed {seed} without a bug");
    }
}
