//! Asking a loop device which filesystem its file lies on: its path, which sysfs tells, may lead elsewhere by now, or nowhere.

#![allow(unsafe_code, reason = "no crate wraps LOOP_GET_STATUS64")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// `struct loop_info64`: 232 bytes of which the first number is asked for.
#[repr(C)]
pub(crate) struct Status {
    device: u64,
    _rest: [u64; 28],
}

nix::ioctl_read_bad!(loop_get_status64, 0x4c05, Status);

/// Major and minor number of the filesystem that the file of the loop device at `node` lies on.
///
/// # Errors
/// There is no such device, or it has no file.
pub(crate) fn backing_device(node: &Path) -> io::Result<(u32, u32)> {
    let device = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(node)?;
    let mut status = Status { device: 0, _rest: [0; 28] };
    // SAFETY: the kernel writes a `loop_info64`, which the argument has the size of; the descriptor is open.
    unsafe { loop_get_status64(device.as_raw_fd(), &raw mut status) }?;
    Ok((rustix::fs::major(status.device), rustix::fs::minor(status.device)))
}

const _: () = assert!(size_of::<Status>() == 232);
