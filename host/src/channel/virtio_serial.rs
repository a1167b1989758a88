//! The virtio serial port: one peer at a time, on the host, that comes and goes while the port stays open.
//!
//! While the host's side is closed the port reads as ended and level-triggered polling reports it for ever; so it is polled
//! edge-triggered, through an epoll descriptor of its own inside the daemon's reactor. Then it wakes once a message and once when the
//! host leaves, and costs nothing in between. Closing and reopening the port would make libvirt drop the agent: it never is.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use smol::future::FutureExt;
use smol::{Async, Timer};

use super::conversation::{Arrival, Departure, Link, make_room};

/// How long a reply waits for the host to take up the port again. The host may have connected a moment ago and the kernel not know
/// it yet, though its request is here already; so a reply is not dropped at once.
const RECONNECT: Duration = Duration::from_millis(500);

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// An open port.
pub(super) struct Port {
    port: File,
    edges: Async<OwnedFd>,
    /// The host is known to be away.
    away: bool,
    /// What was sent last ended within a line.
    within_line: bool,
    /// A reply broke off there, for the host left: the next one starts on a line of its own.
    broken_line: bool,
    last: usize,
}

impl Port {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let port = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let edges = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let events =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&edges, &port, epoll::EventData::new_u64(0), events)?;
        let edges = Async::new_nonblocking(edges)?;
        Ok(Self { port, edges, away: false, within_line: false, broken_line: false, last: 0 })
    }

    /// Waits until something about the port changed since the last time.
    async fn edge(&self) -> io::Result<()> {
        self.edges.readable().await?;
        let mut events = Vec::with_capacity(1);
        epoll::wait(&self.edges, spare_capacity(&mut events), Some(&NOW))?;
        Ok(())
    }

    /// Whether the host's side is closed now.
    fn hung_up(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.port, PollFlags::OUT)];
        poll(&mut polled, Some(&NOW))?;
        Ok(polled[0].revents().contains(PollFlags::HUP))
    }

    /// Waits until the port may take bytes; whether there is a host to take them.
    async fn writable(&self) -> io::Result<bool> {
        let until = Instant::now() + RECONNECT;
        while self.hung_up()? {
            let gone = async {
                Timer::at(until).await;
                Ok(false)
            };
            let changed = async { self.edge().await.map(|()| true) };
            if !changed.or(gone).await? {
                return Ok(false);
            }
            if Instant::now() >= until {
                return Ok(!self.hung_up()?);
            }
            if !self.hung_up()? {
                return Ok(true);
            }
        }
        self.edge().await?;
        Ok(true)
    }
}

impl Link for Port {
    /// The host may always come back, and its requests are answered in order.
    fn is_gone(&self) -> bool {
        false
    }

    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Arrival> {
        loop {
            make_room(buffer, self.last);
            match rustix::io::read(&self.port, spare_capacity(buffer)) {
                Ok(0) if self.away => self.edge().await?,
                Ok(0) => {
                    self.away = true;
                    return Ok(Arrival::PeerLeft);
                }
                Ok(count) => {
                    self.away = false;
                    self.last = count;
                    return Ok(Arrival::Bytes);
                }
                Err(Errno::AGAIN) => self.edge().await?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn write(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<Departure> {
        if self.broken_line {
            if self.send(&mut [IoSlice::new(b"\n")]).await? == Departure::PeerLeft {
                return Ok(Departure::PeerLeft);
            }
            self.broken_line = false;
        }
        let departure = self.send(parts).await?;
        self.broken_line = departure == Departure::PeerLeft && self.within_line;
        Ok(departure)
    }
}

impl Port {
    async fn send(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<Departure> {
        let last = parts.iter().rev().find_map(|part| part.last()).copied();
        // Parts without a byte would be taken for a port that takes none.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::writev(&self.port, parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    IoSlice::advance_slices(&mut parts, count);
                    self.within_line = !parts.is_empty() || last != Some(b'\n');
                }
                Err(Errno::AGAIN) => {
                    if !self.writable().await? {
                        tracing::debug!("the host left before it had its reply");
                        return Ok(Departure::PeerLeft);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Departure::Sent)
    }
}
