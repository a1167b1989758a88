//! The file of a component: opened once, known by its digest, and by what the system says of it as long as that does not change.
//!
//! Everything here may wait for a disk.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::digest::{Digest, Hasher};
use crate::config::{size, trust};

/// What is read at once, in bytes.
const PIECE: usize = 64 << 10;

/// An open module.
#[derive(Debug)]
pub struct Module {
    file: File,
    path: PathBuf,
    fingerprint: Fingerprint,
}

/// Why a module cannot be used.
#[derive(Debug)]
pub enum ModuleError {
    /// There is no such file.
    Missing(PathBuf),
    /// It is there and must not be used, with the reason.
    Refused(String),
    /// It was written to while it was read.
    Changed(PathBuf),
    /// The system could not read it.
    Read(PathBuf, io::Error),
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{}: there is no such file", path.display()),
            Self::Refused(reason) => f.write_str(reason),
            Self::Changed(path) => write!(f, "{}: changed while it was read; try again", path.display()),
            Self::Read(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ModuleError {}

/// What the system says of a file. Whoever changes the file changes this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fingerprint {
    dev: u64,
    ino: u64,
    size: u64,
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Fingerprint {
    fn new(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Of the file at a path, which is not opened.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&std::fs::metadata(path)?))
    }
}

impl Module {
    /// Opens the file at `path`, which must be regular, trusted as a configuration is, and have at most so many bytes.
    ///
    /// # Errors
    /// It is not there, cannot be opened, or is none of that.
    pub fn open(path: &Path, most: u64) -> Result<Self, ModuleError> {
        // A FIFO or a terminal of that name must not hang the start, nor become ours.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).expect("flags of open fit into its argument");
        let failed = |error| ModuleError::Read(path.to_owned(), error);
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ModuleError::Missing(path.to_owned()));
            }
            other => other.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        let refused = |reason: &str| Err(ModuleError::Refused(format!("{}: {reason}", path.display())));
        if !metadata.is_file() {
            return refused("is not a regular file");
        }
        trust::opened(path, &metadata).map_err(|error| ModuleError::Refused(error.to_string()))?;
        if metadata.len() > most {
            let (has, most) = (metadata.len(), size::format(most));
            return refused(&format!("has {has} bytes, and [extensions] module-size is \"{most}\""));
        }
        Ok(Self { file, path: path.to_owned(), fingerprint: Fingerprint::new(&metadata) })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes it had when it was opened.
    pub fn size(&self) -> u64 {
        self.fingerprint.size
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// It cannot be read, or becomes longer or shorter meanwhile.
    pub fn digest(&self) -> Result<Digest, ModuleError> {
        let (mut hasher, mut piece, mut at) = (Hasher::default(), vec![0; PIECE], 0);
        loop {
            match self.read_at(&mut piece, at)? {
                0 => return Ok(hasher.finish()),
                read => {
                    hasher.update(&piece[..read]);
                    at += read as u64;
                }
            }
        }
    }

    /// All of it, as text: to be asked of small ones only.
    ///
    /// # Errors
    /// As [`Self::digest`], or it is not UTF-8.
    pub(super) fn text(&self) -> Result<(String, Digest), ModuleError> {
        let (mut hasher, mut bytes, mut piece) = (Hasher::default(), Vec::new(), vec![0; PIECE]);
        loop {
            match self.read_at(&mut piece, bytes.len() as u64)? {
                0 => break,
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
        hasher.update(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            ModuleError::Refused(format!("{}: is not UTF-8 at byte {place}", self.path.display()))
        })?;
        Ok((text, hasher.finish()))
    }

    /// The bytes once more, from the same open file. At their end it fails with [`ModuleError::Changed`] if they are others than those
    /// of this digest.
    pub(super) fn bytes(self: Arc<Self>, expected: Digest) -> Bytes {
        Bytes { module: self, at: 0, hasher: Hasher::default(), expected }
    }

    /// What is at a place, 0 at the end, which must be where it was at first.
    fn read_at(&self, piece: &mut [u8], at: u64) -> Result<usize, ModuleError> {
        let read = loop {
            match self.file.read_at(piece, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ModuleError::Read(self.path.clone(), error)),
                Ok(read) => break read,
            }
        };
        let end = at + read as u64;
        match end > self.size() || (read == 0 && end < self.size()) {
            true => Err(ModuleError::Changed(self.path.clone())),
            false => Ok(read),
        }
    }
}

/// The bytes of a module that has been read before.
#[derive(Debug)]
pub(super) struct Bytes {
    module: Arc<Module>,
    at: u64,
    hasher: Hasher,
    expected: Digest,
}

impl Read for Bytes {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let read = self.module.read_at(piece, self.at).map_err(io::Error::other)?;
        self.hasher.update(&piece[..read]);
        self.at += read as u64;
        if read == 0 && !piece.is_empty() && self.hasher.finish() != self.expected {
            return Err(io::Error::other(ModuleError::Changed(self.module.path.clone())));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
