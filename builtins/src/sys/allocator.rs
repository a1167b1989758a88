//! Keeps the C library's allocator from holding on to what large messages took.
//!
//! Left to itself, glibc learns from each large allocation that is freed to take the next one of that size from its heap, up to 32 MiB,
//! and to keep twice as much: a few large writes would leave tens of megabytes with the agent for good.
#![allow(unsafe_code, reason = "mallopt and malloc_trim have no safe wrapper")]

#[cfg(target_env = "gnu")]
use nix::libc;

/// Allocations from this size on come from the kernel and go back to it at once, in bytes: above the messages of clients that write
/// a mebibyte at a time, which would otherwise pay for fresh pages every time.
#[cfg(target_env = "gnu")]
const MAPPED: libc::c_int = 4 << 20;

/// Sets the bounds; to be called at the start, before there are threads.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator; no thread allocates meanwhile, and any value is valid.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MAPPED);
    }
}

/// Gives back what is free now: for a moment when a client that moved much has gone.
pub fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
