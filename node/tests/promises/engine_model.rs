//! What a stream must hold at each moment of a recorded history, and the comparison with what an engine says.
//!
//! Every name belongs to one client, which waits for each answer before it sends the next request about it. So at any
//! moment the state of a name is the last acknowledged one or, if a request is on its way, the one that it leads to.

use std::collections::BTreeMap;

use bytes::Bytes;
use thalweg_node::runtime::{Engine, ReadError, ReadFrom};
use thalweg_node::types::{Incarnation, Lifetime, Offset, StreamName, UnixMillis};

/// How long a stream lives, in the clock's milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Forever,
    /// Gone from this instant on.
    Until(i64),
    /// So many seconds after the last read or write: not gone before this instant; reads and starts may have put it off.
    Sliding(u64, i64),
}

impl Life {
    /// What the engine says of such a stream.
    const fn lifetime(self) -> Lifetime {
        match self {
            Self::Forever => Lifetime::Forever,
            Self::Until(at) => Lifetime::Until(UnixMillis(at)),
            Self::Sliding(seconds, _) => Lifetime::Sliding(seconds),
        }
    }
}

/// A living stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) json: bool,
    /// All messages that it ever had, those of a fork's source included.
    pub(crate) messages: Vec<Bytes>,
    pub(crate) closed: bool,
    /// Last accepted epoch and sequence number of its producer.
    pub(crate) producer: Option<(u64, u64)>,
    /// The number in the last `Stream-Seq`.
    pub(crate) seq: Option<u64>,
    /// Messages that retention keeps at least.
    pub(crate) keep: Option<u64>,
    pub(crate) life: Life,
}

impl Stream {
    /// The boundary in front of message `count`.
    pub(crate) fn boundary(&self, count: usize) -> Offset {
        let bytes: usize = self.messages[..count].iter().map(Bytes::len).sum();
        Offset::ZERO.advanced(count as u64, bytes as u64)
    }

    pub(crate) fn tail(&self) -> Offset {
        self.boundary(self.messages.len())
    }

    fn may_be_gone(&self, now: i64) -> bool {
        matches!(self.life, Life::Until(at) | Life::Sliding(_, at) if at <= now)
    }
}

/// A state of a name, from the request that leads to it on.
#[derive(Debug, Clone)]
struct Version {
    issued: usize,
    answered: usize,
    state: Option<Stream>,
}

/// The states of one name in order; absent before the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline(Vec<Version>);

/// The answer never came.
pub(crate) const NEVER: usize = usize::MAX;

impl Timeline {
    pub(crate) fn of(state: Option<Stream>) -> Self {
        Self(vec![Version { issued: 0, answered: 0, state }])
    }

    pub(crate) fn push(&mut self, issued: usize, answered: usize, state: Option<Stream>) {
        self.0.push(Version { issued, answered, state });
    }

    /// The last state, whether or not it was acknowledged.
    pub(crate) fn last(&self) -> Option<&Stream> {
        self.0.last().and_then(|version| version.state.as_ref())
    }

    /// Nobody knows whether the last request happened.
    pub(crate) fn unknown(&self) -> bool {
        self.0.last().is_some_and(|version| version.answered == NEVER)
    }

    /// When answers came.
    pub(crate) fn answers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|version| version.answered).filter(|answered| *answered != NEVER)
    }

    /// All states, with when each was asked for and answered.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (usize, usize, Option<&Stream>)> {
        self.0.iter().map(|version| (version.issued, version.answered, version.state.as_ref()))
    }

    /// Nothing was ever asked for under this name.
    pub(crate) fn untouched(&self) -> bool {
        self.0.is_empty()
    }

    /// The states that a disk cut at `moment` may show: the acknowledged one, and that of a request under way.
    pub(crate) fn candidates(&self, moment: usize) -> Vec<Option<Stream>> {
        let acknowledged = self.0.iter().rposition(|version| version.answered <= moment);
        let mut found = vec![acknowledged.and_then(|at| self.0[at].state.clone())];
        let next = self.0.get(acknowledged.map_or(0, |at| at + 1));
        found.extend(next.filter(|next| next.issued < moment).map(|next| next.state.clone()));
        found
    }
}

/// What somebody saw: it must be there at every later moment.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub(crate) moment: usize,
    pub(crate) name: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) earliest: Offset,
    pub(crate) tail: Offset,
    pub(crate) closed: bool,
}

/// Names with the states that each may be in.
pub(crate) type Expected = BTreeMap<String, Vec<Option<Stream>>>;
/// Names with the state that each is in.
pub(crate) type Resolved = BTreeMap<String, Option<Stream>>;

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

/// A stream as an engine shows it.
#[derive(Debug)]
struct Shown {
    earliest: Offset,
    tail: Offset,
    closed: bool,
    lifetime: Lifetime,
    messages: Vec<Bytes>,
}

/// Reads a stream from its beginning in small steps; offsets must be dense.
async fn shown(engine: &Engine, text: &str) -> Result<Shown, ReadError> {
    let (mut from, mut earliest, mut messages) = (ReadFrom::Start, None, Vec::new());
    loop {
        let batch = match engine.read(&name(text), from, 3000).await {
            // Retention was faster than this reader.
            Err(ReadError::Trimmed { .. }) if from != ReadFrom::Start => {
                (from, earliest) = (ReadFrom::Start, None);
                messages.clear();
                continue;
            }
            other => other?,
        };
        let mut at = batch.start;
        earliest.get_or_insert(at);
        for segment in &batch.segments {
            assert_eq!(segment.start, at, "{text}: a hole");
            let count = segment.messages.lengths().len();
            messages.extend(
                (0..count)
                    .map(|number| Bytes::copy_from_slice(segment.messages.slice(number, number + 1).wire())),
            );
            at = segment.messages.end(at);
        }
        assert_eq!(batch.next, at, "{text}: the next offset is not behind the last message");
        if batch.up_to_date() {
            let (earliest, closed) = (earliest.unwrap_or(at), batch.state.closed);
            let lifetime = batch.state.config.lifetime;
            return Ok(Shown { earliest, tail: batch.state.tail, closed, lifetime, messages });
        }
        assert!(at > batch.start, "{text}: a read that goes nowhere");
        from = ReadFrom::At(at);
    }
}

fn is_gone(error: &ReadError) -> bool {
    matches!(error, ReadError::NotFound | ReadError::Gone)
}

fn fits(shown: &Result<Shown, ReadError>, state: Option<&Stream>, now: i64) -> bool {
    match (shown, state) {
        (Err(error), None) => is_gone(error),
        (Err(error), Some(stream)) => is_gone(error) && stream.may_be_gone(now),
        (Ok(_), None) => false,
        (Ok(shown), Some(stream)) => {
            let skipped = usize::try_from(shown.earliest.messages).unwrap();
            let may_skip = stream
                .keep
                .map_or(0, |keep| stream.messages.len().saturating_sub(usize::try_from(keep).unwrap()));
            !matches!(stream.life, Life::Until(at) if at <= now)
                && skipped <= may_skip
                && shown.earliest == stream.boundary(skipped)
                && shown.tail == stream.tail()
                && shown.closed == stream.closed
                && shown.lifetime == stream.life.lifetime()
                && shown.messages == stream.messages[skipped..]
        }
    }
}

/// Compares everything that the engine shows with what may be; gives what it turned out to be.
pub(crate) async fn check(engine: &Engine, expected: &Expected, now: i64, what: &str) -> Resolved {
    let mut resolved = Resolved::new();
    for (text, candidates) in expected {
        let shown = shown(engine, text).await;
        let found = candidates.iter().find(|state| fits(&shown, state.as_ref(), now));
        let Some(found) = found else {
            panic!("{what}: {text} at {now} is {}\nbut should be {}", digest(&shown), wanted(candidates))
        };
        let state = if shown.is_ok() { found.clone() } else { None };
        resolved.insert(text.clone(), state);
    }
    let listed: Vec<String> = engine
        .list("", None, 10_000)
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"))
        .iter()
        .map(|listed| listed.name.to_string())
        .collect();
    let living: Vec<String> =
        resolved.iter().filter(|(_, state)| state.is_some()).map(|(text, _)| text.clone()).collect();
    assert_eq!(listed, living, "{what}: the listing");
    resolved
}

/// What was seen before `moment` is there still.
pub(crate) async fn check_sightings(engine: &Engine, sightings: &[Sighting], moment: usize, what: &str) {
    for seen in sightings.iter().filter(|seen| seen.moment <= moment) {
        let Ok(state) = engine.head(&name(&seen.name)).await else { continue };
        if state.incarnation == seen.incarnation {
            let kept = state.tail >= seen.tail && state.earliest >= seen.earliest;
            assert!(kept && (state.closed || !seen.closed), "{what}: {state:?} was {seen:?} before");
        }
    }
}

/// Which of these states the engine shows: their numbers, at least one.
pub(crate) async fn matching(
    engine: &Engine,
    text: &str,
    candidates: &[Option<Stream>],
    now: i64,
    what: &str,
) -> Vec<usize> {
    let shown = shown(engine, text).await;
    let fitting = candidates.iter().enumerate().filter(|(_, state)| fits(&shown, state.as_ref(), now));
    let found: Vec<usize> = fitting.map(|(number, _)| number).collect();
    assert!(
        !found.is_empty(),
        "{what}: {text} at {now} is {}\nbut should be {}",
        digest(&shown),
        wanted(candidates)
    );
    found
}

fn digest(shown: &Result<Shown, ReadError>) -> String {
    match shown {
        Err(error) => format!("an error: {error}"),
        Ok(shown) => {
            let last = shown.messages.last().map(|message| message.slice(..message.len().min(24)));
            format!(
                "{} .. {}, closed {}, {} messages, the last {last:?}",
                shown.earliest,
                shown.tail,
                shown.closed,
                shown.messages.len()
            )
        }
    }
}

fn wanted(candidates: &[Option<Stream>]) -> String {
    let one = |state: &Option<Stream>| match state {
        None => "absent".to_owned(),
        Some(stream) => {
            let last = stream.messages.last().map(|message| message.slice(..message.len().min(24)));
            format!(
                "0 .. {}, closed {}, keeps {:?}, lives {:?}, the last {last:?}",
                stream.tail(),
                stream.closed,
                stream.keep,
                stream.life
            )
        }
    };
    candidates.iter().map(one).collect::<Vec<_>>().join(" or ")
}

#[test]
fn at_any_moment_a_name_is_as_acknowledged_or_as_the_request_under_way_leaves_it() {
    let stream = |count: usize| Stream {
        json: false,
        messages: vec![Bytes::from_static(b"x"); count],
        closed: false,
        producer: None,
        seq: None,
        keep: None,
        life: Life::Forever,
    };
    let mut timeline = Timeline::default();
    timeline.push(10, 20, Some(stream(0)));
    timeline.push(30, 40, Some(stream(1)));
    timeline.push(50, NEVER, None);
    let counts = |moment| -> Vec<Option<usize>> {
        let found = timeline.candidates(moment);
        found.iter().map(|state| state.as_ref().map(|stream| stream.messages.len())).collect()
    };
    assert_eq!(counts(10), [None]);
    assert_eq!(counts(11), [None, Some(0)]);
    assert_eq!(counts(20), [Some(0)]);
    assert_eq!(counts(39), [Some(0), Some(1)]);
    assert_eq!(counts(50), [Some(1)]);
    assert_eq!(counts(1000), [Some(1), None]);
}
