//! A stream under test: its name, its present life, and what is known of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::RwLock;

use super::payload::Format;
use crate::checker::{Dialect, check};
use crate::history::{Action, Event, FinalLog, History, Keep, Kept, MessageId, Outcome, Position, Terms};

/// Offsets that a stream remembers for readers.
const REMEMBERED: usize = 64;

/// What streams with retention keep: little enough that much goes, enough that readers find something.
const MESSAGES_KEPT: u64 = 150;
const BYTES_KEPT: u64 = 40_000;

/// Problems that are kept; more say nothing new.
const PROBLEMS_MAX: usize = 1_000;

/// A stream name and the life that it is in. Whoever uses the stream holds the lock for reading, whoever ends the life
/// for writing.
#[derive(Debug)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// How its messages look.
    pub format: Format,
    /// Headers of its creation beside the type.
    pub creation: Vec<(&'static str, String)>,
    /// The life.
    pub life: RwLock<Life>,
}

/// One life.
#[derive(Debug)]
pub struct Life {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The next `Stream-Seq`.
    pub(super) next_seq: AtomicU64,
    /// What it was created to be.
    pub(super) terms: Terms,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    events: Vec<Event>,
    kept: Vec<Kept>,
    positions: Vec<Position>,
    tail: Position,
}

/// What went wrong, over all streams and lives, and how much was looked at.
#[derive(Debug, Default)]
pub struct Findings {
    problems: Mutex<Vec<String>>,
    events: AtomicU64,
    acknowledged: AtomicU64,
    answered: AtomicU64,
    lives: AtomicU64,
    ids: AtomicU64,
}

impl Findings {
    /// Reports what cannot be part of a history at all: altered bytes, an unexpected status.
    pub fn problem(&self, what: impl Into<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < PROBLEMS_MAX {
            problems.push(what.into());
        }
    }

    /// Everything that went wrong so far.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests that were judged.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Appends among them that were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Appends that were acknowledged so far, judged or not: what is waited for.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// One more is acknowledged.
    pub(super) fn note_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Lives that were judged.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    /// A message id that no other message has.
    pub fn next_id(&self) -> MessageId {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Stream {
    /// Number `number` of the streams under test; every other one holds JSON, and of six, one keeps only its last
    /// messages and one only its last bytes, if the server knows retention.
    #[must_use]
    pub fn new(number: usize, dialect: Dialect) -> Arc<Self> {
        let keep = match (number % 6, dialect) {
            (4, Dialect::MessagesAndBytes) => Keep::Bytes(BYTES_KEPT),
            (5, Dialect::MessagesAndBytes) => Keep::Messages(MESSAGES_KEPT),
            _ => Keep::All,
        };
        let creation = match keep {
            Keep::All => Vec::new(),
            Keep::Messages(count) => vec![("Stream-Retain-Messages", count.to_string())],
            Keep::Bytes(bytes) => vec![("Stream-Retain-Bytes", bytes.to_string())],
        };
        let terms = Terms { keep, ..Terms::default() };
        Self::own(format!("checked/{number}"), Format::of(number as u64), terms, creation, 1)
    }

    /// A stream of these terms, with the headers that ask for them.
    pub(super) fn own(
        name: String,
        format: Format,
        terms: Terms,
        creation: Vec<(&'static str, String)>,
        number: u64,
    ) -> Arc<Self> {
        Arc::new(Self { name, format, creation, life: RwLock::new(Life::new(number, terms)) })
    }
}

impl Life {
    pub(super) fn new(number: u64, terms: Terms) -> Self {
        Self { number, next_seq: AtomicU64::new(1), terms, record: Mutex::default() }
    }

    /// Adds what an answer said about retention.
    pub(super) fn push_kept(&self, kept: Kept) {
        self.record().kept.push(kept);
    }

    /// The earliest offset, as far as it was shown.
    pub(super) fn earliest(&self) -> Position {
        self.record().kept.iter().map(|kept| kept.earliest).max().unwrap_or_default()
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request.
    pub(super) fn push(&self, event: Event) {
        let mut record = self.record();
        let shown = match event.outcome {
            Outcome::Created { seen, .. } | Outcome::Appended { seen, .. } | Outcome::Headed(seen) => {
                Some(seen.tail)
            }
            Outcome::Read(content) => Some(content.next),
            _ => None,
        };
        if let Some(position) = shown {
            record.tail = record.tail.max(position);
            if record.positions.len() < REMEMBERED {
                record.positions.push(position);
            } else {
                let at = usize::try_from(event.call).unwrap_or(0) % REMEMBERED;
                record.positions[at] = position;
            }
        }
        record.events.push(event);
    }

    /// The last tail that was seen.
    pub(super) fn tail(&self) -> Position {
        self.record().tail
    }

    /// Offsets that were seen.
    pub(super) fn positions(&self) -> Vec<Position> {
        self.record().positions.clone()
    }

    /// Judges the life, which ended so.
    pub(super) fn judge(&self, name: &str, dialect: Dialect, end: FinalLog, findings: &Findings) {
        let Record { events, kept, .. } = std::mem::take(&mut *self.record());
        findings.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        findings.lives.fetch_add(1, Ordering::Relaxed);
        let acknowledged = events.iter().filter(|event| {
            matches!((&event.action, event.outcome), (Action::Append(_), Outcome::Appended { .. }))
        });
        findings.acknowledged.fetch_add(acknowledged.count() as u64, Ordering::Relaxed);
        let name = format!("{name} (life {})", self.number);
        let history = History { name: name.clone(), terms: self.terms, events, kept, end };
        for violation in check(&history, dialect) {
            findings.problem(format!("{name}: {violation}"));
        }
    }
}
