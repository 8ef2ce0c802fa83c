//! Long runs in pieces: what was simulated so far stands in a file, and the next piece goes on behind it. Invariant: no seed
//! is simulated twice, whoever interrupts whom.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

use super::{Figures, Plant, Scope, simulate};

/// Numbers that a file begins with, before the figures.
const OWN: usize = 2;

/// How far a long run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The next seed.
    pub next: u64,
    /// So many were simulated without a violation.
    pub seeds: u64,
    /// What happened in them.
    pub figures: Figures,
}

impl Progress {
    /// What the file says; a run that begins if there is none.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        // Far from the seeds that tests and people use.
        let mut progress = Self { next: 1_000_000_000, seeds: 0, figures: Figures::default() };
        if !file.exists() {
            return Ok(progress);
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        for (place, (name, field)) in progress.named().into_iter().enumerate() {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            // What was not counted yet when the file was written has not happened.
            let line = if place < OWN { line } else { line.or(Some("0")) };
            let number = line.and_then(|number| number.parse().ok());
            *field = number.with_context(|| format!("{} has no number for {name}", file.display()))?;
        }
        Ok(progress)
    }

    /// Keeps it.
    pub fn keep(mut self, file: &Path) -> anyhow::Result<()> {
        let directory = file.parent().context("a file without a directory")?;
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let mut next = tempfile::NamedTempFile::new_in(directory)?;
        for (name, field) in self.named() {
            writeln!(next, "{name} {field}")?;
        }
        next.persist(file).with_context(|| format!("writing {}", file.display()))?;
        Ok(())
    }

    /// One more seed; one that shows a violation is not counted.
    pub fn advance(&mut self) -> Result<(), String> {
        let outcome = simulate(&Scope::of_seed(self.next));
        if let Some(violation) = outcome.violation {
            return Err(violation);
        }
        self.figures.add(&outcome.figures);
        (self.next, self.seeds) = (self.next + 1, self.seeds + 1);
        Ok(())
    }

    fn named(&mut self) -> Vec<(&'static str, &mut u64)> {
        let own: [_; OWN] = [("next", &mut self.next), ("seeds", &mut self.seeds)];
        own.into_iter().chain(self.figures.named()).collect()
    }
}

/// The first of so many seeds that shows a planted bug.
#[must_use]
pub fn planted(
    plant: Plant,
    seeds: std::ops::Range<u64>,
    virtual_micros: super::Micros,
) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let scope = Scope { seed, virtual_micros, plant: Some(plant), lines: false };
        simulate(&scope).violation.map(|violation| (seed, violation))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_goes_on_where_it_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("long/sim");
        let begun = Progress::read(&file).unwrap();
        assert_eq!(begun.seeds, 0);
        let figures = Figures { writes: 7, rolled_back: 3, ..Figures::default() };
        let kept = Progress { next: begun.next + 5, seeds: 5, figures };
        kept.keep(&file).unwrap();
        kept.keep(&file).unwrap();
        assert_eq!(Progress::read(&file).unwrap(), kept);
        std::fs::write(&file, "next 9\nseeds 4\n").unwrap();
        let older = Progress { next: 9, seeds: 4, figures: Figures::default() };
        assert_eq!(Progress::read(&file).unwrap(), older, "a file of before some figures were counted");
        std::fs::write(&file, "next 9\n").unwrap();
        assert!(Progress::read(&file).is_err(), "a file that says too little is no beginning");
    }
}
