//! Opening files beneath a folder that is open already: the kernel resolves the path and refuses to leave the folder (`openat2`, Linux
//! 5.6), by `..`, by links or by a rename meanwhile.
//!
//! Only regular files and folders are opened. Opening a device may do what the device is for, and so each is first named without being
//! opened (`O_PATH`), asked what it is, opened by the same path without waiting, and compared.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, ftruncate, openat2, readlinkat, statat,
};
use rustix::io::{Errno, Result};

use super::mounts::is_kernels;

/// How often something is tried again that was changed by others meanwhile.
const TRIES: usize = 32;

/// Permissions of new files and folders.
const NEW_FILE: Mode = Mode::from_raw_mode(0o644);
const NEW_FOLDER: Mode = Mode::from_raw_mode(0o755);

/// A path beneath an open folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beneath<'a> {
    pub(super) folder: BorrowedFd<'a>,
    /// Relative, never empty; a slash at its end says that it must be a folder.
    pub(super) path: &'a Path,
    /// Whether it is a single file, which was granted and may be anywhere. Else it is in a folder that was granted.
    pub(super) single: bool,
}

/// What was opened.
#[derive(Debug)]
pub(super) enum Opened {
    /// A folder, named only.
    Folder(OwnedFd),
    File(OwnedFd),
}

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::extension) struct How {
    pub(in crate::extension) read: bool,
    pub(in crate::extension) write: bool,
    pub(in crate::extension) create: bool,
    pub(in crate::extension) exclusive: bool,
    pub(in crate::extension) truncate: bool,
    /// Whether it must be a folder.
    pub(in crate::extension) folder: bool,
    /// Whether a link at the end of the path is followed.
    pub(in crate::extension) follow: bool,
    /// `O_SYNC` or `O_DSYNC`, or neither.
    pub(in crate::extension) sync: OFlags,
}

impl How {
    /// Whether opening it so changes a filesystem, or waits for one that is frozen: the kernel may ask for it to be writable then already.
    pub(in crate::extension) fn changes(&self) -> bool {
        self.write || self.create || self.truncate
    }

    fn flags(&self) -> OFlags {
        // To be emptied it has to be open for writing, whatever may be written through it then.
        let access = match (self.read || !self.write, self.write || self.truncate) {
            (_, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (true, true) => OFlags::RDWR,
        };
        access | self.sync | OFlags::NONBLOCK | OFlags::NOCTTY
    }
}

impl Beneath<'_> {
    /// Opens what is there, or makes it if it is not and may be made.
    pub(super) fn open(&self, how: &How) -> Result<Opened> {
        for _ in 0..TRIES {
            let named = match self.name(how.follow) {
                Err(Errno::NOENT) if how.create => match self.create(how) {
                    // A link to nowhere is not followed to make a file.
                    Err(Errno::EXIST) if !how.exclusive && self.is_link() => return Err(Errno::NOENT),
                    // It came about meanwhile.
                    Err(Errno::EXIST) if !how.exclusive => continue,
                    made => return made.map(Opened::File),
                },
                named => named?,
            };
            if how.create && how.exclusive {
                return Err(Errno::EXIST);
            }
            match self.kind(&named)? {
                FileType::Directory if how.write || how.truncate => return Err(Errno::ISDIR),
                FileType::Directory => return Ok(Opened::Folder(named)),
                _ if how.folder => return Err(Errno::NOTDIR),
                _ => {}
            }
            let file = self.openat(self.path, how.flags(), how.follow, Mode::empty())?;
            if !is_same(&fstat(&file)?, &fstat(&named)?) {
                continue; // replaced meanwhile
            }
            if how.truncate {
                ftruncate(&file, 0)?;
            }
            return Ok(Opened::File(file));
        }
        Err(Errno::AGAIN)
    }

    fn is_link(&self) -> bool {
        let stat = self.name(false).and_then(fstat);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    /// What is there, if it is a file or a folder.
    fn kind(&self, named: &OwnedFd) -> Result<FileType> {
        let kind = FileType::from_raw_mode(fstat(named)?.st_mode);
        match kind {
            FileType::RegularFile | FileType::Directory if !self.single && is_kernels(named)? => {
                Err(Errno::PERM)
            }
            FileType::RegularFile => Ok(kind),
            FileType::Directory if !self.single => Ok(kind),
            FileType::Symlink => Err(Errno::LOOP),
            _ => Err(Errno::PERM),
        }
    }

    /// What is there, whatever it is, without opening it.
    pub(super) fn stat(&self, follow: bool) -> Result<Stat> {
        let named = self.name(follow)?;
        if !self.single && is_kernels(&named)? {
            return Err(Errno::PERM);
        }
        fstat(&named)
    }

    /// Where a link leads.
    pub(super) fn read_link(&self) -> Result<PathBuf> {
        let named = self.name(false)?;
        match FileType::from_raw_mode(fstat(&named)?.st_mode) {
            FileType::Symlink => {
                let target = readlinkat(&named, c"", Vec::new())?;
                Ok(OsString::from_vec(target.into_bytes()).into())
            }
            _ => Err(Errno::INVAL),
        }
    }

    /// Makes a file that is not there.
    fn create(&self, how: &How) -> Result<OwnedFd> {
        if how.folder {
            return Err(Errno::INVAL);
        }
        if self.says_folder() {
            return Err(Errno::ISDIR);
        }
        let (folder, name) = self.parent()?;
        // What is not to be written is made all the same.
        let flags = how.flags() | OFlags::CREATE | OFlags::EXCL;
        beneath(folder, name, flags, NEW_FILE, ResolveFlags::NO_SYMLINKS)
    }

    /// The folder that it is in and its name there.
    pub(super) fn parent(&self) -> Result<(OwnedFd, &Path)> {
        let name = self.path.file_name().ok_or(Errno::INVAL)?;
        let parent =
            self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let folder = self.openat(parent, flags, true, Mode::empty())?;
        if !self.single && is_kernels(&folder)? {
            return Err(Errno::PERM);
        }
        Ok((folder, Path::new(name)))
    }

    pub(super) fn make_folder(&self) -> Result<()> {
        let (folder, name) = self.parent()?;
        rustix::fs::mkdirat(folder, name, NEW_FOLDER)
    }

    /// Removes a folder that is empty, or a file.
    pub(super) fn remove(&self, folder: bool) -> Result<()> {
        let (parent, name) = self.parent()?;
        let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if !folder && self.says_folder() {
            let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            return Err(if is_folder { Errno::ISDIR } else { Errno::NOTDIR });
        }
        rustix::fs::unlinkat(parent, name, flags)
    }

    pub(super) fn rename(&self, to: &Self) -> Result<()> {
        let ((from_folder, from), (to_folder, to)) = (self.parent()?, to.parent()?);
        rustix::fs::renameat(from_folder, from, to_folder, to)
    }

    /// A slash at the end of a path says that it is a folder.
    fn says_folder(&self) -> bool {
        self.path.as_os_str().as_encoded_bytes().ends_with(b"/")
    }

    fn name(&self, follow: bool) -> Result<OwnedFd> {
        self.openat(self.path, OFlags::PATH, follow, Mode::empty())
    }

    fn openat(&self, path: &Path, flags: OFlags, follow: bool, mode: Mode) -> Result<OwnedFd> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        // What was granted is this file, and not what somebody made it lead to.
        let links = if self.single { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
        beneath(self.folder, path, flags | nofollow, mode, links)
    }
}

/// Opens a path that must not leave the folder.
pub(super) fn beneath(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match openat2(&folder, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // Something was renamed meanwhile, and the kernel cannot tell whether `..` still was beneath.
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            // It leads out.
            Err(Errno::XDEV) => return Err(Errno::PERM),
            // Not to be had from this kernel: nothing can be opened safely.
            Err(Errno::NOSYS) => return Err(Errno::OPNOTSUPP),
            other => return other,
        }
    }
}

/// Whether both are the same file.
pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
