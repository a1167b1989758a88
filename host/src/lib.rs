//! The waga daemon.

use std::process::ExitCode;

/// Runs the daemon as its command line says.
pub fn run() -> ExitCode {
    ExitCode::FAILURE
}
