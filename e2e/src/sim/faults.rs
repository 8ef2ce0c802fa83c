//! The trouble that a seed brings: each kind is on in every second run, then with a rate of its own.

use super::queue::{MILLI, Micros, SECOND};
use crate::dice::Dice;

/// Trouble that begins at a moment. Numbers are part of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// A node's power fails, now and then everybody's.
    Crash = 0,
    /// A process stands still.
    Pause = 1,
    /// A disk is replaced by an empty one.
    Wipe = 2,
    /// A connection breaks.
    Reset = 3,
    /// Nodes do not hear of each other, in one direction or both.
    Partition = 4,
    /// All that is sent over a link arrives when the clog ends.
    Clog = 5,
    /// An operator ends and starts again.
    OperatorCrash = 6,
    /// The record does not answer.
    Outage = 7,
    /// A bit of a synced log flips.
    Flip = 8,
    /// A disk is put back to what it was some starts ago.
    RollBack = 9,
    /// A volume has no room.
    Full = 10,
    /// A clock jumps.
    Jump = 11,
    /// A node wants to hand over what it leads.
    Drain = 12,
    /// A node starts again with another version of the protocol.
    Upgrade = 13,
}

/// All kinds.
const TROUBLES: [Trouble; 14] = [
    Trouble::Crash,
    Trouble::Pause,
    Trouble::Wipe,
    Trouble::Reset,
    Trouble::Partition,
    Trouble::Clog,
    Trouble::OperatorCrash,
    Trouble::Outage,
    Trouble::Flip,
    Trouble::RollBack,
    Trouble::Full,
    Trouble::Jump,
    Trouble::Drain,
    Trouble::Upgrade,
];

/// Rates of one run; those per mille are of messages, syncs or calls.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    /// How often trouble of each kind begins, on average.
    pub(super) every: Vec<(Trouble, Micros)>,
    pub(super) late_per_mille: u64,
    pub(super) late_max: Micros,
    pub(super) lost_per_mille: u64,
    pub(super) doubled_per_mille: u64,
    pub(super) reordered_per_mille: u64,
    pub(super) slow_sync_per_mille: u64,
    pub(super) slow_sync_max: Micros,
    /// How often power fails while something is on its way to the disk.
    pub(super) crash_in_sync_per_mille: u64,
    pub(super) crash_in_save_per_mille: u64,
    /// How often a disk refuses a sync or a save.
    pub(super) refused_syncs_per_mille: u64,
    /// How often a disk does not let something be read.
    pub(super) unread_per_mille: u64,
    /// How far clocks on the wall are off at most, in seconds.
    pub(super) off_max: u64,
    pub(super) stale_per_mille: u64,
    pub(super) lost_answers_per_mille: u64,
    /// How often an operator ends while a write of its is on the way.
    pub(super) ends_at_write_per_mille: u64,
    /// How often the hand that changes voters does something that nobody needs, per mille of its looks at a shard.
    pub(super) whims_per_mille: u64,
    /// How far clocks may differ in speed, per mille.
    pub(super) drift_per_mille: u64,
    /// How long a client thinks at most.
    pub(super) thinks: Micros,
}

impl Faults {
    /// No trouble at all.
    pub(super) const fn none() -> Self {
        Self {
            every: Vec::new(),
            late_per_mille: 0,
            late_max: 0,
            lost_per_mille: 0,
            doubled_per_mille: 0,
            reordered_per_mille: 0,
            slow_sync_per_mille: 0,
            slow_sync_max: 0,
            crash_in_sync_per_mille: 0,
            crash_in_save_per_mille: 0,
            refused_syncs_per_mille: 0,
            unread_per_mille: 0,
            off_max: 0,
            stale_per_mille: 0,
            lost_answers_per_mille: 0,
            ends_at_write_per_mille: 0,
            whims_per_mille: 0,
            drift_per_mille: 0,
            thinks: 500 * MILLI,
        }
    }

    /// The mix of a seed.
    pub(super) fn drawn(dice: &mut Dice) -> Self {
        let mut faults = Self::none();
        for trouble in TROUBLES {
            if dice.once_in(2) {
                let rare = if trouble == Trouble::Upgrade { 4 } else { 1 };
                faults.every.push((trouble, rare * (2 + dice.below(60)) * SECOND));
            }
        }
        let mut rate = |max: u64| if dice.once_in(2) { 1 + dice.below(max) } else { 0 };
        faults.late_per_mille = rate(100);
        faults.late_max = 10 * MILLI + rate(5 * SECOND);
        faults.lost_per_mille = rate(300);
        faults.doubled_per_mille = rate(500);
        faults.reordered_per_mille = rate(300);
        faults.slow_sync_per_mille = rate(50);
        faults.slow_sync_max = 10 * MILLI + rate(5 * SECOND);
        faults.crash_in_sync_per_mille = u64::from(rate(2) > 0);
        faults.crash_in_save_per_mille = rate(100);
        faults.refused_syncs_per_mille = u64::from(rate(2) > 1);
        faults.unread_per_mille = rate(100);
        faults.off_max = rate(3600);
        faults.stale_per_mille = rate(500);
        faults.lost_answers_per_mille = rate(300);
        faults.ends_at_write_per_mille = rate(300);
        faults.whims_per_mille = rate(150);
        faults.drift_per_mille = rate(100);
        faults.thinks = dice.pick(&[100, 400, 1000]).map_or(faults.thinks, |thinks| thinks * MILLI);
        faults
    }
}
