//! Giving back what a filesystem does not use: one ioctl, on any file or folder of it.
#![allow(unsafe_code, reason = "an ioctl that carries the address of its range")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `struct fstrim_range` of `linux/fs.h`, in bytes.
#[repr(C)]
#[derive(Debug)]
struct Range {
    start: u64,
    length: u64,
    minimum: u64,
}

mod ioctl {
    nix::ioctl_readwrite!(fitrim, b'X', 121, super::Range);
}

/// What the kernel says of a trim, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// How much was given back.
    pub(crate) length: u64,
    /// The shortest stretch that was, as the filesystem rounded it.
    pub(crate) minimum: u64,
}

/// Trims the whole filesystem that this file is on, but for stretches below `minimum` bytes; may take minutes.
///
/// # Errors
/// The kernel's: `ENOTTY` or `EOPNOTSUPP` where the filesystem or its device cannot do it.
pub(crate) fn fitrim(file: impl AsFd, minimum: u64) -> io::Result<Trimmed> {
    let mut range = Range { start: 0, length: u64::MAX, minimum };
    // SAFETY: the descriptor is open as long as `file` lives. The kernel reads and writes one `Range`, whose layout is its own (asserted
    // below) and whose size the request's number encodes; what is no filesystem that knows the number does not touch it.
    unsafe { ioctl::fitrim(file.as_fd().as_raw_fd(), &raw mut range) }?;
    Ok(Trimmed { length: range.length, minimum: range.minimum })
}

const _: () = assert!(size_of::<Range>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_no_filesystem_refuses() {
        let (end, _other) = std::io::pipe().unwrap();
        assert_eq!(fitrim(&end, 0).unwrap_err().raw_os_error(), Some(nix::libc::ENOTTY));
    }
}
