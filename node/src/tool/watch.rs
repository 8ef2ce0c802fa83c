//! Tells whoever waits at a terminal how far a long piece of work is. Lines go to standard error, every two seconds, so
//! short work says nothing and standard output stays free for what was asked for.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::store::snapshots::Progress;

const INTERVAL: Duration = Duration::from_secs(2);

/// Lives as long as the work.
pub(super) struct Watch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch `progress` of what `what` names.
    #[expect(clippy::print_stderr, reason = "a command line program tells its caller how far it is")]
    pub(super) fn over(what: String, progress: &Arc<Progress>) -> std::io::Result<Self> {
        let (end, ended) = channel::<()>();
        let progress = Arc::clone(progress);
        let tell = move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = progress.now();
                eprintln!("{what}: {} of {} rows, {} MiB", now.rows, now.rows_total, now.bytes >> 20);
            }
        };
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(tell)?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It only prints; how it ended does not matter.
            let _ended = thread.join();
        }
    }
}

/// Waits for so long.
pub(super) fn pause(time: Duration) {
    let (_keep, never) = channel::<()>();
    let _elapsed = never.recv_timeout(time);
}
