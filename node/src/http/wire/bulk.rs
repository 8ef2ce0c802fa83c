//! Large writes, which copy for longer than a small request takes from end to end: while one is under way another thread
//! looks after the other connections of this one. Invariant: at most as many at a time as there are cores.

use std::sync::LazyLock;

use tokio::sync::Semaphore;

use crate::seam::lending;

/// A copy into the socket that takes longer than handing the other connections over, several times.
const BULK_BYTES_MIN: usize = 128 * 1024;

static CORES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Runs a write of up to `bytes`, out of the way of others if it is a large one.
pub(super) fn write<T>(bytes: usize, write: impl FnOnce() -> T) -> T {
    if bytes < BULK_BYTES_MIN {
        return write();
    }
    match CORES.try_acquire() {
        Ok(_core) => lending(write),
        Err(_) => write(),
    }
}
