//! What the compiler gives up before it reads a module: root, new privileges, files, cores, and more memory and time than it was given.

use std::io;

use nix::sys::prctl;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::nice;

/// `nobody` and `nogroup`, by the numbers that the kernel itself has for them.
const NOBODY: u32 = 65_534;
/// Descriptors. It has three; the loader and the engine's clock and thread need a few.
const DESCRIPTORS: rlim_t = 16;
/// Bytes of a file: the engine puts what a memory begins with into one that has no name, where it runs a handler to ask for its commands.
const IMAGE: rlim_t = 32 << 20;
/// It may be slow.
const NICE: i32 = 10;

/// Confines this process, which has one thread.
///
/// # Errors
/// The kernel does not let us: then nothing is compiled.
pub(super) fn confine(memory: u64, seconds: u64) -> io::Result<()> {
    // The kernel warns at the first (by a signal that ends us) and kills at the second.
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    setrlimit(Resource::RLIMIT_AS, memory, memory)?;
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, IMAGE),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
    ] {
        setrlimit(resource, most, most)?;
    }
    nice(NICE)?;
    if Uid::effective().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    // Last, for it is lost with the identity.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}
