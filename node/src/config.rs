//! The node's settings: one struct, declared once in `config::settings`, filled from defaults < file < environment < flags.
//!
//! Invariant: every [`Config`] that leaves this room is within its bounds and its relations hold, so no other room
//! checks a setting again. Flags, environment names, file keys, `--print-config`, `--help` and
//! `docs/configuration.md` are all read off [`SETTINGS`]; none of them is written by hand.
//!
//! What is no setting (bounds of the formats and of the protocol) stands in `types::limits`.

mod choice;
mod cluster_file;
mod command_line;
mod declare;
mod duration;
mod error;
mod layers;
mod nearest;
mod optional;
mod print;
mod relations;
mod settings;
mod size;
mod text;
mod tool;
mod value;

pub use choice::{LogFormat, LogLevel, SnapshotCompression, Switch, WebhookTargets};
pub use cluster_file::{ClusterFile, ClusterFileError};
pub use command_line::{Invocation, InvocationError};
pub use declare::{Setting, Source};
pub use error::ConfigError;
pub use layers::{Effective, Layers};
pub use print::markdown;
pub use relations::{MEMBER_BODY_MAX, too_many_lanes};
pub use settings::{Config, SETTINGS};
pub use size::Size;
pub use text::{CorsOrigin, NodeName};
pub use tool::{ToolCall, Verb};
