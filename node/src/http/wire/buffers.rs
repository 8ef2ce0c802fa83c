//! Read and write buffers, lent per thread: an idle connection holds none, and a busy one gets memory that is warm. A
//! request may begin on one thread and end on another, so read buffers that pile up on one side are shared out.
//! Invariant: a lent read buffer has its full length; what it holds is the borrower's business alone.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// A thread keeps this many buffers of each kind: more connections are rarely between two reads at the same time.
const LOCAL_MAX: usize = 32;
/// How many move between a thread and the shared pool at a time, so that its lock is rarely taken.
const SHARED_STEP: usize = 16;
/// Read buffers that wait for any thread: 4 MiB of them.
const SHARED_MAX: usize = 256;
/// A write buffer that has grown beyond this is not kept.
const OUTPUT_BYTES_KEPT: usize = 64 * 1024;

thread_local! {
    static INPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

static SHARED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A read buffer of exactly `length` bytes.
pub(super) fn take_input(length: usize) -> Vec<u8> {
    let pooled = INPUTS.with_borrow_mut(|pool| {
        if pool.is_empty() {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            let from = shared.len().saturating_sub(SHARED_STEP);
            pool.extend(shared.drain(from..));
        }
        pool.pop()
    });
    match pooled {
        Some(buffer) if buffer.len() == length => buffer,
        _ => vec![0; length],
    }
}

/// Gives a read buffer back.
pub(super) fn give_input(buffer: Vec<u8>) {
    if buffer.is_empty() {
        return;
    }
    INPUTS.with_borrow_mut(|pool| {
        if pool.len() >= LOCAL_MAX {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            let room = SHARED_MAX.saturating_sub(shared.len()).min(SHARED_STEP);
            shared.extend(pool.drain(LOCAL_MAX - SHARED_STEP..).take(room));
        }
        pool.push(buffer);
    });
}

/// An empty write buffer.
pub(super) fn take_output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(1024))
}

/// Gives a write buffer back.
pub(super) fn give_output(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > OUTPUT_BYTES_KEPT {
        return;
    }
    buffer.clear();
    OUTPUTS.with_borrow_mut(|pool| {
        if pool.len() < LOCAL_MAX {
            pool.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all of it, because the shared pool is the process's.
    #[test]
    fn buffers_given_back_on_one_thread_serve_another() {
        const LENGTH: usize = 12_345;
        for _ in 0..2 * LOCAL_MAX {
            give_input(vec![7; LENGTH]);
        }
        let elsewhere = std::thread::spawn(|| take_input(LENGTH)[0]).join().unwrap();
        assert_eq!(elsewhere, 7, "a new one would hold zeros");
        INPUTS.with_borrow(|pool| assert!(pool.len() <= LOCAL_MAX));
        assert_eq!(take_input(LENGTH + 1).len(), LENGTH + 1);
    }
}
