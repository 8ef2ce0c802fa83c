//! What happened, as a running hash and, on demand, as lines that a person can follow.

use super::queue::{Micros, SECOND};
use crate::dice::mix;

/// The trace of a run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps lines if asked to.
    pub(super) fn new(lines: bool) -> Self {
        Self { hash: 0, lines: lines.then(Vec::new) }
    }

    /// Takes something into the hash.
    pub(super) const fn count(&mut self, value: u64) {
        self.hash = mix(self.hash.rotate_left(23) ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }

    /// One line; it is made only when somebody wants to read it.
    pub(super) fn say(&mut self, now: Micros, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>5}.{:06} s  {}", now / SECOND, now % SECOND, line()));
        }
    }

    /// The hash of everything so far.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
