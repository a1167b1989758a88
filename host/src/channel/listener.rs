//! A listening socket with many clients, each with a parser and an order of its own: unix, vsock, or passed by the service manager.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use smol::lock::Semaphore;
use smol::{Async, Timer};
use waga_builtins::Caller;

use super::House;
use super::conversation::converse;
use super::stream::Stream;

/// Clients served at once; further ones wait to be accepted.
const CLIENTS: usize = 256;
/// Connections that the kernel keeps until they are accepted.
pub(super) const BACKLOG: i32 = 128;
/// Pause after an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that accepts clients.
#[derive(Debug)]
pub(super) struct Listener(Async<OwnedFd>);

impl Listener {
    /// A stream socket that listens already.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Async::new(socket).map(Self)
    }

    /// Accepts clients until the socket itself is of no use any more, and returns why. Clients outlive it.
    pub(super) async fn serve(self, caller: &Caller, house: &House) -> io::Error {
        let places = Arc::new(Semaphore::new(CLIENTS));
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let mut refused = false;
        loop {
            let place = places.acquire_arc().await;
            let accept = |socket: &OwnedFd| match accept_with(socket, flags) {
                // The kernel would call it readable for ever.
                Err(Errno::AGAIN) if is_shut(socket) => Err(Errno::INVAL.into()),
                accepted => Ok(accepted?),
            };
            let accepted = self.0.read_with(accept).await;
            let stream = match accepted.and_then(Stream::new) {
                Ok(stream) => stream,
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    return io::Error::new(error.kind(), "the socket was shut down");
                }
                Err(error) if is_fatal(&error) => return error,
                Err(error) => {
                    // Said once: it may go on for long, and the log may be what is full.
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "cannot accept a client");
                    }
                    Timer::after(PAUSE).await;
                    continue;
                }
            };
            refused = false;
            let (caller, home) = (caller.clone(), house.clone());
            let client = async move {
                // A client that left early, or the reset it leaves behind, ends its own connection and nothing else.
                if let Err(error) = converse(stream, &caller, &home).await {
                    tracing::debug!(%error, "a client's connection broke");
                }
                drop(place);
            };
            house.spawn(client);
        }
    }
}

/// Whether someone who has the socket too has shut it down.
fn is_shut(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

/// Whether accept will never succeed again, for this is no socket that listens. All else is about one client, or passes.
fn is_fatal(error: &io::Error) -> bool {
    [Errno::BADF, Errno::NOTSOCK, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
