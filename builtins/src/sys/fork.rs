//! Splitting the process in two, for an agent that goes to the background.

#![allow(unsafe_code, reason = "no crate wraps fork for a process that has one thread")]

use std::fs;
use std::io;

use nix::unistd::{ForkResult, Pid};

/// Goes on as two processes: `Some` child in the parent, `None` in the child.
///
/// # Errors
/// The process has more than one thread, or cannot be seen not to have (no `/proc`); or the kernel refuses.
pub fn fork() -> io::Result<Option<Pid>> {
    let threads = fs::read_dir("/proc/self/task")?.take(2).count();
    if threads != 1 {
        return Err(io::Error::other("a process with several threads cannot be split"));
    }
    // SAFETY: this is the only thread, as seen a moment ago, and nobody else could start one; so the child has all there was, no lock
    // is held by a thread that it lacks, and it may do whatever the parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_threads_is_not_split() {
        // The test runner has threads of its own.
        let error = std::thread::scope(|scope| scope.spawn(super::fork).join().unwrap()).unwrap_err();
        assert!(error.to_string().contains("several threads"), "{error}");
    }
}
