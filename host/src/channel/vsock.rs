//! Making a vsock socket: the hypervisor's own way between a host and its guests, without a network.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, bind, socket};
use rustix::net::listen;

use super::listener::{BACKLOG, Listener};

/// Listens on a port; cid 4294967295 stands for every address that this machine has.
///
/// # Errors
/// The kernel has no vsock; the address is not this machine's, or in use, or the port a privileged one.
pub(super) fn listen_at(cid: u32, port: u32) -> io::Result<Listener> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Vsock, SockType::Stream, flags, None).map_err(explained)?;
    bind(socket.as_raw_fd(), &VsockAddr::new(cid, port)).map_err(explained)?;
    listen(&socket, BACKLOG)?;
    Listener::new(socket)
}

/// Says what to do where the kernel's own words do not.
fn explained(error: Errno) -> io::Error {
    let text = match error {
        Errno::EAFNOSUPPORT => "this kernel has no vsock (module vsock)",
        Errno::EADDRNOTAVAIL => "this machine has no such CID; 4294967295 stands for any",
        _ => return error.into(),
    };
    io::Error::new(io::Error::from(error).kind(), text)
}
