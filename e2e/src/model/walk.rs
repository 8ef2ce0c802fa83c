//! A walk through all states within a scope, and what it found.

use std::collections::BTreeMap;
use std::time::Duration;

use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Property};

use super::step::Step;
use super::world::World;
use super::{Epochs, steps, tell, twins};
use crate::stopwatch::Stopwatch;

const NOTHING_LOST: &str = "nothing that was committed is lost";
const REACHED_THE_END: &str = "the last epoch commits";
/// How often a long walk says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// How late it may be noticed that a walk is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a walk through all states found.
#[derive(Debug)]
pub struct Walk {
    /// Different states.
    pub states: usize,
    /// Ways into them.
    pub ways: usize,
    /// Steps of the longest way that was gone: to the farthest state where a rule is missing, else a longer one.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// The way to a loss step by step, what was lost at its end; a shortest one if a rule is missing and one thread walked.
    pub loss: Option<Vec<String>>,
    /// The last epoch committed something: the walk did not stay at the beginning.
    pub reached_the_end: bool,
}

/// How far a walk is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Different states so far.
    pub states: usize,
    /// Steps of the longest way so far.
    pub depth: usize,
    /// Since the walk began.
    pub time: Duration,
}

impl Epochs {
    /// Bytes that one state takes while it waits to be looked at, without what the walk adds.
    pub const STATE_BYTES: usize = size_of::<World>();

    /// Walks through every state, on so many threads. Ends at the first loss, if there is one.
    #[must_use]
    pub fn walk(self, threads: usize) -> Walk {
        self.walk_and_tell(threads, |_| {})
    }

    /// As [`Self::walk`], and says every two seconds how far it is.
    #[must_use]
    pub fn walk_and_tell(self, threads: usize, tell: impl FnMut(Progress) + Send) -> Walk {
        let started = Stopwatch::start();
        let mut teller = Teller { tell, told: Duration::ZERO };
        // In breadth, the first loss is a shortest one. In depth, only the numbers of the states that were seen stay in
        // memory (9 to 18 bytes each), not those that wait to be looked at: scopes of 10^8 states fit.
        if self.plant.is_some() {
            self.found(&self.builder(threads).spawn_bfs().join_and_report(&mut teller), started)
        } else {
            self.found(&self.builder(threads).spawn_dfs().join_and_report(&mut teller), started)
        }
    }

    fn builder(self, threads: usize) -> CheckerBuilder<States> {
        States(self).checker().threads(threads).finish_when(HasDiscoveries::AnyFailures)
    }

    fn found(&self, checker: &impl Checker<States>, started: Stopwatch) -> Walk {
        Walk {
            states: checker.unique_state_count(),
            ways: checker.state_count(),
            depth: checker.max_depth(),
            time: started.elapsed(),
            loss: checker.discovery(NOTHING_LOST).map(|path| self.told(path.into_actions())),
            reached_the_end: checker.discovery(REACHED_THE_END).is_some(),
        }
    }

    /// The steps in words. Each state of the walk names the replicas anew; here everyone keeps the first name.
    fn told(&self, steps: Vec<Step>) -> Vec<String> {
        let (mut world, mut names) = twins::sorted(&World::first(&self.scope));
        let mut told = Vec::new();
        for step in steps {
            let Some(next) = self.after(&world, step) else { break };
            told.push(tell::step(&world, &next, step, names));
            let (sorted, before) = twins::sorted(&next);
            (world, names) = (sorted, before.map(|name| names[usize::from(name)]));
        }
        told.extend(world.lost.map(|lost| tell::loss(lost).to_owned()));
        told
    }
}

/// The model as the library walks it: each state is one of its family, see [`twins`].
struct States(Epochs);

impl Model for States {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![twins::sorted(&World::first(&self.0.scope)).0]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.lost.is_none() {
            steps::possible(&self.0, world, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let next = self.0.after(world, step)?;
        (next != *world).then(|| twins::sorted(&next).0)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_LOST, |_, world: &World| world.lost.is_none()),
            Property::sometimes(REACHED_THE_END, |model: &Self, world: &World| {
                world.committed.stamp(world.committed.len()).record() == model.0.scope.epochs
            }),
        ]
    }
}

struct Teller<F> {
    tell: F,
    told: Duration,
}

impl<F: FnMut(Progress)> Reporter<States> for Teller<F> {
    fn report_checking(&mut self, data: ReportData) {
        if data.done || data.duration < self.told + PROGRESS_EVERY {
            return;
        }
        self.told = data.duration;
        (self.tell)(Progress { states: data.unique_states, depth: data.max_depth, time: data.duration });
    }

    fn report_discoveries(&mut self, _: &States, _: BTreeMap<&'static str, ReportDiscovery<States>>) {}

    fn delay(&self) -> Duration {
        LOOK_EVERY
    }
}
