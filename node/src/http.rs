//! HTTP: `wire` moves requests and responses over connections, `api` maps them to the engine and back, `forward` takes them
//! to the node that leads. Nothing is decided here: a handler extracts, calls, and maps the reply.

pub mod api;
pub mod forward;
pub mod subscriptions;
pub mod wire;
