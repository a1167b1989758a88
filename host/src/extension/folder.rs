//! A folder of the agent's own, which only root, or who runs the agent, can write to; and the files in it, none of which is a link.
//!
//! Everything here may wait for a disk.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::config::trust;

/// The folder, if it is there. To be asked each time anew: it may have been put right, or made.
///
/// # Errors
/// There is something else, or others could have written to it; what, with its path.
pub(super) fn open(path: &Path) -> Result<Option<OwnedFd>, String> {
    let failed = |reason: &dyn fmt::Display| format!("{}: {reason}", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(folder) => File::from(folder),
        Err(Errno::NOENT) if path.is_symlink() => return Err(failed(&"is a link that leads nowhere")),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTDIR) => return Err(failed(&"is no folder")),
        Err(error) => return Err(failed(&io::Error::from(error))),
    };
    if let Some(doubt) = trust::doubt(&folder.metadata().map_err(|error| failed(&error))?) {
        return Err(failed(&doubt));
    }
    trust::way(path).map_err(|error| error.to_string())?;
    Ok(Some(folder.into()))
}

/// The folder, made if need be, for nobody else to look into.
///
/// # Errors
/// As [`open`], or it cannot be made.
pub(super) fn made(path: &Path) -> Result<OwnedFd, String> {
    if let Some(folder) = open(path)? {
        return Ok(folder);
    }
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    // What will be in it outlives a power cut only if it does, and the folder that was made for it.
    for above in path.ancestors().skip(1).take(2).filter(|above| !above.as_os_str().is_empty()) {
        File::open(above).and_then(|above| above.sync_all()).map_err(failed)?;
    }
    open(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// Why a file is not used.
pub(super) enum Unusable {
    Open(Errno),
    Doubt(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(Errno::NOENT) => f.write_str("there is no such file"),
            Self::Open(Errno::LOOP) => f.write_str("is a link"),
            Self::Open(error) => io::Error::from(*error).fmt(f),
            Self::Doubt(reason) => f.write_str(reason),
        }
    }
}

/// Opens a file in a folder that is trusted, if it is a regular one that nobody else could have written to.
pub(super) fn open_file(folder: &OwnedFd, name: &str) -> Result<File, Unusable> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty()).map_err(Unusable::Open)?);
    let metadata = file.metadata().map_err(|error| Unusable::Doubt(error.to_string()))?;
    let doubt = match metadata.is_file() {
        true => trust::doubt(&metadata),
        false => Some("is not a regular file".into()),
    };
    doubt.map_or(Ok(file), |doubt| Err(Unusable::Doubt(doubt)))
}
