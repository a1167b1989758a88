//! Going to the background, as `-d` asks: a child that is the agent, and a parent that waits until it knows whether the child started.
//!
//! Differs from qemu-ga, whose parent ends with 0 at once, whatever becomes of the child.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// Which of the two processes this is.
#[derive(Debug)]
pub(crate) enum Side {
    /// The one that was started, at its end.
    Parent(ExitCode),
    /// The agent.
    Child(Waiting),
}

/// The child's end: the parent waits for word from it.
#[derive(Debug)]
pub(crate) struct Waiting(File);

/// Splits the process. The child leaves the session and its terminal; standard error stays until it has started.
///
/// # Errors
/// The system's. No thread must have been started.
pub(crate) fn split() -> io::Result<Side> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    match waga_builtins::fork()? {
        Some(child) => {
            drop(writer);
            Ok(Side::Parent(watch(child, File::from(reader))))
        }
        None => {
            drop(reader);
            setsid()?;
            Ok(Side::Child(Waiting(File::from(writer))))
        }
    }
}

/// Waits for word from the child, or for its end.
fn watch(child: Pid, mut word: File) -> ExitCode {
    if matches!(word.read(&mut [0]), Ok(1)) {
        return ExitCode::SUCCESS;
    }
    match waitpid(child, None) {
        // It ended before it had started, but its reasons were good: there is nothing to serve.
        Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        _ => ExitCode::FAILURE,
    }
}

impl Waiting {
    /// The agent has started: lets go of the working folder and of the three streams, and of the parent.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn started(mut self) -> io::Result<()> {
        std::env::set_current_dir("/")?;
        umask(Mode::from_bits_truncate(0o077));
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {error}")))?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        // A parent that was killed meanwhile is no reason not to serve.
        let _ = self.0.write_all(b".");
        Ok(())
    }
}

/// The file with the process's number, locked as long as the process lives; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    _file: File,
}

impl PidFile {
    /// Writes it, as qemu-ga does: 0600, the number and a newline, under a lock.
    ///
    /// # Errors
    /// Another process has it; the system's.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("the pid file {}: {error}", path.display()))
        };
        loop {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW);
            let mut file = options.open(path).map_err(failed)?;
            lock(&file).map_err(|error| match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EACCES) => {
                    let text = format!("the pid file {} is locked: another agent runs", path.display());
                    io::Error::new(error.kind(), text)
                }
                _ => failed(error),
            })?;
            // Whoever had it before may have removed it between the two: then the lock is on a file that nobody finds.
            let ours = file.metadata().map_err(failed)?;
            match fs::symlink_metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
                _ => continue,
            }
            file.set_len(0).map_err(failed)?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
            return Ok(Self { path: path.to_owned(), _file: file });
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Gone already, or its folder is: either way nobody is misled.
        let _ = fs::remove_file(&self.path);
    }
}

/// A record lock, which other programs (start-stop-daemon, qemu-ga) look for; it ends with the process.
fn lock(file: &File) -> io::Result<()> {
    let whole = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pid_file_holds_the_number_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "something longer that was there before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = PidFile::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        let error = PidFile::take(&dir.path().join("no/pid")).unwrap_err();
        assert!(error.to_string().contains("no/pid"), "{error}");
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(PidFile::take(&path).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}
