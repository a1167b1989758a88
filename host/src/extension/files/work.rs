//! What an extension does with files. Each of these may wait for a device.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timestamps, futimens};
use rustix::io::{Errno, Result, pread, pwrite};

use super::Files;
use super::beneath::{How, Opened, beneath};
use super::handle::{Handle, Slot};
use super::tree::{Folder, Reached};

/// Entries of a folder that are read at once.
const ENTRIES: usize = 64;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::extension) enum Kind {
    Unknown,
    BlockDevice,
    CharacterDevice,
    Folder,
    Fifo,
    Link,
    File,
    Socket,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => Self::Unknown,
        }
    }
}

/// Seconds and nanoseconds since 1970.
pub(in crate::extension) type Time = (u64, u32);

/// What is known of a file without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::extension) struct Facts {
    pub(in crate::extension) kind: Kind,
    pub(in crate::extension) links: u64,
    pub(in crate::extension) size: u64,
    pub(in crate::extension) accessed: Option<Time>,
    pub(in crate::extension) modified: Option<Time>,
    pub(in crate::extension) changed: Option<Time>,
    /// What no other file has as long as this one is there.
    pub(in crate::extension) identity: Identity,
}

/// What tells files apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::extension) enum Identity {
    File(u64, u64),
    /// A folder on the way to what was granted.
    Shown(std::path::PathBuf),
}

impl Facts {
    #[allow(clippy::useless_conversion, reason = "these have other types on other processors")]
    fn of(stat: &Stat) -> Self {
        let time = |seconds, nanoseconds| {
            Some((u64::try_from(i64::from(seconds)).ok()?, u32::try_from(nanoseconds).ok()?))
        };
        Self {
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            links: stat.st_nlink.into(),
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            accessed: time(stat.st_atime, stat.st_atime_nsec),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
            identity: Identity::File(stat.st_dev, stat.st_ino),
        }
    }

    fn shown(at: std::path::PathBuf) -> Self {
        Self {
            kind: Kind::Folder,
            links: 1,
            size: 0,
            accessed: None,
            modified: None,
            changed: None,
            identity: Identity::Shown(at),
        }
    }
}

/// New times of access and modification.
pub(in crate::extension) type Times = Timestamps;

/// What is open.
#[derive(Debug, Clone)]
pub(in crate::extension) enum Node {
    Folder(Folder),
    File(File),
}

/// A file that is open.
#[derive(Debug, Clone)]
pub(in crate::extension) struct File {
    handle: Arc<Handle>,
    pub(in crate::extension) read: bool,
    pub(in crate::extension) write: bool,
    pub(in crate::extension) sync: OFlags,
    /// Whether it was granted to be written, even if it was not opened for that.
    may_change: bool,
}

impl File {
    /// Some of what stands at a place of it; empty at its end.
    pub(in crate::extension) fn read_at(&self, most: usize, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(most);
        loop {
            match pread(&self.handle, rustix::buffer::spare_capacity(&mut bytes), offset) {
                Err(Errno::INTR) => {}
                read => return read.map(|_| bytes),
            }
        }
    }

    /// Writes some of these bytes; how many.
    pub(in crate::extension) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        loop {
            match pwrite(&self.handle, bytes, offset) {
                Err(Errno::INTR) => {}
                written => return written,
            }
        }
    }

    /// Writes all of these bytes, at a place or, where that is `None`, at the end.
    pub(in crate::extension) fn write_all(&self, mut bytes: &[u8], mut offset: Option<u64>) -> Result<()> {
        while !bytes.is_empty() {
            let written = match offset {
                Some(offset) => self.write_at(bytes, offset)?,
                None => self.append(bytes)?,
            };
            if written == 0 {
                return Err(Errno::IO);
            }
            bytes = &bytes[written..];
            offset = offset.map(|offset| offset + written as u64);
        }
        Ok(())
    }

    fn append(&self, bytes: &[u8]) -> Result<usize> {
        let flags = rustix::io::ReadWriteFlags::APPEND;
        loop {
            match rustix::io::pwritev2(&self.handle, &[std::io::IoSlice::new(bytes)], 0, flags) {
                Err(Errno::INTR) => {}
                written => return written,
            }
        }
    }

    pub(in crate::extension) fn set_size(&self, size: u64) -> Result<()> {
        rustix::fs::ftruncate(&self.handle, size)
    }

    pub(in crate::extension) fn facts(&self) -> Result<Facts> {
        rustix::fs::fstat(&self.handle).map(|stat| Facts::of(&stat))
    }
}

impl Node {
    pub(in crate::extension) fn facts(&self) -> Result<Facts> {
        match self {
            Self::File(file) => file.facts(),
            Self::Folder(Folder { real: Some((handle, _)), .. }) => {
                rustix::fs::fstat(handle).map(|stat| Facts::of(&stat))
            }
            Self::Folder(Folder { real: None, at }) => Ok(Facts::shown(at.clone())),
        }
    }

    /// Gives it other times.
    pub(in crate::extension) fn set_times(&self, times: &Times) -> Result<()> {
        match self {
            Self::File(file) if file.may_change => futimens(&file.handle, times),
            Self::Folder(folder) if folder.may_change() => match &folder.real {
                Some((handle, _)) => futimens(again(handle)?, times),
                None => Err(Errno::ACCESS),
            },
            _ => Err(Errno::ACCESS),
        }
    }

    /// Waits until all that was written is on its disk; whether only the data has to be.
    pub(in crate::extension) fn sync(&self, only_data: bool) -> Result<()> {
        let sync = |file: &dyn std::os::fd::AsFd| match only_data {
            true => rustix::fs::fdatasync(file),
            false => rustix::fs::fsync(file),
        };
        match self {
            Self::File(file) => sync(&file.handle),
            Self::Folder(Folder { real: Some((handle, _)), .. }) => sync(&again(handle)?),
            Self::Folder(_) => Ok(()),
        }
    }

    /// Whether anything can have been written to it.
    pub(in crate::extension) fn may_change(&self) -> bool {
        match self {
            Self::File(file) => file.may_change,
            Self::Folder(folder) => folder.may_change(),
        }
    }
}

impl Files {
    pub(in crate::extension) fn open_at(
        &self,
        from: &Folder,
        path: &str,
        how: &How,
        slot: Slot,
    ) -> Result<Node> {
        let way = match self.reach(from, path) {
            Ok(Reached::Granted(way)) => way,
            Ok(Reached::Shown(_)) if how.create && how.exclusive => return Err(Errno::EXIST),
            Ok(Reached::Shown(_)) if how.write || how.truncate => return Err(Errno::ISDIR),
            Ok(Reached::Shown(at)) => return Ok(Node::Folder(Folder { at, real: None })),
            Err(Errno::NOENT) if how.create && !path.is_empty() => return Err(Errno::ACCESS),
            Err(error) => return Err(error),
        };
        if how.changes() && !way.write {
            return Err(Errno::ACCESS);
        }
        Ok(match way.beneath().open(how)? {
            Opened::Folder(folder) => {
                Node::Folder(Folder { real: Some((Handle::new(folder, slot), way.write)), at: way.at })
            }
            Opened::File(file) => Node::File(File {
                handle: match how.write || how.truncate {
                    true => Handle::written(file, slot, self.threads()),
                    false => Handle::new(file, slot),
                },
                read: how.read,
                write: how.write,
                sync: how.sync,
                may_change: way.write,
            }),
        })
    }

    pub(in crate::extension) fn stat_at(&self, from: &Folder, path: &str, follow: bool) -> Result<Facts> {
        match self.reach(from, path)? {
            Reached::Shown(at) => Ok(Facts::shown(at)),
            Reached::Granted(way) => way.beneath().stat(follow).map(|stat| Facts::of(&stat)),
        }
    }

    pub(in crate::extension) fn read_link_at(&self, from: &Folder, path: &str) -> Result<String> {
        match self.reach(from, path)? {
            Reached::Shown(_) => Err(Errno::INVAL),
            Reached::Granted(way) => {
                let target = way.beneath().read_link()?;
                // Where a link leads that leads out is not the extension's to know.
                let target = target.into_os_string().into_string().map_err(|_| Errno::ILSEQ)?;
                if target.starts_with('/') { Err(Errno::PERM) } else { Ok(target) }
            }
        }
    }

    pub(in crate::extension) fn make_folder_at(&self, from: &Folder, path: &str) -> Result<()> {
        match self.reach(from, path) {
            Ok(Reached::Shown(_)) => Err(Errno::EXIST),
            _ => self.reach_to_change(from, path)?.beneath().make_folder(),
        }
    }

    /// Removes a folder that is empty, or a file.
    pub(in crate::extension) fn remove_at(&self, from: &Folder, path: &str, folder: bool) -> Result<()> {
        self.reach_to_change(from, path)?.beneath().remove(folder)
    }

    pub(in crate::extension) fn rename_at(&self, from: (&Folder, &str), to: (&Folder, &str)) -> Result<()> {
        let (from, to) = (self.reach_to_change(from.0, from.1)?, self.reach_to_change(to.0, to.1)?);
        from.beneath().rename(&to.beneath())
    }

    /// The entries of a folder, from its first on.
    pub(in crate::extension) fn list(self: &Arc<Self>, folder: &Folder, slot: Slot) -> Result<Listing> {
        let source = match &folder.real {
            Some((handle, _)) => Source::Folder(Dir::new(again(handle)?)?),
            None => Source::Shown(self.shown(folder).into()),
        };
        Ok(Listing { source, _slot: slot })
    }

    fn shown(&self, folder: &Folder) -> Vec<Entry> {
        let entry = |(name, grant): (String, Option<&super::grant::Grant>)| {
            let kind = match grant {
                None => Kind::Folder,
                Some(_) => self.stat_at(folder, &name, true).ok()?.kind,
            };
            Some(Entry { name, kind })
        };
        self.names(&folder.at).into_iter().filter_map(entry).collect()
    }
}

/// A folder that was only named, opened.
fn again(folder: &Handle) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
    beneath(folder, std::path::Path::new("."), flags, Mode::empty(), ResolveFlags::empty())
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::extension) struct Entry {
    pub(in crate::extension) name: String,
    pub(in crate::extension) kind: Kind,
}

/// The entries of a folder, as far as they were not read yet.
#[derive(Debug)]
pub(in crate::extension) struct Listing {
    source: Source,
    _slot: Slot,
}

#[derive(Debug)]
enum Source {
    Folder(Dir),
    Shown(VecDeque<Entry>),
}

impl Listing {
    /// The next ones; none at the end. Names that are not UTF-8, which the extension could not say, are left out.
    pub(in crate::extension) fn next(&mut self) -> Result<VecDeque<Entry>> {
        let folder = match &mut self.source {
            Source::Shown(entries) => return Ok(std::mem::take(entries)),
            Source::Folder(folder) => folder,
        };
        let mut entries = VecDeque::new();
        while entries.len() < ENTRIES
            && let Some(entry) = folder.read()
        {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => {
                    entries.push_back(Entry { name: name.to_owned(), kind: entry.file_type().into() });
                }
            }
        }
        Ok(entries)
    }
}
