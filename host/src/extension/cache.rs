//! What was compiled, kept in a folder that only root, or who runs the agent, can write to.
//!
//! | file | holds |
//! |---|---|
//! | `MODULE-KIND.cwasm` | the artifact made of the module with this digest, for this kind of engine |
//! | `MODULE-KIND.json` | which engine it is for, the artifact's own digest, the description of the component |
//! | `NAME.scripts.json` | what is known of the scripts of the extension NAME |
//! | `NAME.module.json` | the module of the extension NAME: where it is, what the system says of it, its digest |
//!
//! Files come into being under another name and are renamed, so several may write, and one that is open never changes. Whatever cannot be
//! understood is as if it were not there. Everything here may wait for a disk, and what writes is not to be called while one is frozen.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::compiled::{Artifact, Compiled, LARGEST_DESCRIPTION};
use super::description::{Description, FORMAT};
use super::digest::{Digest, Hasher};
use super::engine::Kind;
use super::folder::{self, Unusable};
use super::module::{Fingerprint, Module};
use super::scripts::Scripts;

/// Begins the names of files that are being written.
const UNFINISHED: &str = ".unfinished-";
/// One that is older was left behind by an agent that ended.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// What no extension's module has been for so long is removed.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is read and written at once, in bytes.
const PIECE: usize = 64 << 10;

/// A cache.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    /// It was told that nothing can be kept.
    told: AtomicBool,
}

/// Why something of a cache cannot be used.
#[derive(Debug)]
pub struct CacheError(String);

impl CacheError {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self(format!("{}: {reason}", path.display()))
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CacheError {}

/// What is kept of one module for one kind of engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What the component is.
    pub description: Description,
    /// Of the artifact's bytes.
    pub artifact: Digest,
    /// How many they are.
    pub size: u64,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    engine: String,
    artifact: ArtifactFile,
    description: Description,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtifactFile {
    sha256: Digest,
    size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleFile {
    path: PathBuf,
    file: Fingerprint,
    digest: Digest,
}

impl Cache {
    /// The cache in the folder at `path`, which is made when it is first written to.
    ///
    /// # Errors
    /// There is something else, or a folder that others could have written to: nothing may be loaded from there.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let cache = Self { path: path.to_owned(), told: AtomicBool::new(false) };
        cache.folder()?;
        Ok(cache)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of the module at `path`, of the extension `name`, if it was noted and the file is still that one. It is not read.
    pub(super) fn known(&self, name: &str, path: &Path) -> Option<(Digest, Fingerprint)> {
        let noted: ModuleFile = self.read(&module_file(name), 64 << 10)?;
        let is_same = noted.path == path && Fingerprint::of(path).is_ok_and(|found| found == noted.file);
        is_same.then_some((noted.digest, noted.file))
    }

    /// What is kept of the module with this digest, for this engine: `engine` is its version and how it is set up.
    pub fn find(&self, module: Digest, kind: Kind, engine: &str) -> Option<Entry> {
        let name = entry_name(module, kind);
        let EntryFile { engine: made_for, artifact, description } =
            self.read(&format!("{name}.json"), LARGEST_DESCRIPTION + (4 << 10))?;
        (made_for == engine && description.format == FORMAT).then_some(Entry {
            description,
            artifact: artifact.sha256,
            size: artifact.size,
            name,
        })
    }

    /// Opens the artifact of an entry, to be mapped: every byte was looked at, and nobody else can have written to it.
    ///
    /// # Errors
    /// It is not there, or is not what the entry says: it has to be made again.
    pub fn artifact(&self, entry: &Entry) -> Result<File, CacheError> {
        let name = format!("{}.cwasm", entry.name);
        let failed = |reason: &dyn fmt::Display| CacheError::new(&self.path.join(&name), reason);
        let folder = self.folder()?.ok_or_else(|| failed(&"there is no such file"))?;
        let file = folder::open_file(&folder, &name).map_err(|reason| failed(&reason))?;
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        if size != entry.size {
            return Err(failed(&format_args!("has {size} bytes instead of {}", entry.size)));
        }
        let (mut hasher, mut piece, mut at) = (Hasher::default(), vec![0; PIECE], 0);
        loop {
            match file.read_at(&mut piece, at) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&piece[..read]);
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        match hasher.finish() == entry.artifact {
            true => Ok(file),
            false => Err(failed(&"its digest is not the one that was noted when it was made")),
        }
    }

    /// Keeps what was made of the module with this digest. If it cannot (a read-only or a full disk), that is told once, and
    /// there is no entry: what was compiled can be run all the same, and is made again after the next start.
    pub fn store(&self, module: Digest, kind: Kind, engine: &str, compiled: &Compiled) -> Option<Entry> {
        self.try_store(module, kind, engine, compiled).map_err(|error| self.tell(&error)).ok()
    }

    fn try_store(
        &self,
        module: Digest,
        kind: Kind,
        engine: &str,
        compiled: &Compiled,
    ) -> Result<Entry, CacheError> {
        let folder = self.made()?;
        self.sweep();
        let name = entry_name(module, kind);
        let Compiled { artifact: Artifact { file, digest, size }, description } = compiled;
        // The artifact first: an entry never speaks of one that is not there.
        self.write(&folder, &format!("{name}.cwasm"), |new| {
            let (mut piece, mut at) = (vec![0; PIECE], 0);
            loop {
                match file.read_at(&mut piece, at)? {
                    0 => return Ok(()),
                    read => {
                        new.write_all(&piece[..read])?;
                        at += read as u64;
                    }
                }
            }
        })?;
        let entry = EntryFile {
            engine: engine.to_owned(),
            artifact: ArtifactFile { sha256: *digest, size: *size },
            description: description.clone(),
        };
        self.write_json(&folder, &format!("{name}.json"), &entry)?;
        Ok(Entry { description: entry.description, artifact: *digest, size: *size, name })
    }

    /// Notes the digest of an extension's module, so that the next start need not read it. That it cannot is told once.
    pub fn note(&self, name: &str, module: &Module, digest: Digest) {
        let (path, file) = (module.path().to_owned(), module.fingerprint().clone());
        let noted = self.made().and_then(|folder| {
            self.write_json(&folder, &module_file(name), &ModuleFile { path, file, digest })
        });
        if let Err(error) = noted {
            self.tell(&error);
        }
    }

    /// What was noted of an extension's scripts.
    pub(super) fn scripts(&self, name: &str) -> Option<Scripts> {
        self.read(&scripts_file(name), LARGEST_DESCRIPTION)
    }

    /// Notes what is known of an extension's scripts, so that the next start need not run them. That it cannot is told once.
    pub(super) fn note_scripts(&self, name: &str, scripts: &Scripts) {
        let noted = self.made().and_then(|folder| self.write_json(&folder, &scripts_file(name), scripts));
        if let Err(error) = noted {
            self.tell(&error);
        }
    }

    fn tell(&self, error: &CacheError) {
        match self.told.swap(true, Ordering::Relaxed) {
            false => tracing::warn!(
                "nothing is kept of what is compiled, so each start compiles it again: {error}"
            ),
            true => tracing::debug!("cannot keep what was compiled: {error}"),
        }
    }

    /// The folder, if it is there.
    fn folder(&self) -> Result<Option<OwnedFd>, CacheError> {
        folder::open(&self.path).map_err(CacheError)
    }

    /// The folder, made if need be.
    fn made(&self) -> Result<OwnedFd, CacheError> {
        folder::made(&self.path).map_err(CacheError)
    }

    /// What a file says; nothing if it is not there, not ours, too large or says something else.
    fn read<T: DeserializeOwned>(&self, name: &str, most: u64) -> Option<T> {
        let text = || -> Result<Option<Vec<u8>>, String> {
            let Some(folder) = self.folder().map_err(|error| error.to_string())? else { return Ok(None) };
            let file = match folder::open_file(&folder, name) {
                Err(Unusable::Open(Errno::NOENT)) => return Ok(None),
                other => other.map_err(|error| error.to_string())?,
            };
            let size = file.metadata().map_err(|error| error.to_string())?.len().min(most);
            // Else it would be read by bits that double.
            let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
            file.take(most + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
            match text.len() as u64 > most {
                true => Err(format!("is larger than {most} bytes")),
                false => Ok(Some(text)),
            }
        };
        let value = text().and_then(|text| {
            let parse = |text: Vec<u8>| serde_json::from_slice(&text).map_err(|error| error.to_string());
            text.map(parse).transpose()
        });
        value.unwrap_or_else(|reason| {
            tracing::warn!(file = %self.path.join(name).display(), reason, "not understood, and taken for missing");
            None
        })
    }

    fn write_json(&self, folder: &OwnedFd, name: &str, value: &impl Serialize) -> Result<(), CacheError> {
        let text =
            serde_json::to_vec(value).map_err(|error| CacheError::new(&self.path.join(name), error))?;
        self.write(folder, name, |new| new.write_all(&text))
    }

    /// Writes a file under another name, then renames it.
    fn write(
        &self,
        folder: &OwnedFd,
        name: &str,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), CacheError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // A number of a process says little where several systems share a disk.
        let unfinished = format!("{UNFINISHED}{}-{next}-{}", std::process::id(), since.as_nanos());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = || -> io::Result<()> {
            let mut new = File::from(openat(folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
            let filled = fill(&mut new);
            let done = filled.and_then(|()| Ok(renameat(folder, &unfinished, folder, name)?));
            if done.is_err() {
                let _ = unlinkat(folder, &unfinished, AtFlags::empty());
            }
            done
        };
        write().map_err(|error| CacheError::new(&self.path.join(name), error))
    }

    /// Removes what others left behind unfinished, and what was made of modules that are no extension's any more; best effort.
    fn sweep(&self) {
        let files: Vec<_> = fs::read_dir(&self.path).into_iter().flatten().flatten().collect();
        let names = files.iter().filter_map(|file| file.file_name().into_string().ok());
        let notes = names.filter(|name| name.ends_with(&module_file("")));
        let used: Vec<String> = notes
            .filter_map(|name| Some(self.read::<ModuleFile>(&name, 64 << 10)?.digest.to_string()))
            .collect();
        for file in files {
            let name = file.file_name();
            let name = name.to_string_lossy();
            let is_made = [".cwasm", ".json"].iter().any(|end| name.ends_with(end))
                && !name.ends_with(&module_file(""))
                && !name.ends_with(&scripts_file(""))
                && !used.iter().any(|digest| name.starts_with(&**digest));
            let most = match name.starts_with(UNFINISHED) {
                true => LEFT_BEHIND,
                false if is_made => UNUSED,
                false => continue,
            };
            let is_old = || Some(file.metadata().ok()?.modified().ok()?.elapsed().ok()? > most);
            if is_old() == Some(true) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
}

fn entry_name(module: Digest, kind: Kind) -> String {
    format!("{module}-{}", kind.as_str())
}

fn scripts_file(name: &str) -> String {
    format!("{name}.scripts.json")
}

fn module_file(name: &str) -> String {
    format!("{name}.module.json")
}

#[cfg(test)]
mod tests;
