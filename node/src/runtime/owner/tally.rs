//! What is counted of committed ops. Counted when they are published, so the figures never run ahead of the log.

use crate::core::{Appended, Command, Reply};
use crate::runtime::mailbox::{Answer, Answered};
use crate::telemetry::EngineMetrics;
use crate::types::Op;

/// Why a stream may end by a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody asked for it.
    Request,
    /// Its time was over.
    Expiry,
    /// It had ended before, and the last fork that read from it is gone.
    Release,
}

impl Cause {
    /// Of a command's ops. A PUT ends only what has expired.
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::Expire { .. } | Command::Create(_) => Self::Expiry,
            Command::Unpin { .. } => Self::Release,
            _ => Self::Request,
        }
    }
}

/// Counts an answer that says that the write had happened before.
pub(crate) fn count_answer(metrics: &EngineMetrics, answer: &Answer) {
    if let Ok(Answered { reply: Reply::Append(Ok(Appended { duplicate: true, .. })), .. }) = answer {
        metrics.duplicates.inc();
    }
}

/// Counts one op; `let_go` are the payload bytes that it made unreadable.
pub(crate) fn count(metrics: &EngineMetrics, op: &Op, cause: Cause, let_go: u64) {
    match op {
        Op::Append(append) if !append.messages.is_empty() => {
            metrics.appends.inc();
            metrics.messages.inc_by(append.messages.count());
            metrics.appended.inc_by(append.messages.payload_bytes());
        }
        Op::Create(_) => drop(metrics.creates.inc()),
        Op::Delete { .. } | Op::Retire { .. } if cause != Cause::Release => {
            metrics.deletes.inc();
            metrics.expired.inc_by(u64::from(cause == Cause::Expiry));
        }
        Op::Trim { .. } => drop(metrics.trimmed.inc_by(let_go)),
        _ => {}
    }
}
