//! A standard error that is a pipe, a socket or a terminal: written to without ever waiting for whoever reads it.
//!
//! The flag `O_NONBLOCK` belongs to the open file, which others share (a shell, a supervisor), so it must not be set there. A pipe or a
//! terminal is opened once more through `/proc`, for ourselves; where that is not to be had, `poll` says whether there is room.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

#[derive(Debug)]
enum Way {
    /// Opened once more, without waiting.
    Own,
    Socket,
    /// Shared: asked first. A pipe with room takes a line of less than `PIPE_BUF`, unless another program is quicker.
    Asked,
}

/// Where lines go.
#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    way: Way,
    /// It ends within a line.
    torn: bool,
}

impl Stream {
    /// Lines for whoever reads this.
    pub(super) fn over(file: File) -> Self {
        let is_socket = file.metadata().is_ok_and(|found| found.file_type().is_socket());
        if is_socket {
            return Self { file, way: Way::Socket, torn: false };
        }
        match Self::once_more(&file) {
            Ok(own) => Self { file: own, way: Way::Own, torn: false },
            Err(_) => Self { file, way: Way::Asked, torn: false },
        }
    }

    fn once_more(file: &File) -> io::Result<File> {
        let found = file.metadata()?.file_type();
        if !found.is_fifo() && !found.is_char_device() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(flags.bits().cast_signed());
        options.open(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// There is no room for it, or nobody reads any more.
    pub(super) fn send(&mut self, line: &[u8]) -> io::Result<()> {
        // Only a terminal or a stream socket takes half a line.
        let mended;
        let mut rest = line;
        if self.torn {
            mended = [b"\n", line].concat();
            rest = &mended;
        }
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let (written, left) = rest.split_at(count);
                    rest = left;
                    self.torn = !written.ends_with(b"\n");
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.way {
            Way::Own => (&self.file).write(bytes),
            Way::Socket => Ok(send(&self.file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
            Way::Asked => {
                let mut polled = [PollFd::new(&self.file, PollFlags::OUT)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                if poll(&mut polled, Some(&now))? == 0 {
                    return Err(Errno::AGAIN.into());
                }
                (&self.file).write(bytes)
            }
        }
    }
}
