//! Decisions. Pure: no file, socket, clock, randomness, task or hash order; `decide(state, command) -> ops + reply`.

mod command;

pub use command::{
    Append, AppendError, Appended, BodyError, Command, Create, CreateError, Created, DeleteError, Deleted,
    Fork, Pin, PinError, Pinned, Reply,
};
