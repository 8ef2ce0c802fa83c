//! Read and write buffers, lent per thread: an idle connection holds none, and a busy one gets memory that is warm.
//! Invariant: a lent read buffer has its full length; what it holds is the borrower's business alone.

use std::cell::RefCell;

/// A pool keeps this many buffers of each kind: more connections are rarely between two reads at the same time.
const POOLED_MAX: usize = 64;
/// A write buffer that has grown beyond this is not kept.
const OUTPUT_BYTES_KEPT: usize = 64 * 1024;

thread_local! {
    static INPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A read buffer of exactly `length` bytes.
pub(super) fn take_input(length: usize) -> Vec<u8> {
    let pooled = INPUTS.with_borrow_mut(Vec::pop);
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
        if pool.len() < POOLED_MAX {
            pool.push(buffer);
        }
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
        if pool.len() < POOLED_MAX {
            pool.push(buffer);
        }
    });
}
