//! Settings that are one of a few words.

use std::time::Duration;

use super::value::Value;
use crate::types::{Acks, AolMode, FsyncPolicy};

/// Declares how the variants of an enum are written.
macro_rules! choice {
    ($kind:ty: $( $text:literal => $variant:expr ),+) => {
        impl Value for $kind {
            const UNIT: &'static str = choice!(@join $($text),+);

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $( $text => Ok($variant), )+
                    _ => Err(format!("must be one of {}", Self::UNIT)),
                }
            }

            fn render(&self) -> String {
                $( if *self == $variant { return $text.to_owned(); } )+
                String::new()
            }
        }
    };
    (@join $first:literal $(, $rest:literal)*) => { concat!($first $(, " | ", $rest)*) };
}

/// Whether something is done at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// It is done.
    On,
    /// It is not.
    Off,
}

impl Switch {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// The least severe line that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// A person must look.
    Error,
    /// Something is odd, the node goes on.
    Warn,
    /// What the node did: starts, stops, checkpoints.
    Info,
    /// Single requests.
    Debug,
    /// Everything.
    Trace,
}

/// Where webhooks may go, besides public HTTPS addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookTargets {
    /// Loopback as well, if the node itself listens on loopback only (a developer's machine).
    Auto,
    /// Nowhere else.
    Public,
    /// Loopback as well, plain HTTP included.
    Loopback,
}

/// How the blocks of a snapshot are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotCompression {
    /// As they are.
    None,
    /// By LZ4.
    Lz4,
}

choice!(SnapshotCompression: "none" => SnapshotCompression::None, "lz4" => SnapshotCompression::Lz4);
choice!(Switch: "on" => Switch::On, "off" => Switch::Off);
choice!(LogFormat: "text" => LogFormat::Text, "json" => LogFormat::Json);
choice!(LogLevel: "error" => LogLevel::Error, "warn" => LogLevel::Warn, "info" => LogLevel::Info,
    "debug" => LogLevel::Debug, "trace" => LogLevel::Trace);
choice!(WebhookTargets: "auto" => WebhookTargets::Auto, "public" => WebhookTargets::Public,
    "loopback" => WebhookTargets::Loopback);
choice!(Acks: "majority" => Acks::Majority, "leader" => Acks::Leader);
choice!(AolMode: "sync" => AolMode::Sync, "async" => AolMode::Async, "never" => AolMode::Never);

/// The interval is written behind the word: `interval=100ms` (a shell would want `interval(100ms)` quoted).
impl Value for FsyncPolicy {
    const UNIT: &'static str = "always | interval=TIME | never";

    fn parse(text: &str) -> Result<Self, String> {
        let in_brackets = || text.strip_prefix("interval(")?.strip_suffix(')');
        let interval = || text.strip_prefix("interval=").or_else(in_brackets);
        match text {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => {
                let time = interval().ok_or_else(|| format!("must be one of {}", Self::UNIT))?;
                let time = Duration::parse(time)?;
                let bound = Duration::from_millis(1)..=Duration::from_mins(1);
                time.held_to(&bound).map(Self::Interval)
            }
        }
    }

    fn render(&self) -> String {
        match self {
            Self::Always => "always".to_owned(),
            Self::Interval(time) => format!("interval={}", time.render()),
            Self::Never => "never".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_reads_back_and_others_are_refused() {
        for text in ["always", "never", "interval=100ms", "interval=1m"] {
            assert_eq!(FsyncPolicy::parse(text).unwrap().render(), text);
        }
        assert_eq!(FsyncPolicy::parse("interval(5ms)"), Ok(FsyncPolicy::Interval(Duration::from_millis(5))));
        for bad in ["", "Always", "interval", "interval=", "interval=0ms", "interval=2h", "interval(5ms"] {
            assert!(FsyncPolicy::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(AolMode::parse("off").unwrap_err(), "must be one of sync | async | never");
    }
}
