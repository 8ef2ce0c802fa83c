//! The seams: clock and disk come in as values, so that tests and the simulator own time and storage. The real ones
//! are taken only in `run`.

mod clock;
pub mod disk;

pub use clock::{Clock, ManualClock, SystemClock};
