//! Tests in a real guest: what only a virtual machine, its virtio-serial port and a host beside it can show.
//!
//! Each test boots a guest of its own and walks through steps that are named in a failure. A machine without
//! QEMU leaves them out and says so. `AGENT_BIN` puts another agent into the guests; what it cannot pass by its
//! nature is left out then.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where and stop")]
#![allow(clippy::disallowed_methods, reason = "tests wait in wall time, and start programs as they are")]

mod above_libvirt;
mod accounts;
mod channels;
mod clock;
mod commands;
mod extensions;
mod extensions_frozen;
mod extensions_hung;
mod extensions_of_standard;
mod freeze;
mod hung_filesystem;
mod idle;
mod libvirt;
mod libvirt_changes;
mod libvirt_power;
mod libvirt_snapshot;
mod packs_hung;
mod pg_quiesce;
mod power;
mod processors;
mod proxmox;
mod reconnect;
mod storage_fstrim;
mod storage_kinds;
mod systemd;

use std::path::PathBuf;

use anyhow::{Context, Result};
use waga_tests::vm::{self, Guest, Image};

/// The agent that runs in the guests.
fn agent() -> PathBuf {
    another_agent().unwrap_or_else(|| env!("CARGO_BIN_EXE_agent-under-test").into())
}

/// The agent that was named to be tested instead of waga.
fn another_agent() -> Option<PathBuf> {
    std::env::var_os("AGENT_BIN").map(PathBuf::from)
}

/// A guest with the agent in it, to be added to.
fn image() -> Image {
    Image::new(agent())
}

/// Boots a guest and runs a case in it; without QEMU the case is left out.
fn in_guest(image: &Image, case: impl FnOnce(&mut Guest) -> Result<()>) -> Result<()> {
    if let Some(reason) = vm::missing_for_guest() {
        return vm::left_out(reason);
    }
    let mut guest = Guest::boot(image)?;
    case(&mut guest).map_err(|error| guest.explain(error))
}

/// Whether a step holds of waga alone; says so when another agent is being tested.
fn only_waga(step: &str) -> bool {
    let Some(other) = another_agent() else { return true };
    vm::note(format_args!("left out: {step}: not promised by {}", other.display()));
    false
}

/// Runs one step of a case, and names it in a failure.
fn step<T>(name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    run().with_context(|| format!("step: {name}"))
}
