//! Log lines: where they go and how they look. Fragments with fields; ERROR means that a person must look.

use tracing_subscriber::filter::LevelFilter;

use crate::config::{Config, LogFormat, LogLevel};

/// Something in this process set up logging before.
#[derive(Debug, thiserror::Error)]
#[error("logging was set up twice in one process")]
pub struct LoggingError;

/// Sends log lines to standard error from now on; standard output stays free for what was asked for.
pub fn start_logging(config: &Config) -> Result<(), LoggingError> {
    let level = match config.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(terminal).with_target(false).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LoggingError)
}
