//! The protocol: requests become commands and reads, replies become responses. One module per verb; each extracts,
//! calls the engine, and maps. Invariant: a request is either malformed (answered here, nothing called) or passed on
//! whole; what happens to a stream is decided below.

mod append;
mod create;
mod cursor;
mod delete;
mod elsewhere;
mod errors;
mod etag;
mod fields;
mod front;
mod head;
mod instant;
mod list;
mod long_poll;
mod names;
mod preflight;
mod query;
mod rare;
mod read;
mod router;
mod settings;
mod site;
mod sse;
mod state;

pub use errors::Rejection;
pub use front::Front;
pub(crate) use instant::format_instant;
pub use instant::parse_instant;
pub use names::decode_name;
pub use query::{LiveMode, ReadQuery};
pub use router::Api;
pub use settings::Settings;
pub use site::Site;
pub use sse::{Payload as SsePayload, Sse, write_data as write_sse_data};
