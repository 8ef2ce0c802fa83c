//! Kills in quick succession while the clients work: what is waited for is what they are told, not the clock.
//!
//! Invariant: between any two kills something is acknowledged, so each finds nodes at work, and none stands on another's
//! wreck for long.

use std::fmt;
use std::time::Duration;

use super::world::World;
use crate::dice::Dice;

/// Longest wait for what must come by itself: a start, an election, an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(90);
/// Acknowledged appends between two kills: a few, so that the next one may find the last one's traces, or many.
const CALM_MIN: u64 = 20;
const CALM_SPREAD: u64 = 180;
/// For so long at most the others are watched while one is dead that nobody told of: its shards have no leader, and in the
/// end every client waits for one of them.
const DEAD_MAX: Duration = Duration::from_millis(400);

/// What is killed, and how it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// A node that leads; the driver hears of it, and it comes back when others lead what it led.
    Leader,
    /// A node that leads, which is started again before anybody has missed it: it leads on, in an epoch of its new boot.
    Restart,
    /// Any node; nobody is told.
    Any,
    /// Two of three at once: nobody can write until they are back.
    Majority,
    /// All at once.
    All,
}

impl Kill {
    const ALL_KINDS: [Self; 5] = [Self::Leader, Self::Restart, Self::Any, Self::Majority, Self::All];

    /// Of eight, so many are of each kind.
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0..3 => Self::Leader,
            3 | 4 => Self::Restart,
            5 => Self::Any,
            6 => Self::Majority,
            _ => Self::All,
        }
    }
}

/// The kills that were done.
#[derive(Debug, Clone, Default)]
pub struct Kills(pub Vec<Kill>);

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cycles of kill -9:", self.0.len())?;
        for kind in Kill::ALL_KINDS {
            let times = self.0.iter().filter(|kill| **kill == kind).count();
            write!(f, " {times} × {kind:?}")?;
        }
        Ok(())
    }
}

impl World {
    /// Kills nodes so many times, and waits in the end until every shard has an open leader again.
    pub async fn kill_cycles(&mut self, count: u64, seed: u64) -> anyhow::Result<Kills> {
        let mut dice = Dice::new(seed ^ 0x6b11_1ed5);
        let mut kills = Kills::default();
        for _ in 0..count {
            self.progress(CALM_MIN + dice.below(CALM_SPREAD), PATIENCE).await?;
            let node = usize::try_from(dice.below(self.count() as u64))?;
            let kill = Kill::draw(&mut dice);
            self.kill_and_start(kill, node, &mut dice).await?;
            kills.0.push(kill);
        }
        self.progress(CALM_MIN, PATIENCE).await?;
        self.wait_open(PATIENCE).await?;
        Ok(kills)
    }

    async fn kill_and_start(&mut self, kill: Kill, node: usize, dice: &mut Dice) -> anyhow::Result<()> {
        match kill {
            Kill::Leader => {
                // A driver lets a shard rest longer after each failover; a new one knows of none.
                self.drive().await?;
                self.wait_open(PATIENCE).await?;
                let leader = self.some_leader().unwrap_or(node);
                let name = self.name(leader).to_owned();
                self.kill(leader, true).await?;
                let moved =
                    |view: &crate::driver::View| view.is_open() && !view.leaders().contains_key(&name);
                self.driver()?.wait(PATIENCE, "others lead what it led", moved).await?;
                self.progress(dice.below(CALM_SPREAD), PATIENCE).await?;
            }
            Kill::Restart => {
                let leader = self.some_leader().unwrap_or(node);
                self.kill(leader, false).await?;
            }
            Kill::Any => {
                self.kill(node, false).await?;
                // Whether or not something is acknowledged meanwhile.
                let _ = self.progress(CALM_SPREAD, DEAD_MAX).await;
            }
            Kill::Majority => {
                for dead in (0..self.count()).filter(|other| *other != node) {
                    self.kill(dead, false).await?;
                }
            }
            Kill::All => {
                for dead in 0..self.count() {
                    self.kill(dead, false).await?;
                }
            }
        }
        self.start_all().await
    }
}
