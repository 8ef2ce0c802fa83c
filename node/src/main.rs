//! The `node` binary: read the configuration, start logging, serve.

use std::process::ExitCode;

use thalweg_node::config::Invocation;
use thalweg_node::run::run;
use thalweg_node::telemetry::start_logging;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program answers its caller")]
fn main() -> ExitCode {
    let effective = match Invocation::parse(std::env::args_os(), std::env::vars()) {
        Ok(Invocation::Serve(effective)) => effective,
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
