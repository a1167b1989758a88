//! Files that are there whole, or not at all, whenever somebody looks or the power fails.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, RenameFlags};

/// Everybody may read what is installed, and nobody but its owner change it, whatever the umask is.
const FILES: u32 = 0o644;
const FOLDERS: u32 = 0o755;
/// What an operator wrote may have a secret in it.
const PRIVATE: u32 = 0o600;

/// Makes a folder and those above it, if they are not there.
pub(crate) fn folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = || format!("cannot make {}", path.display());
    if let Some(above) = path.parent() {
        folder(above)?;
    }
    match DirBuilder::new().mode(FOLDERS).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(failed),
        Err(_) => Ok(()),
        Ok(()) => {
            fs::set_permissions(path, Permissions::from_mode(FOLDERS)).with_context(failed)?;
            path.parent().map_or(Ok(()), sync)
        }
    }
}

/// Writes a new file, in folders that are made.
pub(crate) fn new_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(above) = path.parent() {
        folder(above)?;
    }
    create(path, bytes, FILES, None)
}

/// With this mode, and the owner and group if these are to be others than ours.
fn create(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
        file.write_all(bytes)?;
        if let Some((user, group)) = owner {
            fchown(&file, Some(user), Some(group))?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    // Half a file is no use to anybody, where the disk is full least of all.
    write()
        .inspect_err(|_| drop(fs::remove_file(path)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file in the place of the one that is there, if one is: whose it is and who may read it stays. A new one is for its owner alone
/// if it is `private`.
pub(crate) fn replace(path: &Path, bytes: &[u8], private: bool) -> Result<()> {
    let (mode, owner) = match path.symlink_metadata() {
        Ok(there) => (there.mode() & 0o777, Some((there.uid(), there.gid()))),
        Err(_) => (if private { PRIVATE } else { FILES }, None),
    };
    // Its name ends otherwise: what reads `*.toml` does not see it.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    remove(&beside)?;
    create(&beside, bytes, mode, owner)?;
    rename(&beside, path)
}

/// Renames, for good.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    to.parent().map_or(Ok(()), sync)
}

/// Puts a folder in the place of another, in one step, and removes that.
pub(crate) fn exchange(from: &Path, to: &Path) -> Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)
        .with_context(|| format!("cannot put {} in the place of {}", from.display(), to.display()))?;
    to.parent().map_or(Ok(()), sync)?;
    remove(from)
}

/// Removes a file, or a folder with all that is in it, for good. It need not be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))?;
    path.parent().map_or(Ok(()), sync)
}

/// Has all folders within one on the disk, and itself.
pub(crate) fn sync_all(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        }
    }
    sync(path)
}

/// Has what was done in a folder on the disk.
fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot have {} written to the disk", folder.display()))
}
