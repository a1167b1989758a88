//! One file or folder that was granted: what of it is refused, and where it is once it was opened.
//!
//! A folder is opened once and is that folder from then on, whatever comes to bear its name. Of a single file its folder is, and the name
//! is opened beneath it each time, so that a file which was replaced by rename is seen. Links in the path are followed then and never
//! again. What is not there yet is looked for again whenever it is asked for.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use waga_builtins::file::real;

use super::beneath::beneath;
use super::handle::Handle;
use super::mounts::{self, Mount};
use crate::config::{OwnPlace, way};

/// A file, or a folder with all that is in it.
#[derive(Debug)]
pub(super) struct Grant {
    /// As the operator wrote it and the extension knows it; without doubled slashes and dots.
    pub(super) path: PathBuf,
    /// Whether it may be written, too.
    pub(super) write: bool,
    /// Whether it stands there with a slash at its end: a folder, though there may be none yet.
    is_folder: bool,
    place: OnceLock<Place>,
    /// Whether the log has it that it came about and must not be granted.
    told: AtomicBool,
}

/// Where it is.
#[derive(Debug)]
pub(super) struct Place {
    /// Its path without links.
    pub(super) real: PathBuf,
    /// It, or the folder that it is in.
    pub(super) folder: Arc<Handle>,
    /// Of a single file.
    pub(super) name: Option<OsString>,
}

/// Why it is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It, or the folder that it is in, is not there.
    Missing,
    /// It must not be granted, or cannot be opened.
    Refused(String),
}

impl Grant {
    pub(super) fn new(written: &str, write: bool) -> Self {
        Self {
            path: Path::new(written).components().collect(),
            write,
            is_folder: written.ends_with('/'),
            place: OnceLock::new(),
            told: AtomicBool::new(false),
        }
    }

    /// Where it is, if that is known.
    pub(super) fn known(&self) -> Option<&Place> {
        self.place.get()
    }

    /// Says once that it is not to be had, for this reason: an extension may ask for it without end.
    pub(super) fn tell(&self, reason: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!("{}: not to be had by an extension: it {reason}", self.path.display());
        }
    }

    /// Where it is; found out if it was not there before.
    pub(super) fn place(&self, own: &[OwnPlace]) -> Result<&Place, Failure> {
        match self.place.get() {
            Some(place) => Ok(place),
            None => {
                let own = own.iter().filter(|own| self.write || !own.is_program);
                let place = find(&self.path, self.is_folder, own)?;
                Ok(self.place.get_or_init(|| place))
            }
        }
    }
}

fn find<'a>(
    written: &Path,
    is_folder: bool,
    own: impl Iterator<Item = &'a OwnPlace>,
) -> Result<Place, Failure> {
    let real = real(written);
    let mounts = mounts::list();
    let reason = forbidden(written, &real, own, &mounts).or_else(|| replaceable(written));
    if let Some(reason) = reason {
        return Err(Failure::Refused(reason));
    }
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(Failure::Refused("is everything: name the files and folders that are needed".into()));
    };
    let folder = folder(parent)?;
    // A sticky one, or it would have been refused: what is there cannot be replaced, but what is not can be made.
    let is_shared = fstat(&folder).map_err(unopened)?.st_mode & 0o022 != 0;
    let shared = || {
        let at = parent.display();
        Failure::Refused(format!(
            "is in {at}, where others may make files, too: grant a folder that is there already, or what is in one"
        ))
    };
    let named = beneath(&folder, Path::new(name), OFlags::PATH, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let named = match named {
        Ok(named) => named,
        Err(Errno::NOENT) if is_shared => return Err(shared()),
        Err(Errno::NOENT) if !is_folder => {
            return Ok(Place { folder: Handle::kept(folder), name: Some(name.to_owned()), real });
        }
        Err(error) => return Err(unopened(error)),
    };
    let kind = FileType::from_raw_mode(fstat(&named).map_err(unopened)?.st_mode);
    match kind {
        FileType::RegularFile if is_folder => {
            Err(Failure::Refused("is a file: write it without the slash at its end".into()))
        }
        FileType::RegularFile if is_shared => Err(shared()),
        FileType::RegularFile => {
            Ok(Place { folder: Handle::kept(folder), name: Some(name.to_owned()), real })
        }
        FileType::Directory => {
            if let Some(mount) = mounts::held(&mounts, &real) {
                let (kind, point) = (&mount.kind, mount.point.display());
                let is =
                    if mount.point == real { "is".to_owned() } else { format!("holds {point}, which is") };
                let reason = format!("{is} {kind}, the kernel's: grant other folders, or single files of it");
                return Err(Failure::Refused(reason));
            }
            if mounts::is_kernels(&named).map_err(unopened)? {
                let reason = "is in a filesystem of the kernel's: grant single files of it";
                return Err(Failure::Refused(reason.into()));
            }
            Ok(Place { folder: Handle::kept(named), name: None, real })
        }
        _ => {
            Err(Failure::Refused("is neither a regular file nor a folder: only these can be granted".into()))
        }
    }
}

/// What nobody may be granted.
fn forbidden<'a>(
    written: &Path,
    real: &Path,
    mut own: impl Iterator<Item = &'a OwnPlace>,
    mounts: &[Mount],
) -> Option<String> {
    let paths = [written, real];
    if paths.iter().any(|path| path.parent().is_none()) {
        return Some("is everything: name the files and folders that are needed".into());
    }
    if paths.iter().any(|path| mounts::is_forbidden(mounts, path)) {
        return Some(
            "belongs to a process, or is the kernel's memory or log: no extension is granted any of these"
                .into(),
        );
    }
    own.find_map(|own| {
        let place = real_of(&own.path);
        let (what, at) = (own.what, own.path.display());
        if place == real {
            Some(format!("is the agent's own, {what}: no extension is granted that"))
        } else if place.starts_with(real) {
            Some(format!("holds what is the agent's own, {what} ({at}): grant what else is in it one by one"))
        } else if own.whole && real.starts_with(&place) {
            Some(format!("is in what is the agent's own, {what} ({at}): no extension is granted that"))
        } else {
            None
        }
    })
}

/// Whether others could put something else in its place, by writing to a folder above it.
fn replaceable(written: &Path) -> Option<String> {
    let doubt = way(written).err()?;
    Some(format!("is below a folder that others may write to; {doubt}, or grant that folder as a whole"))
}

/// The folder at a path without links.
fn folder(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, flags, Mode::empty(), resolve).map_err(unopened)
}

fn unopened(error: Errno) -> Failure {
    match error {
        Errno::NOENT => Failure::Missing,
        Errno::NOSYS => Failure::Refused(
            "cannot be opened safely: that takes the system call openat2, of Linux 5.6 or later".into(),
        ),
        error => Failure::Refused(format!("cannot be opened: {error}")),
    }
}

/// As [`real`], of a path that may be relative.
fn real_of(path: &Path) -> PathBuf {
    real(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}
