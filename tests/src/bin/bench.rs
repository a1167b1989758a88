//! `make bench`: waga beside qemu-ga in one run, as a table. `--help` tells the options.

use std::process::ExitCode;

fn main() -> ExitCode {
    waga_tests::bench::main()
}
