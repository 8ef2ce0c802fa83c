//! The list of work loads.

use std::fmt;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// All connections append to one stream.
    AppendOne,
    /// Each connection appends to sixteen streams of its own in turn.
    AppendMany,
    /// Readers read one stream of 10 MB from its start, again and again.
    CatchUp,
    /// Subscribers follow one stream by server-sent events; latency from append sent to event received.
    TailEvents,
    /// The same by long-poll.
    TailPoll,
    /// Each request creates a stream.
    Create,
    /// HEAD of one stream.
    Head,
    /// A bare route of the server: what its HTTP costs without a stream.
    Health,
}

/// One work load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// What.
    pub work: Work,
    /// Connections, readers or subscribers.
    pub connections: usize,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Bytes that a catch-up reads.
    pub stream_bytes: usize,
}

impl Plan {
    pub(super) const fn new(work: Work, connections: usize, message_bytes: usize) -> Self {
        Self { work, connections, message_bytes, stream_bytes: 10_000_000 }
    }

    /// Whether megabytes per second say more than operations.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        self.work == Work::CatchUp
    }

    /// Whether latency is the figure, the rate being given.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        matches!(self.work, Work::TailEvents | Work::TailPoll)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match self.message_bytes {
            bytes if bytes % 1000 == 0 && bytes > 0 => format!("{} KB", bytes / 1000),
            bytes => format!("{bytes} B"),
        };
        let n = self.connections;
        match self.work {
            Work::AppendOne => write!(f, "append {size}, one stream, {n} conn"),
            Work::AppendMany => write!(f, "append {size}, many streams, {n} conn"),
            Work::CatchUp => {
                write!(f, "catch-up {} MB of {size}, {n} readers", self.stream_bytes / 1_000_000)
            }
            Work::TailEvents => write!(f, "tail by SSE, {n} subscribers"),
            Work::TailPoll => write!(f, "tail by long-poll, {n} subscribers"),
            Work::Create => write!(f, "create, {n} conn"),
            Work::Head => write!(f, "HEAD, {n} conn"),
            Work::Health => write!(f, "bare route, {n} conn"),
        }
    }
}

/// Everything that the page shows.
#[must_use]
pub fn full_plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    plans.extend([1, 16, 64, 256].map(|connections| Plan::new(Work::AppendOne, connections, 100)));
    plans.extend([16, 64, 256].map(|connections| Plan::new(Work::AppendMany, connections, 100)));
    plans.extend([1_000, 10_000].map(|bytes| Plan::new(Work::AppendOne, 64, bytes)));
    plans.push(Plan::new(Work::AppendMany, 64, 10_000));
    plans.extend([1, 16].map(|readers| Plan::new(Work::CatchUp, readers, 1_000)));
    plans.extend([16, 64, 256].map(|subscribers| Plan::new(Work::TailEvents, subscribers, 100)));
    plans.extend([16, 64].map(|subscribers| Plan::new(Work::TailPoll, subscribers, 100)));
    plans.extend([1, 16].map(|connections| Plan::new(Work::Create, connections, 0)));
    plans.extend([1, 16, 64].map(|connections| Plan::new(Work::Head, connections, 0)));
    plans.extend([1, 16, 64].map(|connections| Plan::new(Work::Health, connections, 0)));
    plans
}

/// One small plan of each kind, for a smoke run of seconds.
#[must_use]
pub fn quick_plans() -> Vec<Plan> {
    let plan = |work, connections, message_bytes| Plan {
        stream_bytes: 1_000_000,
        ..Plan::new(work, connections, message_bytes)
    };
    vec![
        plan(Work::AppendOne, 16, 100),
        plan(Work::AppendMany, 16, 1_000),
        plan(Work::CatchUp, 2, 1_000),
        plan(Work::TailEvents, 8, 100),
        plan(Work::TailPoll, 8, 100),
        plan(Work::Create, 4, 0),
        plan(Work::Head, 16, 0),
        plan(Work::Health, 16, 0),
    ]
}
