//! Whether a shard's tables work, and when they are opened again if not. Invariant: attempts in a row are bounded and ever
//! further apart; a device that is given up is not asked again before the next start of the node.

use std::time::Duration;

/// How often in a row the tables are opened again before their device is given up: with the pauses between, that is more
/// than a minute, longer than a device takes to be reset or a path to be switched.
pub(super) const ATTEMPTS_MAX: u32 = 8;
/// How often in a row the applier may meet damage: to open tables again cures what the memory between them and the device did,
/// and nothing that is on the device.
pub(super) const ROT_MET_MAX: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// After so long without trouble the next one counts as the first.
const CALM: Duration = Duration::from_secs(120);

/// The trouble that a shard's tables have, or had.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    state: State,
    attempts: u32,
    /// How often the tables came back.
    pub(crate) ended: u64,
    /// When the last trouble ended.
    calm_since: Duration,
}

/// Whether the tables work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    #[default]
    Sound,
    /// Opened again at this time.
    Failed { next: Duration },
    /// Not before the next start of the node. The log is kept: it alone holds what the tables lack.
    Condemned,
}

impl Trouble {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn is_none(&self) -> bool {
        self.state == State::Sound
    }

    /// The device failed.
    pub(super) fn begin(&mut self, now: Duration) {
        if now.saturating_sub(self.calm_since) > CALM {
            self.attempts = 0;
        }
        self.state = State::Failed { next: now + self.pause() };
    }

    /// The tables are being opened again.
    pub(super) fn attempt(&mut self) {
        self.attempts += 1;
    }

    /// That succeeded.
    pub(super) fn end(&mut self, now: Duration) {
        self.state = State::Sound;
        self.calm_since = now;
        self.ended += 1;
    }

    /// It found no room, which is no fault of the file.
    pub(super) fn wait_for_room(&mut self, now: Duration) {
        self.state = State::Failed { next: now + PAUSE_MIN };
    }

    /// It failed again; `false` if that was the last attempt.
    pub(super) fn go_on(&mut self, now: Duration) -> bool {
        let again = self.attempts < ATTEMPTS_MAX;
        if again {
            self.state = State::Failed { next: now + self.pause() };
        }
        again
    }

    /// Other tables are there.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { ended: self.ended, ..Self::default() };
    }

    /// No attempt will help.
    pub(super) fn condemn(&mut self) {
        self.state = State::Condemned;
    }

    /// The first attempt comes at once, later ones ever more slowly.
    fn pause(&self) -> Duration {
        match self.attempts {
            0 => Duration::ZERO,
            attempts => PAUSE_MIN.saturating_mul(1 << attempts.min(16)).min(PAUSE_MAX),
        }
    }
}
