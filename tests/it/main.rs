//! Protocol and process tests, one module a family, in one binary.
//!
//! What is in a table (see `table`) or in [`each`] runs against the program under test and, in the same run, against Debian's qemu-ga,
//! so that parity is proven where a difference would hide. `AGENT_BIN=/usr/sbin/qemu-ga` makes the original the program under test.
#![allow(clippy::unwrap_used, reason = "a test says where it stopped")]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests print, and start programs as they are"
)]

mod agent;
mod audit;
mod call;
mod call_help;
mod channel;
mod clients;
mod daemon;
mod docs;
mod exec;
mod exec_bounds;
mod extension;
mod faults;
mod file;
mod file_state;
mod grammar;
mod guards;
mod info;
mod inherited;
mod introspection;
mod journal;
mod limits;
mod limits_of_policy;
mod logs;
mod network;
mod options;
mod packaging;
mod page;
mod parity;
mod policy;
mod power;
mod process;
mod reference;
mod refused;
mod reload;
mod requests;
mod retry;
mod schema;
mod secrets;
mod serial;
mod service;
mod snapshots;
mod stalls;
mod storage;
mod table;
mod tidy;
mod wire;

use waga_tests::agent::{Agent, Program};

/// What makes `unshare` work for an ordinary user.
const NAMESPACE_OF_ROOT: [&str; 2] = ["--user", "--map-root-user"];

/// The program under test.
fn program() -> Program {
    Program::under_test(env!("CARGO_BIN_EXE_agent-under-test"))
}

/// The program under test, running; `None` when that is the original, whose way of doing it is known to be another.
fn waga() -> Option<Agent> {
    Some(program()).filter(Program::is_waga).map(|program| program.agent())
}

/// The original, if it is there and not itself under test.
fn original() -> Option<Program> {
    if std::env::var_os("AGENT_BIN").is_some() { None } else { Program::original() }
}

/// Runs a test against the program under test, then against the original.
fn each(test: impl Fn(&Program)) {
    for program in [program()].into_iter().chain(original()) {
        println!("against {}", program.name());
        test(&program);
    }
}
