//! Keeps copies of bytes that recovery cuts or cannot read, and of entries that a follower takes back, so that nothing
//! disappears without a trace.
//!
//! The copies are bounded in size and number: evidence must not fill the volume. What is not kept is reported so.

use std::io;
use std::sync::Arc;

use super::error::LaneError;
use super::segment::Segment;
use super::window::Window;
use crate::seam::disk::Dir;
use crate::types::{LanePosition, ShardId};

/// The folder's name inside the lane's directory.
pub const FOLDER: &str = "quarantine";
/// Longest copy: more than a group commit, less than a segment.
const COPY_BYTES_MAX: u64 = 4 << 20;
/// Most copies of damage; the first ones are kept, for they tell how it began.
const COPIES_MAX: usize = 32;
/// Most copies of what was taken back; the newest are kept, for changes of leaders go on for ever and somebody asks about
/// the last ones.
const TAKEN_BACK_MAX: usize = 16;
/// How the names of the latter begin.
const TAKEN_BACK: &str = "taken-back-";

/// Why bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The end of a log that did not reach the disk whole.
    Torn,
    /// Synced once, and not readable any more.
    Damaged,
    /// Entries of a shard that no majority held.
    TakenBack(ShardId),
}

impl Reason {
    fn name(self, from: LanePosition, to: LanePosition) -> String {
        let word = match self {
            Self::Torn => "torn-".to_owned(),
            Self::Damaged => "damaged-".to_owned(),
            Self::TakenBack(shard) => format!("{TAKEN_BACK}{:03}-", shard.0),
        };
        format!("{word}{:020}-{:020}.bin", from.0, to.0)
    }

    /// Makes room for one more copy; `false`: there are enough.
    fn make_room(self, dir: &dyn Dir, names: Vec<String>) -> io::Result<bool> {
        let (mut taken_back, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.starts_with(TAKEN_BACK));
        if !matches!(self, Self::TakenBack(_)) {
            return Ok(others.len() < COPIES_MAX);
        }
        // The position tells which is older; the shard stands before it.
        taken_back
            .sort_by(|one, other| one.get(TAKEN_BACK.len() + 3..).cmp(&other.get(TAKEN_BACK.len() + 3..)));
        let surplus = (taken_back.len() + 1).saturating_sub(TAKEN_BACK_MAX);
        taken_back.iter().take(surplus).try_for_each(|name| dir.remove(name))?;
        Ok(true)
    }
}

/// The folder of copies of one lane.
#[derive(Debug)]
pub(super) struct Quarantine {
    lane_dir: Arc<dyn Dir>,
}

impl Quarantine {
    pub(super) const fn new(lane_dir: Arc<dyn Dir>) -> Self {
        Self { lane_dir }
    }

    /// Copies `from..to`; whether all of it is there now. Trouble in keeping a copy never stops recovery: the log itself
    /// matters more, and the report tells.
    pub(super) fn keep<'a>(
        &self,
        reason: Reason,
        segments: impl Iterator<Item = &'a Segment>,
        from: LanePosition,
        to: LanePosition,
    ) -> bool {
        self.copy(reason, segments, from, to).unwrap_or(false)
    }

    fn copy<'a>(
        &self,
        reason: Reason,
        segments: impl Iterator<Item = &'a Segment>,
        from: LanePosition,
        to: LanePosition,
    ) -> Result<bool, LaneError> {
        let operation = || LaneError::io(super::Operation::Write);
        let dir = self.lane_dir.subdir(FOLDER).map_err(operation())?;
        let names = dir.list().map_err(operation())?;
        let name = reason.name(from, to);
        if names.contains(&name) {
            return Ok(true);
        }
        if !reason.make_room(dir.as_ref(), names).map_err(operation())? {
            return Ok(false);
        }
        let whole = to.0 - from.0 <= COPY_BYTES_MAX;
        let to = LanePosition(to.0.min(from.0 + COPY_BYTES_MAX));
        let file = dir.create(&name).map_err(operation())?;
        let mut written = 0;
        for segment in segments.filter(|segment| segment.base < to && from < segment.end()) {
            let (start, end) =
                (segment.offset(from.max(segment.base)), segment.offset(to.min(segment.end())));
            let count = usize::try_from(end - start).unwrap_or(usize::MAX);
            let bytes = Window::new(segment.file.clone()).get(start, count, end).map_err(operation())?;
            file.write_at(&bytes, written).map_err(operation())?;
            written += bytes.len() as u64;
        }
        file.sync().map_err(operation())?;
        dir.sync().map_err(operation())?;
        Ok(whole)
    }
}
