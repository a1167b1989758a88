//! Reads our own configuration files, and only such as nobody but root, or the user who runs the agent, could have written. What else
//! is to be trusted so (modules, what was compiled) asks here.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::ConfigError;

/// A configuration larger than this is a mistake.
const LARGEST: u64 = 1 << 20;

/// Permission bits of group and others to write.
const WRITABLE: u32 = 0o022;
/// The bit that keeps users of a shared folder from replacing each other's files.
const STICKY: u32 = 0o1000;

/// Whose files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Ours: only those that nobody else could have written.
    Trusted,
    /// qemu-ga's: whoever owns them, as with qemu-ga.
    Anyone,
}

/// The text of a file; `None` if it is not there.
pub(super) fn read(path: &Path, from: From) -> Result<Option<String>, ConfigError> {
    let failed = |text: &dyn std::fmt::Display| ConfigError::new(format!("{}: {text}", path.display()));
    // Non-blocking: a FIFO of that name must not hang the start.
    let flags = (OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && from == From::Anyone => {
            return Ok(None);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // What is not there limits nothing: nobody else may have brought that about.
            if path.is_symlink() {
                return Err(failed(&"is a link that leads nowhere"));
            }
            return folder_of(path).map(|()| None);
        }
        Err(error) => return Err(failed(&error)),
    };
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(failed(&"is not a regular file"));
    }
    if from == From::Trusted {
        opened(path, &metadata)?;
    }
    text(&mut file, &metadata).map(Some).map_err(|reason| failed(&reason))
}

/// Whether a file that was opened at `path` can be relied on: nobody else could have written it, or put another in its place.
pub(crate) fn opened(path: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    let failed = |text: &dyn std::fmt::Display| ConfigError::new(format!("{}: {text}", path.display()));
    distrust(metadata, WRITABLE).map_or(Ok(()), |reason| Err(failed(&reason)))?;
    folder_of(path)?;
    folder_of(&path.canonicalize().map_err(|error| failed(&error))?)
}

/// Whoever may write to the folder of a file may put another in its place, or take it away.
pub(crate) fn folder_of(path: &Path) -> Result<(), ConfigError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => folder(Path::new(".")),
        Some(parent) => folder(parent),
        None => Ok(()),
    }
}

/// A folder that is not there is fine.
pub(super) fn folder(path: &Path) -> Result<(), ConfigError> {
    let failed = |text: &dyn std::fmt::Display| ConfigError::new(format!("{}: {text}", path.display()));
    match std::fs::metadata(path) {
        Ok(metadata) => {
            // In a sticky one others cannot touch what is not theirs; but its owner can.
            let writable = if metadata.mode() & STICKY != 0 { 0 } else { WRITABLE };
            distrust(&metadata, writable).map_or(Ok(()), |reason| Err(failed(&reason)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

fn text(file: &mut File, metadata: &Metadata) -> Result<String, String> {
    if metadata.len() > LARGEST {
        return Err(format!("is larger than {LARGEST} bytes"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        format!("is not UTF-8 at byte {place}")
    })
}

/// Why an opened file or folder cannot be relied on, wherever it stands: others could have written to it.
#[cfg(feature = "extensions")]
pub(crate) fn doubt(metadata: &Metadata) -> Option<String> {
    distrust(metadata, WRITABLE)
}

/// Why what a file says cannot be relied on, if any of these permission bits says so, or its owner.
fn distrust(metadata: &Metadata, writable: u32) -> Option<String> {
    let (owner, us) = (metadata.uid(), geteuid());
    if owner != 0 && owner != us.as_raw() {
        let us = if us.is_root() { "root".to_owned() } else { format!("root or user {us}") };
        return Some(format!("belongs to user {owner}; it has to belong to {us} (chown)"));
    }
    (metadata.mode() & writable != 0).then(|| {
        let mode = metadata.mode() & 0o7777;
        format!("others than its owner may write to it (mode {mode:04o}); take that away with chmod go-w")
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn check(path: &Path) -> Result<Option<String>, String> {
        read(path, From::Trusted).map_err(|error| error.to_string())
    }

    #[test]
    fn only_files_that_nobody_else_could_have_written_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        assert_eq!(check(&path), Ok(None));
        fs::write(&path, "x").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (bits, fine) in [(0o600, true), (0o644, true), (0o400, true), (0o664, false), (0o646, false)] {
            mode(&path, bits);
            assert_eq!(check(&path).is_ok(), fine, "{bits:o}");
        }
        assert!(check(&path).unwrap_err().contains("chmod go-w"));
        mode(&path, 0o600);
        // A link to a good file in a good folder is a good file.
        let link = dir.path().join("link.toml");
        symlink(&path, &link).unwrap();
        assert_eq!(check(&link), Ok(Some("x".into())));
        mode(dir.path(), 0o777);
        assert!(check(&path).unwrap_err().starts_with(&format!("{}: others", dir.path().display())));
        mode(dir.path(), 0o1777);
        assert!(check(&path).is_ok());
        mode(dir.path(), 0o700);
        if geteuid().is_root() {
            chown(&path, Some(65534), None).unwrap();
            assert!(check(&path).unwrap_err().contains("belongs to user 65534"));
        }
        assert!(check(dir.path()).unwrap_err().contains("not a regular file"));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(check(&fifo).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn what_cannot_be_a_configuration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(&path, b"a\xff").unwrap();
        assert!(check(&path).unwrap_err().contains("not UTF-8 at byte 1"));
        fs::write(&path, vec![b' '; 2 << 20]).unwrap();
        assert!(check(&path).unwrap_err().contains("larger than"));
    }
}
