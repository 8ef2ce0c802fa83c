//! What was asked of a stream and what was answered, with real-time intervals: the form that all worlds share.
//!
//! One [`History`] is one *life* of a stream name: from its creation to its deletion. Times are nanoseconds of one
//! stopwatch. A request without an answer is *unknown*; one that certainly did not happen is *refused*.

use serde::{Deserialize, Serialize};

/// A message, unique in a whole run.
pub type MessageId = u64;

/// A boundary between two messages, as an offset names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    /// Messages before it.
    pub messages: u64,
    /// Payload bytes before it.
    pub bytes: u64,
}

/// A message and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// Payload bytes.
    pub bytes: u64,
}

/// The stamp of an idempotent producer. A producer belongs to one client, which sends one request after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Which producer.
    pub producer: u32,
    /// Its epoch.
    pub epoch: u64,
    /// Its sequence number.
    pub seq: u64,
}

/// A POST.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Append {
    /// The messages; none for a mere closure.
    pub messages: Vec<Message>,
    /// `Stream-Closed: true`.
    pub close: bool,
    /// Producer headers. A retry is an event of its own with the same stamp and the same messages.
    pub stamp: Option<Stamp>,
    /// `Stream-Seq`, as a number (sent with leading zeros).
    pub seq: Option<u64>,
    /// `If-Match`.
    pub if_match: Option<Position>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// PUT, with what it puts into a new stream: messages or none.
    Create(Append),
    /// POST.
    Append(Append),
    /// GET from a position, waiting or not.
    Read {
        /// Where it begins.
        from: Position,
    },
    /// HEAD.
    Head,
    /// DELETE.
    Delete,
}

impl Action {
    /// The messages that it sends, if it may.
    #[must_use]
    pub fn append(&self) -> Option<&Append> {
        match self {
            Self::Create(append) | Self::Append(append) => Some(append),
            Self::Read { .. } | Self::Head | Self::Delete => None,
        }
    }
}

/// A state of the stream that an answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its tail.
    pub tail: Position,
    /// Whether it is closed.
    pub closed: bool,
}

/// What a read carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Where to read next.
    pub next: Position,
    /// Whether that is the tail.
    pub up_to_date: bool,
    /// Whether that is the end of a closed stream.
    pub closed: bool,
    /// Messages in it.
    pub count: u64,
    /// Chained hash of their ids, see [`chain`].
    pub hash: u64,
}

/// Why it did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// 404.
    NotFound,
    /// 409: the stream is closed, here.
    Closed(Option<Position>),
    /// 409 to a PUT: it exists with another configuration, which here can only be its closure.
    Conflict,
    /// 409 to a PUT: deleted, but forks still read it.
    Held,
    /// 410 to a GET: retention has let it go; the earliest offset that is kept.
    Trimmed(Option<Position>),
    /// 409: `Stream-Seq` not greater.
    StreamSeq,
    /// 409: a gap; the number that would have been accepted.
    Gap(Option<u64>),
    /// 400: an epoch that does not begin with its first number.
    EpochStart,
    /// 403: a newer epoch has written.
    Fenced,
    /// 412: the tail is another.
    TailMoved(Option<Position>),
    /// Never reached the server, or the server had no capacity.
    Unavailable,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// PUT: it exists now.
    Created {
        /// By this request.
        new: bool,
        /// Its state.
        seen: Seen,
    },
    /// POST: it happened.
    Appended {
        /// It had happened before.
        duplicate: bool,
        /// The state after it.
        seen: Seen,
    },
    /// GET.
    Read(Content),
    /// HEAD.
    Headed(Seen),
    /// DELETE.
    Deleted,
    /// It did not happen.
    Refused(Refusal),
    /// Nobody knows.
    Unknown,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who asked.
    pub client: u32,
    /// When it was sent.
    pub call: u64,
    /// When the answer was there.
    pub ret: u64,
    /// What was asked.
    pub action: Action,
    /// What was answered.
    pub outcome: Outcome,
}

/// What a stream was created to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Keep {
    /// Everything.
    #[default]
    All,
    /// At least its last so many messages.
    Messages(u64),
    /// Its last messages, at least as many as have this many bytes, but for one.
    Bytes(u64),
}

/// When a stream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Lifetime {
    /// Never.
    #[default]
    Forever,
    /// At this moment of the stopwatch, touched or not.
    Until(u64),
    /// So many nanoseconds after the last read or write, or later.
    Sliding(u64),
}

/// What a stream was created to be, as far as its history must show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// Its retention.
    pub keep: Keep,
    /// Its lifetime.
    pub lifetime: Lifetime,
    /// For how long after its end it may still be served, in nanoseconds: until a leader has written that it ended.
    #[serde(default)]
    pub late: u64,
}

/// What an answer says about both ends of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When the request was sent.
    pub call: u64,
    /// When the answer was there.
    pub ret: u64,
    /// `Stream-Earliest-Offset`, or the start.
    pub earliest: Position,
    /// The tail.
    pub tail: Position,
}

/// How the life ended, read when nobody wrote any more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FinalLog {
    /// What retention had let go when it was read; `messages` begins there.
    #[serde(default)]
    pub trimmed: Position,
    /// All messages.
    pub messages: Vec<Message>,
    /// Whether it is closed.
    pub closed: bool,
    /// False when the stream was never there, or was deleted: then `messages` is what it held just before.
    pub present: bool,
}

/// One life of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The stream's name and the number of the life.
    pub name: String,
    /// What it was created to be.
    #[serde(default)]
    pub terms: Terms,
    /// In any order.
    pub events: Vec<Event>,
    /// What answers said about retention.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// The end.
    pub end: FinalLog,
}

/// The modulus of the chained hash: a Mersenne prime, so that products reduce by shifts.
const PRIME: u64 = (1 << 61) - 1;
/// Its base: any number that is not small.
const BASE: u64 = 0x1234_5678_9abc_def1 % PRIME;

#[expect(clippy::cast_possible_truncation, reason = "reduced below 2^61 first")]
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let folded = (product & u128::from(PRIME)) + (product >> 61);
    (folded % u128::from(PRIME)) as u64
}

/// One more message on a chained hash, which begins at 0. Chains can be taken apart: see [`Chain`].
#[must_use]
pub fn chain(hash: u64, id: MessageId) -> u64 {
    (multiply(hash, BASE) + id % PRIME + 1) % PRIME
}

/// The chained hashes of all prefixes of a log, which give that of any range in constant time.
#[derive(Debug, Clone)]
pub struct Chain {
    prefixes: Vec<u64>,
    powers: Vec<u64>,
}

impl Chain {
    /// Of these messages.
    #[must_use]
    pub fn new(messages: &[Message]) -> Self {
        let (mut prefixes, mut powers) = (vec![0], vec![1]);
        let (mut hash, mut power) = (0, 1);
        for message in messages {
            hash = chain(hash, message.id);
            power = multiply(power, BASE);
            prefixes.push(hash);
            powers.push(power);
        }
        Self { prefixes, powers }
    }

    /// The hash of messages `from..to`.
    #[must_use]
    pub fn range(&self, from: usize, to: usize) -> Option<u64> {
        let before = multiply(*self.prefixes.get(from)?, *self.powers.get(to.checked_sub(from)?)?);
        Some((*self.prefixes.get(to)? + PRIME - before) % PRIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_hash_of_a_range_is_that_of_its_messages(ids in prop::collection::vec(any::<u64>(), 1..40), cut: (u8, u8)) {
            let messages: Vec<Message> = ids.iter().map(|&id| Message { id, bytes: 1 }).collect();
            let (a, b) = (usize::from(cut.0) % (ids.len() + 1), usize::from(cut.1) % (ids.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            let expected = ids[from..to].iter().fold(0, |hash, &id| chain(hash, id));
            prop_assert_eq!(Chain::new(&messages).range(from, to), Some(expected));
        }
    }
}
