//! The program `waga`; everything is in the library, so that tests can start the same daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    waga::run()
}
