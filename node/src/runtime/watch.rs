//! A thread of the engine that panics ends the node: nobody is left waiting for an answer that cannot come, and what it
//! would have done next is done by the next start, from the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::applier::ApplyQueue;
use super::fatal::Fatal;
use super::mailbox::Mailbox;

/// Watches one thread.
#[derive(Debug)]
pub(crate) struct Watch {
    fatal: Fatal,
    /// The door of the lane that the thread owns, if it owns one.
    mailbox: Option<Arc<Mailbox>>,
    queue: Arc<ApplyQueue>,
}

impl Watch {
    pub(crate) fn over(fatal: &Fatal, mailbox: Option<Arc<Mailbox>>, queue: &Arc<ApplyQueue>) -> Self {
        Self { fatal: fatal.clone(), mailbox, queue: Arc::clone(queue) }
    }

    /// Runs the thread's work.
    pub(crate) fn watch(self, work: impl FnOnce()) {
        // Nothing of the work is looked at after a panic, so nothing half done is seen.
        if catch_unwind(AssertUnwindSafe(work)).is_ok() {
            return;
        }
        if let Some(mailbox) = self.mailbox {
            drop(mailbox.end());
            self.queue.lane_ended();
        }
        // A lane that waits for room would wait for ever when the applier is gone.
        self.queue.stall(true);
        self.fatal.report(
            "a thread of the engine has panicked; what was not answered may or may not have happened",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::mailbox::Job;

    #[tokio::test]
    async fn a_panic_in_an_engine_thread_ends_the_node_and_leaves_nobody_waiting() {
        let (fatal, mailbox) = (Fatal::default(), Arc::new(Mailbox::default()));
        let queue = Arc::new(ApplyQueue::new(1, 1));
        let watch = Watch::over(&fatal, Some(Arc::clone(&mailbox)), &queue);
        std::thread::spawn(move || watch.watch(|| panic!("planted"))).join().unwrap();
        assert!(fatal.reported().await.contains("panicked"));
        assert!(mailbox.send(Job::Stop).is_err(), "the door is closed");
        assert!(queue.take(std::time::Duration::ZERO).ended, "the applier sees the end");
    }
}
