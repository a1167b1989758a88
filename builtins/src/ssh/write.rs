//! Changes a file of keys, with the user's identity: everything here runs within [`Account::do_as`].
//!
//! The new file is made beside the old one and takes its place when it is whole and on the disk; so whatever happens, a disk that is
//! full or a machine that stops, there is one of the two. Links are followed as the user would follow them, but only to what is the
//! user's own: a `.ssh` that belongs to somebody else is left alone, and so is what a linked `authorized_keys` holds, lest the user get to read
//! through the agent what is the agent's (`/proc/self`). A link is replaced by a file, as with qemu-ga, and nothing is written through it.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::fs::{fchmod, fchown, fstat, mkdirat, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::account::Account;
use super::read::{self, LONGEST};
use crate::error::{Error, Result};

const NAME: &str = "authorized_keys";

/// How often a name for the new file is tried that turns out to be taken.
const TRIES: usize = 16;

/// Adds keys that are not there yet; with `reset` no others are left.
pub(super) fn add(account: &Account, keys: &[String], reset: bool) -> Result<()> {
    let folder = Folder::open_or_make(account)?.owned()?;
    let old = if reset { None } else { folder.old()? };
    folder.replace(old.as_deref(), &with(old.as_deref().unwrap_or_default(), keys))
}

/// Removes keys, wherever they stand; where there is no file there is none to remove.
pub(super) fn remove(account: &Account, keys: &[String]) -> Result<()> {
    let folder = match Folder::open(account) {
        Ok(folder) => folder.owned()?,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(read::not_opened(&account.file(), error.into())),
    };
    let Some(old) = folder.old()? else { return Ok(()) };
    folder.replace(Some(&old), &without(&old, keys))
}

/// A file's lines; as with qemu-ga an empty file has none, and one that ends with a line feed has an empty one at its end.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').skip(usize::from(text.is_empty()))
}

/// The text with those keys after it that are none of its lines.
fn with(text: &[u8], keys: &[String]) -> Vec<u8> {
    let mut all: Vec<_> = lines(text).collect();
    let mut known: HashSet<_> = all.iter().copied().collect();
    all.extend(keys.iter().map(String::as_bytes).filter(|key| known.insert(key)));
    all.join(&b'\n')
}

/// The text without those lines that are one of the keys.
fn without(text: &[u8], keys: &[String]) -> Vec<u8> {
    let keys: HashSet<_> = keys.iter().map(String::as_bytes).collect();
    lines(text).filter(|line| !keys.contains(line)).collect::<Vec<_>>().join(&b'\n')
}

/// A user's `.ssh`.
struct Folder<'a> {
    account: &'a Account,
    folder: OwnedFd,
}

impl<'a> Folder<'a> {
    /// Opens it.
    fn open(account: &'a Account) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { account, folder: open(&account.folder, flags, Mode::empty())? })
    }

    /// Opens it, or makes it.
    fn open_or_make(account: &'a Account) -> Result<Self> {
        if let Ok(folder) = Self::open(account) {
            return Ok(folder);
        }
        let place = account.folder.display();
        let not_made =
            |error: Errno| Error::io(format_args!("failed to create directory '{place}'"), error.into());
        match mkdirat(CWD, &account.folder, Mode::RWXU) {
            Ok(()) => {}
            // Somebody else was faster, or it is there and cannot be opened.
            Err(Errno::EXIST) => return Self::open(account).map_err(|_| not_made(Errno::EXIST)),
            Err(error) => return Err(not_made(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(&account.folder, flags, Mode::empty()).map_err(not_made)?;
        settle(&folder, account, Mode::RWXU, format_args!("directory '{place}'"))?;
        Ok(Self { account, folder })
    }

    /// Makes sure that it is the user's.
    fn owned(self) -> Result<Self> {
        let failed =
            |error| Error::io(format_args!("failed to write to '{}'", self.account.file().display()), error);
        let owner = fstat(&self.folder).map_err(|error| failed(error.into()))?.st_uid;
        if owner != self.account.identity.uid.as_raw() {
            return Err(failed(io::Error::other("its folder belongs to another user")));
        }
        Ok(self)
    }

    /// What the file holds now; `None` when there is none.
    fn old(&self) -> Result<Option<Vec<u8>>> {
        let file = self.account.file();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let (opened, is_link) = match openat(&self.folder, NAME, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::LOOP) => (openat(&self.folder, NAME, flags, Mode::empty()), true),
            opened => (opened, false),
        };
        let opened = match opened {
            Ok(opened) => File::from(opened),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(read::not_opened(&file, error.into())),
        };
        let not_read = |error| read::not_read(&file, error);
        if is_link && opened.metadata().map_err(not_read)?.uid() != self.account.identity.uid.as_raw() {
            return Err(not_read(io::Error::other("it leads to a file of another user")));
        }
        read::bytes(opened).map(Some).map_err(not_read)
    }

    /// Puts a file with this text in the place of the old one, unless that is all it should be.
    ///
    /// Differs from qemu-ga, which writes the same again.
    fn replace(&self, old: Option<&[u8]>, new: &[u8]) -> Result<()> {
        if old == Some(new) && self.is_settled() {
            return Ok(());
        }
        let file = self.account.file();
        let failed = |error| Error::io(format_args!("failed to write to '{}'", file.display()), error);
        if new.len() as u64 > LONGEST {
            return Err(failed(Errno::FBIG.into()));
        }
        let (name, made) = self.new_file().map_err(|error| failed(error.into()))?;
        let moved = fill(&made, new).map_err(failed).and_then(|()| {
            settle(&made, self.account, Mode::RUSR | Mode::WUSR, format_args!("'{}'", file.display()))?;
            renameat(&self.folder, &name, &self.folder, NAME).map_err(|error| failed(error.into()))
        });
        if moved.is_err() {
            // What failed is told; that it leaves something behind too is not worth more words.
            let _ = unlinkat(&self.folder, &name, AtFlags::empty());
        }
        moved
    }

    /// Whether there is a file such as [`Self::replace`] leaves it.
    fn is_settled(&self) -> bool {
        let identity = &self.account.identity;
        statat(&self.folder, NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && Mode::from_raw_mode(stat.st_mode) == Mode::RUSR | Mode::WUSR
                && (stat.st_uid, stat.st_gid) == (identity.uid.as_raw(), identity.gid.as_raw())
        })
    }

    /// A file that was not there before, whatever the user puts in its way.
    fn new_file(&self) -> std::result::Result<(String, File), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut tries = 0..TRIES;
        loop {
            // Its keys are random.
            let name = format!(".{NAME}.{:016x}", RandomState::new().hash_one(()));
            match openat(&self.folder, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) if tries.next().is_some() => {}
                made => return Ok((name, File::from(made?))),
            }
        }
    }
}

/// Writes all of a new file, to the disk: once it has the old one's place, it is the only one.
fn fill(mut file: &File, text: &[u8]) -> io::Result<()> {
    file.write_all(text)?;
    file.sync_all()
}

/// Sees to it that something newly made has the owner, the group and the permissions that it should, whatever umask and folder say.
fn settle(made: impl AsFd, account: &Account, mode: Mode, what: impl fmt::Display) -> Result<()> {
    let failed =
        |step: &str, error: Errno| Error::io(format_args!("failed to set {step} of {what}"), error.into());
    let (uid, gid) = (account.identity.uid.as_raw(), account.identity.gid.as_raw());
    let stat = fstat(&made).map_err(|error| failed("permissions", error))?;
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|error| failed("ownership", error))?;
    }
    if Mode::from_raw_mode(stat.st_mode) != mode {
        fchmod(&made, mode).map_err(|error| failed("permissions", error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
