//! Wakes a writer. Invariant: whoever puts something in and then rings is seen, and ringing costs a system call only
//! when the writer sleeps.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// It looks, or will look once more before it sleeps.
const AWAKE: u8 = 0;
/// It sleeps or is about to.
const ASLEEP: u8 = 1;
/// Something was put in since it last looked.
const RUNG: u8 = 2;

/// One sleeper, any number of ringers.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: AtomicU8,
    sleeper: OnceLock<Thread>,
}

impl Bell {
    /// Something was put in.
    pub(super) fn ring(&self) {
        if self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.unpark();
        }
    }

    /// The sleeper looks now; what was put in before is seen.
    pub(super) fn look(&self) {
        self.sleeper.get_or_init(thread::current);
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Sleeps until somebody rings or the time is over; not at all when somebody rang since [`Self::look`]. May return
    /// early for no reason.
    pub(super) fn sleep(&self, at_most: Option<Duration>) {
        let slept = self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok();
        match at_most {
            _ if !slept => {}
            Some(at_most) => thread::park_timeout(at_most),
            None => thread::park(),
        }
    }
}
