//! What a proxy does to connections.

use std::time::Duration;

/// All of it. The default does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// What becomes of new connections.
    pub accept: Accept,
    /// Each new connection is held for a random time up to this, so that later ones overtake earlier ones.
    pub hold: Duration,
    /// From whoever opened the connection.
    pub there: Flow,
    /// Towards it.
    pub back: Flow,
}

/// What becomes of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// They go through.
    #[default]
    Open,
    /// They are closed at once.
    Closed,
    /// They are taken, and nobody is at the other end: everything is swallowed, nothing ever answered.
    HalfOpen,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Whether it flows.
    pub line: Line,
    /// Every byte arrives so much later.
    pub delay: Duration,
    /// And up to so much later still, drawn for each piece.
    pub jitter: Duration,
    /// At most so many bytes per second.
    pub bytes_per_second: Option<u64>,
    /// The connection ends with a reset after so many bytes, wherever in a frame that is.
    pub reset_after: Option<u64>,
}

/// Whether a direction flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Line {
    /// Yes.
    #[default]
    Open,
    /// Nothing arrives until it is open again; then everything does, as TCP sends again what was lost.
    Stopped,
    /// What is sent is acknowledged and gone. The connection ends with a reset when this ends.
    Swallowing,
}
