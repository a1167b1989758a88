//! Mapping what was compiled. The first of three places with `unsafe`: what is mapped is run.

#![allow(
    unsafe_code,
    reason = "machine code is mapped, which nothing but its origin makes safe; and pages are tried for it"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes of a page that is tried.
pub(super) const PAGE: usize = 4096;

/// Maps an artifact.
///
/// `file` has to be one that the cache gave: made by our own compiler, of which only root could have changed a byte, and whose digest was
/// checked through this very descriptor.
///
/// # Errors
/// Another version, configuration or processor; or pages cannot be made executable. It says which: what the engine puts around it names only
/// a path, and that one is ours.
pub(super) fn load(engine: &Engine, file: &File) -> Result<Component, String> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the contents are those that `waga-ext compile` wrote: the cache is a folder of root's alone, a file there is replaced by
    // rename and never edited, and its digest was compared with the one taken when it was made, on this descriptor.
    unsafe { Component::deserialize_file(engine, path) }.map_err(|error| error.root_cause().to_string())
}

/// Whether pages of this file can be made executable: systemd's MemoryDenyWriteExecute, SELinux and a folder mounted noexec all say no.
pub(super) fn is_executable(file: impl AsFd) -> io::Result<()> {
    // SAFETY: a new private mapping at a place that the kernel chooses; nobody else knows it.
    let page = unsafe {
        mmap(ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE, file, 0)?
    };
    // SAFETY: the mapping above, whole; nothing is run from it.
    let tried = unsafe { mprotect(page, PAGE, MprotectFlags::READ | MprotectFlags::EXEC) };
    // SAFETY: the mapping above, whole, which nobody uses any more.
    unsafe { munmap(page, PAGE)? };
    Ok(tried?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_not_loaded_says_why() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"no artifact").unwrap();
        let error = load(&Engine::default(), &file).unwrap_err();
        assert!(!error.contains("/proc/self/fd") && error.contains("ELF"), "{error}");
    }

    #[test]
    fn pages_of_an_ordinary_file_can_be_run() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE as u64).unwrap();
        is_executable(&file).unwrap();
        // Not a file that can be mapped.
        assert!(is_executable(io::pipe().unwrap().0).is_err());
    }
}
