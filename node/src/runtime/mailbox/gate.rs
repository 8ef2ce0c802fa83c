//! The way to a lane's mailbox for what comes over links. Invariant: what has come and was not taken is bounded, and whoever brings
//! more waits here, which holds its connection back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Mailbox;

/// Bytes of messages that may wait for one lane; a message that is larger goes alone.
const WAITING_BYTES_MAX: u64 = 8 << 20;

/// Bounds what waits for a lane.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    bytes: u64,
    /// So many wait: nobody pays for waking nobody.
    waiting: usize,
    ended: bool,
}

/// A place behind a gate; free again once it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    gate: Arc<Gate>,
    bytes: u64,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place; the owner must know then that it has something to do.
    pub(in crate::runtime) fn enter(self: &Arc<Self>, bytes: u64, mailbox: &Mailbox) -> Hold {
        let full = |state: &mut GateState| {
            !state.ended && state.bytes > 0 && state.bytes + bytes > WAITING_BYTES_MAX
        };
        let mut state = self.lock();
        if full(&mut state) {
            state.waiting += 1;
            mailbox.wake();
            state = self.freed.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.bytes += bytes;
        Hold { gate: Arc::clone(self), bytes }
    }

    /// Nobody waits any more.
    pub(in crate::runtime) fn end(&self) {
        self.lock().ended = true;
        self.freed.notify_all();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.bytes -= self.bytes;
        let awaited = state.waiting > 0;
        drop(state);
        if awaited {
            self.gate.freed.notify_all();
        }
    }
}
