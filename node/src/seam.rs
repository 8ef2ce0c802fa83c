//! The seams: clock and disk come in as values, so that tests and the simulator own time and storage. The real ones
//! are taken only in `run`. Beside them the one way in which a serving thread may block.

mod clock;
pub mod disk;
mod lend;

pub use clock::{Clock, ManualClock, SystemClock};
pub use lend::lending;
