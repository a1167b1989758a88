//! A listening unix socket with many clients, each with a parser and an order of its own.

use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use smol::lock::Semaphore;
use smol::{Async, Timer};
use waga_builtins::Caller;

use super::{Arrival, Departure, House, Link, converse, make_room};

/// Clients served at once; further ones wait to be accepted.
const CLIENTS: usize = 256;
/// Pause after an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds the socket. A socket that nobody listens on any more is replaced, as qemu-ga does.
///
/// # Errors
/// Someone listens there (qemu-ga would take the path away from them); the path is not a socket; the folder is not writable.
pub(super) fn listen(path: &Path) -> io::Result<Async<UnixListener>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "exists and is not a socket"));
        }
        Ok(_) if is_in_use(path)? => {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another program uses this socket"));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    Async::<UnixListener>::bind(path)
}

/// Whether a program still has this socket; a full backlog and another type of socket say so too.
fn is_in_use(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE | Errno::INPROGRESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Accepts clients for ever.
pub(super) async fn serve(listener: Async<UnixListener>, caller: Caller, house: House) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let place = places.acquire_arc().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let (caller, home) = (caller.clone(), house.clone());
                let client = async move {
                    // A client that left early, or the reset it leaves behind, ends its own connection and nothing else.
                    if let Err(error) = converse(Client { stream, last: 0 }, &caller, &home).await {
                        tracing::debug!(%error, "a client's connection broke");
                    }
                    drop(place);
                };
                house.executor.spawn(client).detach();
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                Timer::after(PAUSE).await;
            }
        }
    }
}

struct Client {
    stream: Async<UnixStream>,
    last: usize,
}

impl Link for Client {
    /// Both directions are shut; a client that only said it has no more requests still reads.
    fn is_gone(&self) -> bool {
        let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok()
            && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Arrival> {
        make_room(buffer, self.last);
        let read = |stream: &UnixStream| Ok(rustix::io::read(stream, spare_capacity(buffer))?);
        self.last = self.stream.read_with(read).await?;
        Ok(if self.last == 0 { Arrival::End } else { Arrival::Bytes })
    }

    async fn write(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<Departure> {
        while !parts.is_empty() {
            let sent = self.stream.write_with(|stream| Ok(rustix::io::writev(stream, parts)?)).await?;
            IoSlice::advance_slices(&mut parts, sent);
        }
        Ok(Departure::Sent)
    }
}
