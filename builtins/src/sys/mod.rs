//! The few system calls that no crate wraps safely. The only place of this crate with `unsafe`.

pub mod allocator;
pub(crate) mod chdir;
pub(crate) mod code;
pub(crate) mod fitrim;
pub(crate) mod fork;
pub(crate) mod freeze;
pub(crate) mod identity;
pub mod listen_fds;
pub(crate) mod localtime;
pub(crate) mod loop_device;
pub(crate) mod nvme;
pub(crate) mod rtc;
pub(crate) mod spawn;
pub(crate) mod sysfs;
