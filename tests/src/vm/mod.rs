//! A real guest for the tests: Debian's kernel, an initramfs made on the spot, QEMU without acceleration.
//!
//! [`Image`] says what is in the guest, [`Guest`] boots it with QEMU alone and [`Libvirt`] under a libvirt of
//! its own. [`Debian`] is a guest that is a whole system. Nothing here needs root, nothing is installed or left
//! behind, and nothing is fetched: `tests/install-packages` did that before.

mod archive;
mod debian;
mod guest;
mod image;
mod libvirt;
mod qmp;
mod shell;
mod tools;

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use debian::Debian;
pub use guest::Guest;
pub use image::{Disk, Image};
pub use libvirt::{DOMAIN, Libvirt};
pub use shell::Shell;
pub use tools::{missing_for_debian, missing_for_guest, missing_for_libvirt};

/// The agent's port, by the name that hosts look for.
pub const AGENT_PORT: &str = "org.qemu.guest_agent.0";

/// The port on which [`Shell`] reaches the guest, whatever the agent does.
const SHELL_PORT: &str = "waga.tests.shell";

/// How long a guest may take from power-on to its first answer: a machine with other work boots slowly.
const BOOT_PATIENCE: Duration = Duration::from_secs(120);

/// Says on standard error, past libtest's capture, that a case did not run; fails where every case must run.
///
/// `WAGA_TESTS=all` is for machines that are known to have everything, where a case left out is a mistake.
pub fn left_out(reason: impl Display) -> Result<()> {
    if std::env::var_os("WAGA_TESTS").is_some_and(|wanted| wanted == "all") {
        bail!("left out, though WAGA_TESTS=all: {reason}");
    }
    note(format_args!("left out: {reason}"));
    Ok(())
}

/// Writes a line to standard error even when libtest captures what a test prints.
pub fn note(line: impl Display) {
    // One write, so that lines of tests side by side do not mix; nobody to tell when it fails.
    drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
}

/// Looks again and again until `look` has something, for what cannot be waited for otherwise.
pub fn await_until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
