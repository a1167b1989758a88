//! Freezing and thawing a filesystem, and keeping what thaws in memory meanwhile.

#![allow(
    unsafe_code,
    reason = "no crate wraps FIFREEZE and FITHAW, nor madvise of mappings that it did not make"
)]

use std::ffi::{c_int, c_void};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::mm::{Advice, MlockAllFlags, madvise, mlockall, munlockall};
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

use super::code::code_of_files;

nix::ioctl_readwrite!(fifreeze, b'X', 119, c_int);
nix::ioctl_readwrite!(fithaw, b'X', 120, c_int);

/// Freezes the filesystem that a descriptor is on: what is dirty is written, then every writer waits, until it is thawed.
///
/// # Errors
/// `EOPNOTSUPP`: it cannot be frozen. `EBUSY`: it is frozen already. Others: it could not be written out.
pub(crate) fn freeze(on: impl AsFd) -> io::Result<()> {
    let mut unused = 0;
    // SAFETY: the kernel looks at no argument; the descriptor is open as long as it is borrowed.
    unsafe { fifreeze(on.as_fd().as_raw_fd(), &raw mut unused) }?;
    Ok(())
}

/// Takes one freeze off the filesystem that a descriptor is on.
///
/// # Errors
/// `EINVAL`: it is not frozen.
pub(crate) fn thaw(on: impl AsFd) -> io::Result<()> {
    let mut unused = 0;
    // SAFETY: as above.
    unsafe { fithaw(on.as_fd().as_raw_fd(), &raw mut unused) }?;
    Ok(())
}

/// What the kernel thinks of killing a process when memory is short, from -1000 (never) to 1000.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// As long as it lives, the process stays in memory: its pages, its code, and itself when the kernel looks for a victim. What it
/// could not have of that, it goes on without. Nor does it write a core if it crashes: that might wait for the thaw, and the port with it
/// that its successor needs.
#[derive(Debug)]
pub(crate) struct InMemory {
    oom_score: Option<String>,
    has_core: bool,
}

impl InMemory {
    /// Brings in what is not there and locks it.
    pub(crate) fn hold() -> Self {
        // As touched, or the untouched rest of every stack would be filled.
        let locked = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
        if let Err(error) = locked {
            tracing::debug!(%error, "memory is not locked");
        }
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        for (start, length) in code_of_files(&maps) {
            // SAFETY: reads pages in; the mapping's content does not change. Before Linux 5.14 an error, and they come when touched.
            let _ = unsafe { madvise(start as *mut c_void, length, Advice::LinuxPopulateRead) };
        }
        let oom_score = fs::read_to_string(OOM_SCORE).ok();
        let spared = fs::write(OOM_SCORE, "-1000").is_ok();
        let has_core = matches!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable))
            && set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
        Self { oom_score: oom_score.filter(|_| spared), has_core }
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        if self.has_core {
            // First: without it, /proc belongs to root.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
        let _ = munlockall();
        if let Some(score) = &self.oom_score
            && let Err(error) = fs::write(OOM_SCORE, score)
        {
            tracing::warn!(%error, "the process stays one that is not killed for memory");
        }
        super::code::release_code();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_no_filesystem_on_a_disk_is_refused() {
        // procfs can neither be frozen nor is it; a process without the right to is told so first.
        let proc = File::open("/proc").unwrap();
        for refused in [freeze(&proc), thaw(&proc)] {
            let error = refused.unwrap_err().raw_os_error();
            assert!(
                [Some(nix::libc::EOPNOTSUPP), Some(nix::libc::EINVAL), Some(nix::libc::EPERM)]
                    .contains(&error)
            );
        }
    }

    #[test]
    fn the_process_is_as_before_afterwards() {
        let score = || fs::read_to_string(OOM_SCORE).unwrap();
        let locked = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
            line.strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
        };
        let core = || dumpable_behavior().unwrap();
        let before = (score(), core());
        let held = InMemory::hold();
        assert_eq!(core(), DumpableBehavior::NotDumpable);
        if rustix::process::geteuid().is_root() {
            assert!(locked() > 0);
            assert!(score() == "-1000\n" || score() == before.0);
        }
        drop(held);
        assert_eq!(((score(), core()), locked()), (before, 0));
    }
}
