//! Packs, for those who make them: `keygen`, `pack`, `sign`, `verify`, and what `inspect` shows of one.

pub(crate) mod check;
pub(crate) mod keygen;
pub(crate) mod make;
mod scripts;
pub(crate) mod show;
pub(crate) mod sign;
pub(crate) mod verify;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use waga_pack::{LARGEST, Pack};

/// How the name of a pack's file ends.
pub(crate) const EXTENSION: &str = "waga";

/// The bytes of a file that should be a pack.
///
/// # Errors
/// It cannot be read, or is too large.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    ensure!(file.metadata().is_ok_and(|metadata| metadata.is_file()), "{name} is not a regular file");
    file.take(LARGEST + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    ensure!(bytes.len() as u64 <= LARGEST, "{name} has more than {} MiB: no pack has", LARGEST >> 20);
    Ok(bytes)
}

/// The pack of a file, and the file's bytes.
///
/// # Errors
/// It cannot be read, or is none.
pub(crate) fn read(path: &Path) -> Result<(Pack, Vec<u8>)> {
    let bytes = bytes(path)?;
    let pack = Pack::read(&bytes).with_context(|| path.display().to_string())?;
    Ok((pack, bytes))
}

/// Whether a file is named as a pack is.
pub(crate) fn is_named(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// Writes beside and renames, so that nothing half done is ever there.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = || {
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written()
        .inspect_err(|_| drop(fs::remove_file(&beside)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The password of a secret key: of a file's first line, or asked for.
fn password(file: Option<&Path>, prompt: &str) -> Result<String> {
    match file {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
        None => match rpassword::prompt_password(prompt) {
            Ok(password) => Ok(password),
            Err(error) => bail!("cannot ask for a password ({error}): say --password-file FILE"),
        },
    }
}
