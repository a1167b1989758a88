//! What waga's tests stand on: an agent process under test, a client of its protocol, a real guest in QEMU.
//!
//! The same cases run against another agent when `AGENT_BIN` names it (`AGENT_BIN=/usr/sbin/qemu-ga`).
//! Nothing here asserts a time: waits end with the event they wait for, or fail with what was seen instead.
#![allow(clippy::unwrap_used, reason = "a harness that cannot go on should say where and stop")]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests print, and start programs as they are"
)]

pub mod agent;
pub mod bench;
pub mod client;
pub mod component;
pub mod example;
pub mod pty;
pub mod trusted;
pub mod vm;
