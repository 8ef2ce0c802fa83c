//! The `node` binary: read the configuration, start logging, serve; or carry out a verb.

use std::process::ExitCode;

use thalweg_node::config::{Invocation, ToolCall};
use thalweg_node::run::{run, run_tool};
use thalweg_node::telemetry::start_logging;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program answers its caller")]
fn main() -> ExitCode {
    let effective = match Invocation::parse(std::env::args_os(), std::env::vars()) {
        Ok(Invocation::Serve(effective)) => effective,
        Ok(Invocation::Tool(call)) => return tool(&call),
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("node: {error}");
            return ExitCode::from(2);
        }
    };
    let config = &effective.config;
    if let Err(error) = start_logging(config) {
        eprintln!("node: {error}");
        return ExitCode::FAILURE;
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// 0: done, and nothing is damaged; 1: something is; 2: it could not be done.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program answers its caller")]
fn tool(call: &ToolCall) -> ExitCode {
    match run_tool(call) {
        Ok((text, is_sound)) => {
            print!("{text}");
            if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("node: {error:#}");
            ExitCode::from(2)
        }
    }
}
