//! A link over any descriptor that the kernel tells the end of: a client's socket, a serial line.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use smol::Async;

use super::conversation::{Arrival, Departure, Link, make_room};

/// A connection that is over when its other side is.
#[derive(Debug)]
pub(super) struct Stream {
    fd: Async<OwnedFd>,
    last: usize,
}

impl Stream {
    /// Over a descriptor that is non-blocking already.
    ///
    /// # Errors
    /// It cannot be waited for, or there is no memory.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: Async::new_nonblocking(fd)?, last: 0 })
    }
}

impl Link for Stream {
    /// Both directions are shut; a client that only said it has no more requests still reads.
    fn is_gone(&self) -> bool {
        let mut polled = [PollFd::new(&self.fd, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok()
            && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Arrival> {
        make_room(buffer, self.last);
        let read = |fd: &OwnedFd| Ok(retry_on_intr(|| rustix::io::read(fd, spare_capacity(buffer)))?);
        self.last = self.fd.read_with(read).await?;
        Ok(if self.last == 0 { Arrival::End } else { Arrival::Bytes })
    }

    async fn write(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<Departure> {
        // Parts without a byte would be taken for a peer that takes none.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let write = |fd: &OwnedFd| Ok(retry_on_intr(|| rustix::io::writev(fd, parts))?);
            let sent = self.fd.write_with(write).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut parts, sent);
        }
        Ok(Departure::Sent)
    }
}
