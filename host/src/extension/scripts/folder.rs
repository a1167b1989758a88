//! The files of a folder of scripts: listed, and read with the care that a module is. Everything here may wait for a disk.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::config::pack::Pack;
use crate::config::trust;
use crate::extension::digest::Digest;
use crate::extension::module::{Fingerprint, Module, ModuleError};
use crate::extension::source::Fault;

/// Most bytes of a file, and of all together.
const LARGEST: u64 = 256 << 10;
const LARGEST_OF_ALL: u64 = 4 << 20;
/// Most files that count, and most that a folder may have: each is looked at before the first call.
const FILES: usize = 128;
const ENTRIES: usize = 1024;

/// What was read of a folder.
#[derive(Debug)]
pub(in crate::extension) struct Sources {
    pub(in crate::extension) folder: PathBuf,
    /// Every file that counts, in order.
    pub(in crate::extension) listing: Vec<(String, Fingerprint)>,
    /// Those of scripts.
    pub(in crate::extension) scripts: Vec<Source>,
    /// Those that say what arguments are, with what they say.
    pub(in crate::extension) schemas: Vec<(String, Result<Value, String>)>,
}

impl Sources {
    /// The first script that is not as it was when the pack was installed that it should be of.
    pub(in crate::extension) fn not_of(&self, pack: &Pack) -> Option<&str> {
        let receipt = &pack.installed.as_ref().ok()?.receipt;
        let is_other = |source: &&Source| {
            let installed = receipt.files.get(&format!("{}/{}", receipt.code(), source.name));
            source.digest.is_none_or(|digest| installed.is_none_or(|it| *it != digest.to_string()))
        };
        self.scripts.iter().find(is_other).map(|source| source.name.as_str())
    }
}

/// A script.
#[derive(Debug)]
pub(in crate::extension) struct Source {
    pub(in crate::extension) name: String,
    /// All of it, or why it is not used.
    pub(in crate::extension) text: Result<Arc<str>, String>,
    /// Of the text; absent if that is not to be relied on the next time.
    pub(in crate::extension) digest: Option<Digest>,
}

/// The files that count, in the order of their names: `NAME.js` and `NAME.json`, none whose name begins with a dot.
fn list(folder: &Path) -> Result<Vec<(String, Fingerprint)>, Fault> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Fault::Missing(format!("{}: there is no such folder", folder.display())),
        ErrorKind::NotADirectory => {
            Fault::Refused(format!("{}: is no folder: 'scripts' names one of .js files", folder.display()))
        }
        _ => Fault::Failed(format!("{}: {error}", folder.display())),
    };
    let refused = |text: String| Fault::Refused(format!("{}: {text}", folder.display()));
    let metadata = fs::metadata(folder).map_err(failed)?;
    trust::way(folder).map_err(|error| Fault::Refused(error.to_string()))?;
    trust::doubt(&metadata).map_or(Ok(()), |reason| Err(refused(reason)))?;
    let mut files = Vec::new();
    for (count, entry) in fs::read_dir(folder).map_err(failed)?.enumerate() {
        if count >= ENTRIES {
            return Err(refused(format!(
                "has more than {ENTRIES} files: give the scripts a folder of their own"
            )));
        }
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if name.starts_with('.') || !(name.ends_with(".js") || name.ends_with(".json")) {
            continue;
        }
        match Fingerprint::of(&folder.join(&name)) {
            Ok(fingerprint) => files.push((name, fingerprint)),
            // Gone by now, or a link to nowhere.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::Failed(format!("{}: {error}", folder.join(&name).display()))),
        }
    }
    if files.len() > FILES {
        let has = files.len();
        return Err(refused(format!(
            "has {has} scripts and schemas, and {FILES} are the most of one extension"
        )));
    }
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files)
}

/// Looks whether a folder can be used.
///
/// # Errors
/// It cannot, as a whole.
pub(in crate::extension) fn look(folder: &Path) -> Result<(), Fault> {
    list(folder).map(drop)
}

/// Whether a folder has the files of this list, unchanged.
pub(in crate::extension) fn is_still(folder: &Path, listing: &[(String, Fingerprint)]) -> bool {
    list(folder).is_ok_and(|found| found == listing)
}

/// Reads a folder.
///
/// # Errors
/// The folder as a whole cannot be used. Of a file that cannot, that is told in its place.
pub(in crate::extension) fn read(folder: &Path) -> Result<Sources, Fault> {
    let listing = list(folder)?;
    let mut sources =
        Sources { folder: folder.to_owned(), listing: Vec::new(), scripts: Vec::new(), schemas: Vec::new() };
    let mut left = LARGEST_OF_ALL;
    for (name, fingerprint) in listing {
        let (text, digest) = match file(&folder.join(&name), &fingerprint, &mut left) {
            Ok((text, digest)) => (Ok(text), Some(digest)),
            Err(reason) => (Err(format!("{name}: {reason}")), None),
        };
        sources.listing.push((name.clone(), fingerprint));
        if name.ends_with(".js") {
            sources.scripts.push(Source { name, text: text.map(Into::into), digest });
        } else {
            let parsed = text.and_then(|text| {
                serde_json::from_str(&text).map_err(|error| format!("{name}: is no JSON: {error}"))
            });
            sources.schemas.push((name, parsed));
        }
    }
    Ok(sources)
}

/// One file, with the reason why not in words that follow its name.
fn file(path: &Path, fingerprint: &Fingerprint, left: &mut u64) -> Result<(String, Digest), String> {
    let words = |error: ModuleError| {
        let text = error.to_string();
        text.strip_prefix(&format!("{}: ", path.display())).map(str::to_owned).unwrap_or(text)
    };
    let module = Module::open(path, u64::MAX).map_err(words)?;
    let size = module.size();
    if size > LARGEST {
        return Err(format!("has {size} bytes, and a script may have {LARGEST}"));
    }
    *left = left.checked_sub(size).ok_or_else(|| {
        format!("the scripts before it have {LARGEST_OF_ALL} bytes together, which is the most")
    })?;
    if module.fingerprint() != fingerprint {
        return Err("changed while it was read; try again".into());
    }
    module.text().map_err(words)
}
