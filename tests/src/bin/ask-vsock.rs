//! `ask-vsock CID PORT`, in a guest: sends its standard input to a vsock port and prints what comes back, up to the end.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};

fn main() -> io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u32>().map_err(io::Error::other));
    let mut number = || numbers.next().unwrap_or_else(|| Err(io::Error::other("usage: ask-vsock CID PORT")));
    let address = VsockAddr::new(number()?, number()?);
    let socket = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &address)?;
    // Reading and writing are the same for every stream.
    let mut stream = std::fs::File::from(socket);
    let mut requests = Vec::new();
    io::stdin().read_to_end(&mut requests)?;
    stream.write_all(&requests)?;
    nix::sys::socket::shutdown(stream.as_raw_fd(), nix::sys::socket::Shutdown::Write)?;
    io::copy(&mut stream, &mut io::stdout())?;
    Ok(())
}
