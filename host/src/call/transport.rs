//! A connection to an agent's socket, in bytes and lines; no wait lasts longer than the call.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, VsockAddr, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio};

use super::deadline::Deadline;
use super::error::Error;

/// How much is read at once: what a unix socket holds, so that a large reply takes few system calls.
const CHUNK: usize = 256 << 10;
/// How much of a line is kept where only its end matters.
const TAIL: usize = 4 << 10;

/// How much of a line is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// All of it; more than so many bytes is an error.
    Whole(usize),
    /// Its end, at least 4 KiB of it: what comes before may be thrown away, so that a flood costs no memory.
    Tail,
}

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct Stream {
    socket: OwnedFd,
    /// What was read; the first `taken` bytes are done with.
    read: Vec<u8>,
    taken: usize,
    /// The peer will say no more.
    ended: bool,
}

/// Connects to a unix socket.
///
/// # Errors
/// What the system says, or that nobody took the connection in time.
pub(super) fn unix(path: &Path, deadline: Deadline) -> Result<Stream, Error> {
    let failed = |error: nix::errno::Errno| {
        Error::Transport(format!("cannot connect to {}: {}", path.display(), error.desc()))
    };
    let address = UnixAddr::new(path).map_err(failed)?;
    let socket = open(AddressFamily::Unix, SockFlag::empty()).map_err(failed)?;
    // A full backlog can be waited for only within `connect`, and this is what limits that. No less than 1 ms: 0 means for ever.
    let left = i64::try_from(deadline.left().as_micros()).unwrap_or(i64::MAX).max(1000);
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(left / 1_000_000, left % 1_000_000))
        .map_err(failed)?;
    match connect(socket.as_raw_fd(), &address) {
        Ok(()) => Stream::over(socket),
        Err(nix::errno::Errno::EAGAIN) => {
            Err(deadline.missed(&format!("{}: nobody took the connection", path.display())))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Connects to a port of a virtual machine.
///
/// # Errors
/// What the system says, or that nobody took the connection in time.
pub(super) fn vsock(cid: u32, port: u32, deadline: Deadline) -> Result<Stream, Error> {
    let failed = |error: nix::errno::Errno| {
        Error::Transport(format!("cannot connect to vsock {cid}:{port}: {}", error.desc()))
    };
    let socket = open(AddressFamily::Vsock, SockFlag::SOCK_NONBLOCK).map_err(failed)?;
    match connect(socket.as_raw_fd(), &VsockAddr::new(cid, port)) {
        Ok(()) => return Stream::over(socket),
        Err(nix::errno::Errno::EINPROGRESS) => {}
        Err(error) => return Err(failed(error)),
    }
    if !deadline.wait(&mut [PollFd::new(&socket, PollFlags::OUT)])? {
        return Err(deadline.missed(&format!("vsock {cid}:{port}: nobody took the connection")));
    }
    match getsockopt(&socket, sockopt::SocketError).map_err(failed)? {
        0 => Stream::over(socket),
        error => Err(failed(nix::errno::Errno::from_raw(error))),
    }
}

fn open(family: AddressFamily, flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(family, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)
}

impl Stream {
    /// Speaks over a socket that is connected.
    ///
    /// # Errors
    /// If it cannot be made non-blocking.
    pub(super) fn over(socket: OwnedFd) -> Result<Self, Error> {
        ioctl_fionbio(&socket, true)
            .map_err(|error| Error::Transport(format!("cannot use the socket: {error}")))?;
        Ok(Self { socket, read: Vec::new(), taken: 0, ended: false })
    }

    /// Sends all of it, and reads meanwhile, lest both sides wait for each other.
    ///
    /// A peer that has closed its end is no error here: what it said before is still to be read.
    ///
    /// # Errors
    /// What the system says; that it was not taken in time.
    pub(super) fn send(&mut self, mut bytes: &[u8], deadline: Deadline) -> Result<(), Error> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.socket, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(Errno::AGAIN) => {
                    // What comes before all was sent answers something older, or complains: its end will do.
                    let listens = !self.ended;
                    let wanted = if listens { PollFlags::OUT | PollFlags::IN } else { PollFlags::OUT };
                    let mut polled = [PollFd::new(&self.socket, wanted)];
                    if !deadline.wait(&mut polled)? {
                        return Err(deadline.missed("the agent did not take the command"));
                    }
                    if listens && polled[0].revents().intersects(PollFlags::IN) {
                        self.fill()?;
                        self.forget();
                    }
                }
                Err(error) => return Err(Error::Transport(format!("cannot send: {error}"))),
            }
        }
        Ok(())
    }

    /// The next line that is not empty, without its newline; `None` if the connection ended before one was complete.
    ///
    /// # Errors
    /// What the system says; that it is too long; that it did not come in time.
    pub(super) fn line(&mut self, keep: Keep, deadline: Deadline) -> Result<Option<Vec<u8>>, Error> {
        let mut searched = self.taken;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.read[searched..]) {
                let line = self.take(searched + found);
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
                searched = self.taken;
            } else {
                match keep {
                    Keep::Whole(most) if self.read.len() - self.taken > most => {
                        return Err(Error::Transport(format!("a reply of more than {} MiB", most >> 20)));
                    }
                    Keep::Whole(_) => {}
                    Keep::Tail => self.forget(),
                }
                if self.ended {
                    return Ok(None);
                }
                // `fill` moves it to the front.
                searched = self.read.len() - self.taken;
                if !self.fill()? && !deadline.wait(&mut [PollFd::new(&self.socket, PollFlags::IN)])? {
                    return Err(deadline.missed("no answer"));
                }
            }
            // A peer that never stops is not waited for, and yet has to be left.
            if deadline.passed() {
                return Err(deadline.missed("no answer"));
            }
        }
    }

    /// Takes the line that ends before `end`.
    fn take(&mut self, end: usize) -> Vec<u8> {
        if self.taken == 0 && end + 1 == self.read.len() {
            // Usual, and it may be 64 MiB.
            let mut line = std::mem::take(&mut self.read);
            line.pop();
            return line;
        }
        let line = self.read[self.taken..end].to_vec();
        self.taken = end + 1;
        line
    }

    /// Forgets all but the end of what was read, once it is much.
    fn forget(&mut self) {
        if self.read.len() - self.taken > CHUNK {
            self.taken = self.read.len() - TAIL;
        }
    }

    /// Reads once; whether there was anything, the end included.
    fn fill(&mut self) -> Result<bool, Error> {
        self.read.drain(..self.taken);
        self.taken = 0;
        self.read.reserve(CHUNK);
        match rustix::io::read(&self.socket, spare_capacity(&mut self.read)) {
            Ok(0) | Err(Errno::CONNRESET) => {
                self.ended = true;
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(Error::Transport(format!("cannot receive: {error}"))),
        }
    }
}
