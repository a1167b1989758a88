//! Opening files within places: nothing in a path, no link and no renaming meanwhile can lead out of them.
//!
//! The kernel resolves what lies beneath a place's folder and refuses to leave it (`openat2`, Linux 5.6). A path may have to be within
//! several places at once, one of every layer. It is then opened by a way through each without touching it (`O_PATH`), and what is
//! returned is the file that all these descriptors mean: they are held while they are compared, so that an inode's number cannot come
//! to mean another. A new file has no inode to compare: there its folder is, and the file is made in that very folder.
//!
//! Only regular files and folders can be opened. What opening a device does is done by opening it, so the kind is asked of the
//! descriptor that only names the file, before. It cannot be opened through that descriptor without `/proc`, so it is opened by its path
//! again and compared; between the two, who can rename a device node into a place might have it opened, without waiting, and at once
//! closed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, ftruncate, openat2};
use rustix::io::Errno;

use super::places::{Places, Way};

/// How often something is tried again that was changed by others meanwhile.
const TRIES: usize = 32;

/// Why a file is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// By the system, as it would be without places.
    System(Errno),
    /// By the places. Says nothing of what there is outside.
    Refused,
    /// The kernel, or the sandbox that the agent runs in, has no `openat2`: nothing can be opened safely.
    NoOpenat2,
}

impl Failure {
    /// Which of several is told: what is refused is, whatever else failed.
    fn weight(&self) -> u8 {
        match self {
            Self::System(_) => 0,
            Self::Refused => 1,
            Self::NoOpenat2 => 2,
        }
    }
}

/// A path, and the places that it must be within.
#[derive(Debug)]
pub(super) struct Within(Vec<Vec<Way>>);

impl Within {
    /// For each layer, and each of reading and writing, the ways that might lead there. Does not touch the filesystem.
    ///
    /// # Errors
    /// Refused: the path is no absolute one beneath the places.
    pub(super) fn new(layers: &[Places], path: &str, read: bool, write: bool) -> Result<Self, Failure> {
        let needs = layers.iter().flat_map(|layer| layer.needs(Path::new(path), read, write));
        let mut needs: Vec<Vec<Way>> = needs.collect();
        if needs.is_empty() || needs.iter().any(Vec::is_empty) {
            return Err(Failure::Refused);
        }
        // The slash says that it must be a folder, which is the kernel's to find out.
        if path.ends_with('/') || path.ends_with("/.") {
            needs.iter_mut().flatten().for_each(|way| way.rest.push(""));
        }
        Ok(Self(needs))
    }

    /// Opens what is there. It is emptied, if the flags say so, when everything is known of it that must be.
    pub(super) fn existing(&self, flags: OFlags) -> Result<File, Failure> {
        for _ in 0..TRIES {
            let (way, named) =
                self.reach(|way| way.open(OFlags::PATH), |_, _| true)?.ok_or(Failure::Refused)?;
            match kind(&named[0])? {
                FileType::RegularFile | FileType::Directory => {}
                _ => return Err(Failure::Refused),
            }
            let file = way.open(flags - OFlags::TRUNC)?;
            if !named.iter().all(|named| is_same(&file, named)) {
                continue; // replaced meanwhile
            }
            if flags.contains(OFlags::TRUNC) {
                ftruncate(&file, 0).map_err(Failure::System)?;
            }
            return Ok(file.into());
        }
        Err(Failure::System(Errno::AGAIN))
    }

    /// Makes what is not there; `EEXIST` if something is, be it a link to nowhere. The flags say so, too (`O_CREAT | O_EXCL`).
    pub(super) fn create(&self, flags: OFlags) -> Result<File, Failure> {
        let same_name = |one: &Way, other: &Way| one.split().1 == other.split().1;
        // Where layers know it by different names, only what is there can be the same.
        let reached = self.reach(Way::open_parent, same_name)?;
        let (way, folders) = reached.ok_or(Failure::System(Errno::EXIST))?;
        let file =
            open(&folders[0], way.split().1, flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
        Ok(file.into())
    }

    /// Opens something by a way of every need, and finds what they agree on: the first need's way to it, and a descriptor of it for each
    /// need. `None` if each finds something else.
    fn reach(
        &self,
        open: impl Fn(&Way) -> Result<OwnedFd, Failure>,
        agree: impl Fn(&Way, &Way) -> bool,
    ) -> Result<Option<(&Way, Vec<OwnedFd>)>, Failure> {
        // All are tried, whatever fails: what one layer refuses must not be told by how another fails.
        let opened: Vec<_> = self.0.iter().map(|ways| open_any(ways, &open)).collect();
        if let Some(&failure) =
            opened.iter().filter_map(|opened| opened.as_ref().err()).max_by_key(|f| f.weight())
        {
            return Err(failure);
        }
        let mut opened = opened.into_iter().flatten();
        let (first, others): (_, Vec<_>) = (opened.next().unwrap_or_default(), opened.collect());
        for (way, fd) in first {
            let same = |(other, its): &(&Way, OwnedFd)| agree(way, other) && is_same(&fd, its);
            let found: Option<Vec<_>> = others.iter().map(|need| need.iter().position(same)).collect();
            if let Some(found) = found {
                let others = others.into_iter().zip(found).map(|(mut need, place)| need.swap_remove(place).1);
                return Ok(Some((way, std::iter::once(fd).chain(others).collect())));
            }
        }
        Ok(None)
    }
}

/// What can be opened by one of these ways. Where none leads there, an error of the system: it comes from inside a place.
fn open_any(
    ways: &[Way],
    open: impl Fn(&Way) -> Result<OwnedFd, Failure>,
) -> Result<Vec<(&Way, OwnedFd)>, Failure> {
    let (mut opened, mut failure) = (Vec::new(), Failure::Refused);
    for way in ways {
        match open(way) {
            Ok(fd) => opened.push((way, fd)),
            Err(Failure::Refused) => {}
            Err(other) => failure = other,
        }
    }
    if opened.is_empty() { Err(failure) } else { Ok(opened) }
}

impl Way {
    fn open(&self, flags: OFlags) -> Result<OwnedFd, Failure> {
        open(self.start()?, &self.rest, flags, ResolveFlags::BENEATH | self.resolve)
    }

    /// The folder that the file is in, or would be.
    fn open_parent(&self) -> Result<OwnedFd, Failure> {
        match self.split().0 {
            Some(parent) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                open(self.start()?, parent, flags, ResolveFlags::BENEATH | self.resolve)
            }
            None => self.start(),
        }
    }

    /// The way to the last folder, if there is one, and the name in it, with the slash that it may have.
    fn split(&self) -> (Option<&Path>, &Path) {
        let rest = self.rest.as_os_str().as_bytes();
        let without_slash = rest.strip_suffix(b"/").unwrap_or(rest);
        match memchr::memrchr(b'/', without_slash) {
            Some(slash) => (Some(path(&rest[..slash])), path(&rest[slash + 1..])),
            None => (None, &self.rest),
        }
    }

    /// The folder to start from. What the operator named had no links when it was named: one that is there now was put there.
    fn start(&self) -> Result<OwnedFd, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match open(CWD, &self.folder, flags, ResolveFlags::NO_SYMLINKS) {
            // A filter of system calls. Naming a folder needs no permission that could be lacking so.
            Err(Failure::System(Errno::PERM)) => Err(Failure::NoOpenat2),
            other => other,
        }
    }
}

fn open(at: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Failure> {
    let flags = flags | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        return match openat2(&at, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS) {
            Ok(fd) => Ok(fd),
            // Something was renamed meanwhile, and the kernel cannot tell whether `..` still was beneath.
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => {
                tries += 1;
                continue;
            }
            // It leads out; or there is a link that must not be, or that is magic.
            Err(Errno::XDEV | Errno::LOOP) => Err(Failure::Refused),
            Err(Errno::NOSYS) => Err(Failure::NoOpenat2),
            Err(other) => Err(Failure::System(other)),
        };
    }
}

fn kind(fd: &OwnedFd) -> Result<FileType, Failure> {
    Ok(FileType::from_raw_mode(fstat(fd).map_err(Failure::System)?.st_mode))
}

/// Whether two descriptors mean the same file. Asked of both now: on some overlays a file's number changes when it is first written.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    matches!((fstat(one), fstat(other)), (Ok(one), Ok(other)) if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
