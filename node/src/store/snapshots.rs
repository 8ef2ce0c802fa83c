//! Snapshots of a shard: files that hold every row of its tables as of one log index. Owns how they are written, kept,
//! read and made into tables again.
//!
//! Invariants: a file under its final name was synced before it got that name; the one before it stays until then; no row
//! leaves a file that was not checked, and no file of tables appears before all of its snapshot was. Unreadable is never
//! taken for empty. Leaves to the runtime when to take one, which index to need, and how to wait.

mod directory;
mod error;
mod pace;
mod progress;
mod reader;
mod restore;
mod sink;
mod writer;

pub use directory::{Pinned, SNAPSHOTS_FOLDER, Snapshots, existing, file_name, indexes};
pub use error::{Part, SnapshotError};
pub use pace::Pace;
pub use progress::{Progress, ProgressNow};
pub use reader::SnapshotFile;
pub use restore::{Restored, restore, restore_newest, restore_successor};
pub use writer::{Step, Taken, WriteOptions, Writing};
