//! The daemon as the tests start it: the same `run` as the shipped program, built by cargo beside the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    waga::run()
}
