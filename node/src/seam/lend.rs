//! The threads that serve connections, lent while one of them is busy: whoever blocks or copies for long on such a thread
//! hands its other connections to another one meanwhile. Invariant: work runs exactly once, wherever it is called; on any
//! other thread it just runs.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work`, which may wait for the disk or copy for long, without holding up the other tasks of this thread.
pub fn lending<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_waits_lends_its_thread_to_the_other_tasks() {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (release, released) = mpsc::channel();
        let waiting = tokio.spawn(async move { lending(|| released.recv_timeout(Duration::from_secs(60))) });
        // With one thread, this runs only if the first task lent it.
        tokio.spawn(async move { release.send(()) });
        tokio.block_on(waiting).unwrap().unwrap();
    }

    #[test]
    fn work_runs_on_any_thread() {
        assert_eq!(lending(|| 1), 1, "outside of any runtime");
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(tokio.block_on(async { lending(|| lending(|| 2)) }), 2);
    }
}
