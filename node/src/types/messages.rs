//! A run of consecutive messages in wire form: the bytes a reader receives, and where each message ends in them.

use std::sync::Arc;

use bytes::Bytes;

use super::Offset;

/// How messages of a stream stand next to each other on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Back to back.
    Plain,
    /// JSON values with one `,` between neighbours (none before the first or behind the last).
    Json,
}

impl Framing {
    /// Bytes between two neighbours.
    #[must_use]
    pub const fn separator_len(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Json => 1,
        }
    }
}

/// Lengths of consecutive messages. The usual single message costs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lengths {
    /// One message.
    One(u32),
    /// Any number, zero included; shared, since a hot chunk is handed to many readers.
    Many(Arc<[u32]>),
}

impl Lengths {
    /// The lengths in order.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(length) => std::slice::from_ref(length),
            Self::Many(lengths) => lengths,
        }
    }
}

/// Consecutive messages. Invariant: `wire.len()` = sum of the lengths + separators between neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    framing: Framing,
    lengths: Lengths,
    wire: Bytes,
}

impl Messages {
    /// One message of a plain stream: the body as it came.
    #[must_use]
    pub fn single(wire: Bytes) -> Option<Self> {
        let length = u32::try_from(wire.len()).ok()?;
        Some(Self { framing: Framing::Plain, lengths: Lengths::One(length), wire })
    }

    /// Joins parts whose lengths are known; `None` when they do not add up to the wire form.
    #[must_use]
    pub fn from_parts(framing: Framing, lengths: Lengths, wire: Bytes) -> Option<Self> {
        let slice = lengths.as_slice();
        let separators = slice.len().saturating_sub(1) * framing.separator_len();
        let payload = slice.iter().try_fold(0usize, |sum, &length| sum.checked_add(length as usize))?;
        (payload.checked_add(separators)? == wire.len()).then_some(Self { framing, lengths, wire })
    }

    /// All messages of several runs (of one stream, in order) as one run. One copy of the bytes.
    #[must_use]
    pub fn concat(framing: Framing, runs: &[&Self]) -> Self {
        let mut wire = Vec::with_capacity(runs.iter().map(|run| run.wire.len() + 1).sum());
        let mut lengths: Vec<u32> = Vec::with_capacity(runs.iter().map(|run| run.lengths().len()).sum());
        for run in runs.iter().filter(|run| !run.is_empty()) {
            if !lengths.is_empty() && framing == Framing::Json {
                wire.push(b',');
            }
            wire.extend_from_slice(&run.wire);
            lengths.extend_from_slice(run.lengths());
        }
        Self { framing, lengths: Lengths::Many(lengths.into()), wire: wire.into() }
    }

    /// No messages.
    #[must_use]
    pub fn none(framing: Framing) -> Self {
        Self { framing, lengths: Lengths::Many(Arc::default()), wire: Bytes::new() }
    }

    /// How they stand next to each other.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Length of each message.
    #[must_use]
    pub fn lengths(&self) -> &[u32] {
        self.lengths.as_slice()
    }

    /// The bytes as a reader receives them.
    #[must_use]
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// The same messages, their bytes held elsewhere (for instance in the log's buffer). The caller guarantees equal bytes.
    #[must_use]
    pub fn with_wire(&self, wire: Bytes) -> Self {
        debug_assert_eq!(wire, self.wire);
        Self { framing: self.framing, lengths: self.lengths.clone(), wire }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lengths().len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths().is_empty()
    }

    /// Payload bytes, separators not counted: what offsets count.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        let separators = self.lengths().len().saturating_sub(1) * self.framing.separator_len();
        (self.wire.len() - separators) as u64
    }

    /// The boundary behind the last of them, when the first begins at `start`.
    #[must_use]
    pub fn end(&self, start: Offset) -> Offset {
        start.advanced(self.count(), self.payload_bytes())
    }

    /// Messages `from..to` (indices within this run), sharing the bytes. Out-of-range bounds are clamped.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let lengths = self.lengths();
        let to = to.min(lengths.len());
        let from = from.min(to);
        if from == to {
            return Self::none(self.framing);
        }
        let separator = self.framing.separator_len();
        let span = |part: &[u32]| part.iter().map(|&length| length as usize + separator).sum::<usize>();
        let begin = span(&lengths[..from]);
        let end = begin + span(&lengths[from..to]) - separator;
        let kept = match &lengths[from..to] {
            [one] => Lengths::One(*one),
            many => Lengths::Many(many.into()),
        };
        Self { framing: self.framing, lengths: kept, wire: self.wire.slice(begin..end) }
    }

    /// How many messages lie before `offset`, when the first begins at `start`; `None` when `offset` is no boundary here.
    #[must_use]
    pub fn boundary(&self, start: Offset, offset: Offset) -> Option<usize> {
        let skip = usize::try_from(offset.messages.checked_sub(start.messages)?).ok()?;
        let before = self.lengths().get(..skip)?;
        let bytes: u64 = before.iter().map(|&length| u64::from(length)).sum();
        (start.bytes + bytes == offset.bytes).then_some(skip)
    }
}

/// Consecutive messages and where they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Boundary before the first message.
    pub start: Offset,
    /// The messages.
    pub messages: Messages,
}

impl Segment {
    /// The boundary behind the last message.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.messages.end(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(parts: &[&str]) -> Messages {
        let lengths = parts.iter().map(|part| u32::try_from(part.len()).unwrap()).collect();
        Messages::from_parts(Framing::Json, Lengths::Many(lengths), Bytes::from(parts.join(","))).unwrap()
    }

    #[test]
    fn slices_keep_exact_bytes_and_boundaries() {
        let run = json(&["1", "{\"a\":2}", "[]"]);
        assert_eq!(run.payload_bytes(), 10);
        assert_eq!(&run.slice(1, 3).wire()[..], b"{\"a\":2},[]");
        assert_eq!(&run.slice(1, 2).wire()[..], b"{\"a\":2}");
        assert!(run.slice(3, 9).is_empty() && run.slice(2, 1).is_empty());
        let start = Offset { messages: 7, bytes: 100 };
        assert_eq!(run.boundary(start, Offset { messages: 9, bytes: 108 }), Some(2));
        assert_eq!(run.boundary(start, Offset { messages: 9, bytes: 107 }), None);
        assert_eq!(run.boundary(start, run.end(start)), Some(3));
        assert_eq!(run.boundary(start, Offset { messages: 11, bytes: 110 }), None);
    }

    #[test]
    fn parts_that_do_not_add_up_are_refused() {
        assert!(
            Messages::from_parts(Framing::Json, Lengths::Many([1, 1].into()), Bytes::from_static(b"12"))
                .is_none()
        );
        assert!(
            Messages::from_parts(Framing::Plain, Lengths::Many([1, 1].into()), Bytes::from_static(b"12"))
                .is_some()
        );
        assert!(
            Messages::from_parts(Framing::Plain, Lengths::Many([u32::MAX; 3].into()), Bytes::new()).is_none()
        );
    }
}
