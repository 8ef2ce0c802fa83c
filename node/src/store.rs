//! What lies on the volume: the log, the tables, their snapshots, the superblock, the layout manifest, the lock and the reserve.

pub mod aol;
pub mod aside;
pub mod begin_anew;
mod behind;
pub mod layout;
pub mod lock;
pub mod publish;
pub mod reserve;
pub mod snapshots;
mod staged;
pub mod superblock;
pub mod tables;
