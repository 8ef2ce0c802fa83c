//! Bytes to types and back: total functions, no I/O. Every parser of foreign bytes that is not the HTTP head lives here.

pub mod json;
