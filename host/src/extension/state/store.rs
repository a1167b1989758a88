//! What one extension keeps: in memory for all of its calls, and in a file. What is done here may wait for a disk, but for [`Store::kept`].

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::format;
use super::view::{Changes, Entries, too_much};
use crate::config::LARGEST_STATE;
use crate::extension::digest::Hasher;
use crate::extension::folder::{self, Unusable};

/// Most bytes of a file: what is kept takes less of it than it counts for.
const LARGEST: u64 = LARGEST_STATE + (64 << 10);

/// Digits of the digest of a source in the name of a file.
const DIGITS: usize = 16;

/// How far a commit has come, told by it and by whoever waits for it: only one of the two can have its way.
#[derive(Debug, Default)]
pub(super) struct Stage(AtomicU8);

const WRITING: u8 = 0;
const GIVEN_UP: u8 = 1;
const TAKES_PLACE: u8 = 2;

impl Stage {
    /// Nobody waits any more: whether nothing will be kept for certain.
    pub(super) fn give_up(&self) -> bool {
        self.pass(GIVEN_UP)
    }

    fn pass(&self, next: u8) -> bool {
        self.0.compare_exchange(WRITING, next, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Why changes were not kept.
#[derive(Debug)]
pub(super) enum Refused {
    /// There would be more than there may be.
    Quota(String),
    /// Nobody waited any more.
    GivenUp,
    /// The disk, or what is on it.
    Failed(String),
}

/// What one extension keeps that comes from one source.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    extension: Arc<str>,
    source: PathBuf,
    /// The file's name, without what tells it from others of its own.
    stem: String,
    /// `None`: not read yet.
    kept: Mutex<Option<Arc<Entries>>>,
    /// What is in the file's place cannot be read, and is to be kept for somebody to look at.
    damaged: AtomicBool,
    /// One at a time reads or writes the file.
    pub(super) turn: Arc<smol::lock::Mutex<()>>,
}

impl Store {
    pub(super) fn new(folder: &Path, extension: &Arc<str>, source: &Path) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(source.as_os_str().as_encoded_bytes());
        Self {
            folder: folder.to_owned(),
            extension: extension.clone(),
            source: source.to_owned(),
            stem: format!("{extension}-{}", &hasher.finish().to_string()[..DIGITS]),
            kept: Mutex::default(),
            damaged: AtomicBool::new(false),
            turn: Arc::default(),
        }
    }

    pub(super) fn is_of(&self, extension: &str, source: &Path) -> bool {
        *self.extension == *extension && self.source == source
    }

    /// What is kept, if that is known.
    pub(super) fn kept(&self) -> Option<Arc<Entries>> {
        self.kept_mut().clone()
    }

    fn kept_mut(&self) -> MutexGuard<'_, Option<Arc<Entries>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> String {
        format!("{}.state", self.stem)
    }

    /// What is kept, from the file if that was not read before. Only with [`Self::turn`]. A file that cannot be understood is as none, and
    /// is told; it stays until something is kept, and is then put aside.
    ///
    /// # Errors
    /// It cannot be read, or others could have written it: nothing is known then.
    pub(super) fn load(&self) -> Result<Arc<Entries>, String> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let path = self.folder.join(self.file());
        let failed = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
        let opened = match folder::open(&self.folder)? {
            None => None,
            Some(folder) => match folder::open_file(&folder, &self.file()) {
                Err(Unusable::Open(Errno::NOENT)) => None,
                other => Some(other.map_err(|reason| failed(&reason))?),
            },
        };
        let entries = match opened {
            None => {
                self.tell_of_others();
                Entries::default()
            }
            Some(file) => {
                let mut bytes = Vec::new();
                file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
                let decoded = match bytes.len() as u64 > LARGEST {
                    true => Err("is larger than a state can be"),
                    false => format::decode(&bytes),
                };
                decoded.unwrap_or_else(|reason| {
                    tracing::error!(
                        extension = &*self.extension,
                        "{}: {reason}; the extension begins without state, and the file becomes {}.damaged when it keeps some",
                        path.display(),
                        self.stem
                    );
                    self.damaged.store(true, Ordering::Relaxed);
                    Entries::default()
                })
            }
        };
        let entries = Arc::new(entries);
        *self.kept_mut() = Some(entries.clone());
        Ok(entries)
    }

    /// Says so where an extension of this name had state, and has it no more because its component comes from elsewhere now.
    fn tell_of_others(&self) {
        let start = format!("{}-", self.extension);
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let digits = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".state"));
            if digits.is_some_and(|digits| {
                digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            }) {
                tracing::warn!(
                    extension = &*self.extension,
                    "begins without state: {} is that of another module; to go on with it, stop the agent and rename it to {}",
                    entry.path().display(),
                    self.file()
                );
            }
        }
    }

    /// Keeps changes, durably, if whoever waits for that still does. Only with [`Self::turn`], and with a writer of the freeze.
    ///
    /// # Errors
    /// They are not kept.
    pub(super) fn commit(&self, changes: &Changes, quota: u64, stage: &Stage) -> Result<(), Refused> {
        let kept = self.load().map_err(Refused::Failed)?;
        let entries = kept.with(changes);
        if entries == *kept {
            return Ok(());
        }
        // A quota that was lowered lets it become less.
        if entries.size() > quota && entries.size() > kept.size() {
            return Err(Refused::Quota(too_much(entries.size(), quota)));
        }
        let folder = folder::made(&self.folder).map_err(Refused::Failed)?;
        let written = self.write(&folder, &format::encode(&entries, &self.source), stage);
        *self.kept_mut() = match &written {
            Ok(()) => Some(Arc::new(entries)),
            // Whether the old file is there or the new one, the disk knows.
            Err(Refused::Failed(_)) => None,
            Err(_) => Some(kept),
        };
        written
    }

    fn write(&self, folder: &OwnedFd, bytes: &[u8], stage: &Stage) -> Result<(), Refused> {
        let failed = |error: io::Error| {
            Refused::Failed(format!("{}: {error}", self.folder.join(self.file()).display()))
        };
        let unfinished = format!("{}.new", self.stem);
        // Of an agent that ended while it wrote.
        let _ = unlinkat(folder, &unfinished, AtFlags::empty());
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut new = File::from(openat(folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
            new.write_all(bytes)?;
            new.sync_all()
        };
        let written = write().map_err(failed).and_then(|()| match stage.pass(TAKES_PLACE) {
            true => Ok(()),
            false => Err(Refused::GivenUp),
        });
        let placed = written.and_then(|()| {
            if self.damaged.load(Ordering::Relaxed) {
                let aside = format!("{}.damaged", self.stem);
                match renameat(folder, self.file(), folder, aside) {
                    // Somebody has taken it away already.
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(failed(error.into())),
                }
                self.damaged.store(false, Ordering::Relaxed);
            }
            renameat(folder, &unfinished, folder, self.file()).map_err(|error| failed(error.into()))
        });
        if placed.is_err() {
            let _ = unlinkat(folder, &unfinished, AtFlags::empty());
            return placed;
        }
        // Without this it is there, but a power cut might bring the old one back.
        rustix::fs::fsync(folder).map_err(|error| failed(error.into()))
    }
}
