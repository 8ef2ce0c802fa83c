//! What can be wrong with a history.

use std::fmt;

/// The kind of a violation; each is a promise broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged append is not in the log.
    LostAcknowledged,
    /// A message stands twice.
    Duplicate,
    /// A message that nobody sent.
    Phantom,
    /// A refused append is in the log.
    RefusedButPresent,
    /// Part of an append, or with something between its messages.
    TornAppend,
    /// An append was answered with an offset that is not the end of its messages.
    WrongTail,
    /// Two appends were answered with one offset.
    OffsetReuse,
    /// An offset that is no boundary of the log (or counts wrongly).
    NoBoundary,
    /// An append that ended before another began stands behind it.
    Reordered,
    /// An answer shows an older state than an earlier answer.
    StaleRead,
    /// An answer shows what was asked for only later.
    FutureRead,
    /// An answer shows messages that the log does not have: they were not committed.
    BeyondCommitted,
    /// An answer carries other messages than the log.
    WrongContent,
    /// An acknowledged or observed closure is gone.
    LostClose,
    /// Closed without a request.
    PhantomClose,
    /// Something was appended behind the closure.
    AppendedAfterClose,
    /// The closure of an append happened without it, or it without the closure.
    TornClose,
    /// A producer's requests stand in another order, with a gap, or again.
    ProducerOrder,
    /// A producer's next request was refused.
    ProducerRefused,
    /// `Stream-Seq` does not rise.
    SeqOrder,
    /// `Stream-Seq` was refused though it was greater than all before.
    SeqRefused,
    /// A conditional append stands at another offset than it demanded.
    ConditionIgnored,
    /// A condition was refused though the answer shows that it held.
    ConditionRefused,
    /// Two requests were told that they had created the stream.
    CreatedTwice,
    /// The stream was missing while it existed.
    Vanished,
    /// The stream was there after its deletion.
    Resurrected,
    /// Retention let go what was to be kept.
    KeptTooLittle,
    /// What retention had let go was there again.
    Untrimmed,
    /// A reader was told that retention had let go what is there.
    TrimmedTooEarly,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What kind.
    pub kind: Kind,
    /// The evidence.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// Adds a violation.
pub(super) fn report(found: &mut Vec<Violation>, kind: Kind, what: impl Into<String>) {
    found.push(Violation { kind, what: what.into() });
}
