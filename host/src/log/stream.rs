//! A standard error that is a pipe, a socket or a terminal: written to without ever waiting for whoever reads it.
//!
//! The flag `O_NONBLOCK` belongs to the open file, which others share (a shell, a supervisor), so it must not be set there. A pipe or a
//! terminal is opened once more through `/proc`, for ourselves; where that is not to be had, `poll` says whether there is room.

use std::fs::{File, OpenOptions};
use std::io::{self, Stderr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
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

/// What a stream writes to.
#[derive(Debug)]
enum Target {
    File(File),
    /// Whatever descriptor 2 is at the time.
    Standard(Stderr),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Standard(stderr) => stderr.as_fd(),
        }
    }
}

/// Where lines go.
#[derive(Debug)]
pub(super) struct Stream {
    target: Target,
    way: Way,
    /// It ends within a line.
    torn: bool,
}

impl Stream {
    /// Lines for whoever reads this.
    pub(super) fn over(file: File) -> Self {
        let is_socket = file.metadata().is_ok_and(|found| found.file_type().is_socket());
        let (file, way) = if is_socket {
            (file, Way::Socket)
        } else {
            match Self::once_more(&file) {
                Ok(own) => (own, Way::Own),
                Err(_) => (file, Way::Asked),
            }
        };
        Self { target: Target::File(file), way, torn: false }
    }

    /// Lines for standard error, whatever that is at the time: no other descriptor stays behind when it becomes something else.
    pub(super) fn standard() -> Self {
        Self { target: Target::Standard(io::stderr()), way: Way::Asked, torn: false }
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
            Way::Own => {}
            Way::Socket => return Ok(send(&self.target, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
            Way::Asked => {
                let mut polled = [PollFd::new(&self.target, PollFlags::OUT)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                if poll(&mut polled, Some(&now))? == 0 {
                    return Err(Errno::AGAIN.into());
                }
            }
        }
        Ok(rustix::io::write(&self.target, bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;

    fn is_shared_flag_set(file: &impl std::os::fd::AsFd) -> bool {
        rustix::fs::fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK)
    }

    #[test]
    fn a_full_pipe_is_not_waited_for_and_stays_as_others_have_it() {
        for asked in [false, true] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let (ours, theirs) = (File::from(OwnedFd::from(writer.try_clone().unwrap())), writer);
            let mut stream = if asked {
                Stream { target: Target::File(ours), way: Way::Asked, torn: false }
            } else {
                Stream::over(ours)
            };
            assert_eq!(matches!(stream.way, Way::Asked), asked);
            let line = [&[b'x'; 4094][..], b"\n"].concat();
            let mut taken = 0;
            while stream.send(&line).is_ok() {
                taken += 1;
            }
            assert!(taken > 0 && !is_shared_flag_set(&theirs));
            let mut read = vec![0; line.len() * taken];
            reader.read_exact(&mut read).unwrap();
            assert_eq!(read, line.repeat(taken));
            stream.send(b"after\n").unwrap();
            drop((stream, theirs));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "after\n");
        }
    }

    #[test]
    fn a_socket_is_not_waited_for_and_no_line_runs_into_another() {
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let theirs = writer.try_clone().unwrap();
        let mut stream = Stream::over(OwnedFd::from(writer).into());
        let line = format!("{}\n", "x".repeat(3000));
        while stream.send(line.as_bytes()).is_ok() {}
        assert!(!is_shared_flag_set(&theirs));
        reader.read_exact(&mut vec![0; 64 << 10]).unwrap();
        stream.send(b"after\n").unwrap();
        drop((stream, theirs));
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("\nafter\n"));
    }

    #[test]
    fn who_left_is_an_error_and_no_signal() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut stream = Stream::over(OwnedFd::from(writer).into());
        drop(reader);
        assert_eq!(stream.send(b"x\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
