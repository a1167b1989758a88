//! A pseudoterminal in the place of a serial line: the agent has its one end, a client the other.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{BaudRate, SetArg, Termios, cfsetspeed, tcgetattr, tcsetattr};

use crate::client::Client;

/// The agent's end of a line.
#[derive(Debug)]
pub struct Pty {
    /// Open here too, so that the line is not broken while the agent does not have it.
    line: File,
    path: PathBuf,
}

impl Pty {
    /// A new line, and a client at its other end. Dropping the client hangs it up.
    pub fn new() -> Result<(Self, Client)> {
        // Closed on exec from the start: an agent that another test starts meanwhile would keep the line from being hung up.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = PathBuf::from(ptsname_r(&master)?);
        let line =
            OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&path)?;
        let (near, far) = UnixStream::pair()?;
        let master = File::from(std::os::fd::OwnedFd::from(master));
        std::thread::spawn(move || pump(&far, &master));
        Ok((Self { line, path }, Client::over(near)?))
    }

    /// Its device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a symbolic link to the device, in the place of the one there may be.
    pub fn link(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        symlink(&self.path, &new)?;
        Ok(std::fs::rename(new, path)?)
    }

    /// How the line is set now.
    pub fn modes(&self) -> Result<Termios> {
        Ok(tcgetattr(&self.line)?)
    }

    /// Sets its speed.
    pub fn set_speed(&self, speed: BaudRate) -> Result<()> {
        let mut modes = self.modes()?;
        cfsetspeed(&mut modes, speed)?;
        Ok(tcsetattr(&self.line, SetArg::TCSANOW, &modes)?)
    }
}

/// Carries bytes both ways until the client is gone.
fn pump(mut client: &UnixStream, mut master: &File) {
    let mut buffer = [0; 4096];
    loop {
        let mut polled = [client.as_fd(), master.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if poll(&mut polled, PollTimeout::NONE).is_err() {
            return;
        }
        let [from_client, from_line] = polled.map(|polled| polled.any().unwrap_or_default());
        if from_line {
            match master.read(&mut buffer) {
                Ok(count) if client.write_all(&buffer[..count]).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
        if from_client {
            match client.read(&mut buffer) {
                Ok(count @ 1..) if master.write_all(&buffer[..count]).is_ok() => {}
                _ => return,
            }
        }
    }
}
