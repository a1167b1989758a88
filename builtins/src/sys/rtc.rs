//! Reading and setting a hardware clock (`/dev/rtc0`).
#![allow(unsafe_code, reason = "ioctls that read and write a structure of the kernel's")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `struct rtc_time` of `linux/rtc.h`: a date and a time of day, in whatever zone the clock is kept.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) second: c_int,
    pub(crate) minute: c_int,
    pub(crate) hour: c_int,
    /// From 1.
    pub(crate) day: c_int,
    /// From 0.
    pub(crate) month: c_int,
    /// From 1900.
    pub(crate) year: c_int,
    /// The day of the week, the day of the year, and whether it is summer: what the kernel neither sets nor heeds.
    pub(crate) unused: [c_int; 3],
}

const _: () = assert!(size_of::<Time>() == 36);

mod ioctl {
    nix::ioctl_read!(rtc_rd_time, b'p', 0x09, super::Time);
    nix::ioctl_write_ptr!(rtc_set_time, b'p', 0x0a, super::Time);
}

/// What the clock that is open here shows.
///
/// # Errors
/// The kernel's: `EINVAL` for a clock that shows no possible time, `ENOTTY` for what is no clock.
pub(crate) fn read(clock: impl AsFd) -> io::Result<Time> {
    let mut time = Time::default();
    // SAFETY: the descriptor is open as long as `clock` lives. The kernel writes one `struct rtc_time`, whose layout is `Time`'s
    // (nine ints, asserted above), to a live value of that type; the request's number encodes its size.
    unsafe { ioctl::rtc_rd_time(clock.as_fd().as_raw_fd(), &raw mut time) }?;
    Ok(time)
}

/// Sets the clock that is open here.
///
/// # Errors
/// The kernel's: `EINVAL` for a time that there is not, or a clock that cannot be set, `EPERM` without `CAP_SYS_TIME`.
pub(crate) fn set(clock: impl AsFd, time: &Time) -> io::Result<()> {
    // SAFETY: as above, and the kernel only reads.
    unsafe { ioctl::rtc_set_time(clock.as_fd().as_raw_fd(), &raw const *time) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_clock_refuses() {
        let file = tempfile::tempfile().unwrap();
        for refused in [read(&file).map(drop), set(&file, &Time::default())] {
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(nix::libc::ENOTTY));
        }
    }
}
