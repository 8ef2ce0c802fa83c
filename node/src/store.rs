//! What lies on the volume: the log, the tables, the superblock, the layout manifest and the lock.

pub mod aol;
pub mod layout;
pub mod lock;
pub mod publish;
pub mod superblock;
pub mod tables;
