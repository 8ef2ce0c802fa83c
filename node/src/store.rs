//! The disk: what a node keeps, in which files, and how it is read back after a crash.

pub mod tables;
