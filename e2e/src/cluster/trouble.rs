//! What can happen to a world while its clients work, drawn by a seed.

use std::fmt;
use std::time::Duration;

use tokio::time::sleep;

use super::world::World;
use crate::dice::Dice;
use crate::proxy::Rules;

/// Time for the driver to see that all is well again; suspicion takes two seconds, an election less.
const WELL_MAX: Duration = Duration::from_secs(90);

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL of a node that leads, and a start a while later; the driver hears of it at once.
    KillLeader,
    /// The same, and the driver must find out by itself.
    KillUnseen,
    /// SIGKILL of all nodes at once.
    KillAll,
    /// SIGSTOP, a while, SIGCONT.
    Pause,
    /// SIGTERM and a start.
    Stop,
    /// A node is cut off from the others; clients and driver reach it still.
    Isolate,
    /// Nothing that one node sends reaches another.
    OneWay,
    /// The driver does not reach a node that all others reach.
    Hide,
    /// Connections of a node to others are taken and nobody is at their other end, in both directions.
    HalfOpen,
    /// What one node and the others send each other is acknowledged and gone; then these connections break.
    Swallow,
    /// Every connection between nodes ends amid whatever it carries.
    Reset,
    /// Every way between nodes is slow and uneven, and connections overtake each other.
    Slow,
    /// Beginnings of connections come a second time.
    Replay,
    /// The process moves in short slices only, as on a machine or a disk that is far too slow.
    Crawl,
}

impl Trouble {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::KillLeader,
        Self::KillUnseen,
        Self::KillAll,
        Self::Pause,
        Self::Stop,
        Self::Isolate,
        Self::OneWay,
        Self::Hide,
        Self::HalfOpen,
        Self::Swallow,
        Self::Reset,
        Self::Slow,
        Self::Replay,
        Self::Crawl,
    ];
}

/// Another leads by then: suspicion takes two seconds, on a machine that does much else more.
const REPLACED_AFTER: Duration = Duration::from_secs(4);

/// What happened, in order.
#[derive(Debug, Clone, Default)]
pub struct Happened(pub Vec<(Trouble, usize)>);

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Trouble::ALL {
            let times = self.0.iter().filter(|(happened, _)| *happened == kind).count();
            if times > 0 {
                write!(f, "{times} × {kind:?}, ")?;
            }
        }
        write!(f, "{} in all", self.0.len())
    }
}

impl World {
    /// Does `count` of these in a drawn order, each once before any comes again, with calm between them, and waits until every shard has
    /// an open leader again. The first pause is that of a leader, and so long that it is replaced and wakes among its clients.
    pub async fn disturb(&mut self, count: u32, seed: u64, kinds: &[Trouble]) -> anyhow::Result<Happened> {
        let mut dice = Dice::new(seed ^ 0x7a0b_11e5);
        let mut happened = Happened::default();
        let mut left = Vec::new();
        for _ in 0..if kinds.is_empty() { 0 } else { count } {
            sleep(Duration::from_millis(100 + dice.below(1_400))).await;
            let mut node = usize::try_from(dice.below(self.count() as u64))?;
            if left.is_empty() {
                left.extend_from_slice(kinds);
            }
            let trouble = left.swap_remove(usize::try_from(dice.below(left.len() as u64))?);
            let mut while_ = Duration::from_millis(200 + dice.below(3_800));
            if trouble == Trouble::Pause && happened.0.iter().all(|(kind, _)| *kind != trouble) {
                (node, while_) = (self.some_leader().unwrap_or(node), while_ + REPLACED_AFTER);
            }
            self.befall(trouble, node, while_, &mut dice).await?;
            happened.0.push((trouble, node));
        }
        self.wait_open(WELL_MAX).await?;
        Ok(happened)
    }

    async fn befall(
        &mut self,
        trouble: Trouble,
        node: usize,
        while_: Duration,
        dice: &mut Dice,
    ) -> anyhow::Result<()> {
        let others = (node + 1 + usize::try_from(dice.below(self.count() as u64 - 1))?) % self.count();
        match trouble {
            Trouble::KillLeader | Trouble::KillUnseen => {
                let leader = self.some_leader().unwrap_or(node);
                self.kill(leader, trouble == Trouble::KillLeader).await?;
                sleep(while_).await;
                self.start_node(leader).await?;
            }
            Trouble::KillAll => {
                for number in 0..self.count() {
                    self.kill(number, false).await?;
                }
                self.start_all().await?;
            }
            Trouble::Pause => {
                self.pause(node)?;
                sleep(while_).await;
                self.resume(node)?;
            }
            Trouble::Stop => {
                self.stop(node).await?;
                self.start_node(node).await?;
            }
            Trouble::Crawl => self.crawl(node, while_).await?,
            Trouble::Replay => drop(self.network().replay().await?),
            Trouble::Reset => self.network().reset(),
            Trouble::Isolate
            | Trouble::OneWay
            | Trouble::Hide
            | Trouble::HalfOpen
            | Trouble::Swallow
            | Trouble::Slow => {
                self.spoil(trouble, node, others, dice);
                sleep(while_).await;
                self.network().heal();
            }
        }
        Ok(())
    }

    fn spoil(&self, trouble: Trouble, node: usize, other: usize, dice: &mut Dice) {
        let network = self.network();
        match trouble {
            Trouble::Isolate => network.isolate(node),
            Trouble::OneWay => network.cut_one_way(node, other),
            Trouble::Hide => network.hide_from_driver(node),
            Trouble::HalfOpen => network.half_open(node),
            Trouble::Swallow => network.swallow(node),
            _ => {
                let mut rules = Rules { hold: Duration::from_millis(100), ..Rules::default() };
                rules.there.delay = Duration::from_millis(dice.below(60));
                rules.back.delay = Duration::from_millis(dice.below(60));
                rules.there.jitter = Duration::from_millis(dice.below(80));
                network.everywhere(rules);
            }
        }
    }
}
