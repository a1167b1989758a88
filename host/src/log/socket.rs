//! A unix socket that takes messages: journal and syslog, which restart while we run.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

/// Connected when there is something to say.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    types: &'static [SocketType],
    connected: Option<(OwnedFd, SocketType)>,
}

impl Socket {
    /// One that takes datagrams.
    pub(super) fn datagrams(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), types: &[SocketType::DGRAM], connected: None }
    }

    /// One that takes datagrams or a stream; there each message ends with a zero byte, as syslog(3) has it.
    pub(super) fn either(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), types: &[SocketType::DGRAM, SocketType::STREAM], connected: None }
    }

    /// Connects, if it is not connected.
    ///
    /// # Errors
    /// Nobody is there, or takes another type.
    pub(super) fn connect(&mut self) -> io::Result<&(OwnedFd, SocketType)> {
        if self.connected.is_none() {
            let address = SocketAddrUnix::new(&self.path)?;
            let mut result = Err(Errno::PROTOTYPE);
            for &kind in self.types {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
                result = connect(&socket, &address).map(|()| (socket, kind));
                if !matches!(result, Err(Errno::PROTOTYPE)) {
                    break;
                }
            }
            self.connected = Some(result?);
        }
        self.connected.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends a message whole or not at all, without waiting; whoever restarted meanwhile is connected to again.
    ///
    /// # Errors
    /// The message was not taken.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut fresh = self.connected.is_none();
        loop {
            let (socket, kind) = self.connect()?;
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let whole;
            let bytes = if *kind == SocketType::STREAM {
                whole = [message, &[0]].concat();
                &whole
            } else {
                message
            };
            match send(socket, bytes, flags) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => {
                    // The rest would have to be kept, or the next message would be taken for it.
                    self.connected = None;
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Err(Errno::INTR) => {}
                Err(error @ (Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE)) => {
                    return Err(error.into());
                }
                Err(error) => {
                    self.connected = None;
                    if std::mem::replace(&mut fresh, true) {
                        return Err(error.into());
                    }
                }
            }
        }
    }
}
