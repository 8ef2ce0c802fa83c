//! Keeps copies of bytes that recovery cuts or cannot read, so that nothing disappears without a trace.
//!
//! The copies are bounded in size and number: evidence must not fill the volume. What is not kept is reported so.

use std::sync::Arc;

use super::error::LaneError;
use super::segment::Segment;
use super::window::Window;
use crate::seam::disk::Dir;
use crate::types::LanePosition;

/// The folder's name inside the lane's directory.
const FOLDER: &str = "quarantine";
/// Longest copy: more than a group commit, less than a segment.
const COPY_BYTES_MAX: u64 = 4 << 20;
/// Most copies; the first ones are kept, for they tell how it began.
const COPIES_MAX: usize = 32;

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
        word: &str,
        segments: impl Iterator<Item = &'a Segment>,
        from: LanePosition,
        to: LanePosition,
    ) -> bool {
        let name = format!("{word}-{:020}-{:020}.bin", from.0, to.0);
        self.copy(&name, segments, from, to).unwrap_or(false)
    }

    fn copy<'a>(
        &self,
        name: &str,
        segments: impl Iterator<Item = &'a Segment>,
        from: LanePosition,
        to: LanePosition,
    ) -> Result<bool, LaneError> {
        let operation = || LaneError::io(super::Operation::Write);
        let dir = self.lane_dir.subdir(FOLDER).map_err(operation())?;
        let names = dir.list().map_err(operation())?;
        if names.iter().any(|existing| existing == name) {
            return Ok(true);
        }
        if names.len() >= COPIES_MAX {
            return Ok(false);
        }
        let whole = to.0 - from.0 <= COPY_BYTES_MAX;
        let to = LanePosition(to.0.min(from.0 + COPY_BYTES_MAX));
        let file = dir.create(name).map_err(operation())?;
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
