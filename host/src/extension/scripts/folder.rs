//! The files of a folder of scripts: listed, and read with the care that a module is. Everything here may wait for a disk.

use std::collections::BTreeMap;
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
    /// Of each file that could be read.
    pub(in crate::extension) digests: BTreeMap<String, Digest>,
}

impl Sources {
    /// The first file that is not as it was when the pack was installed that these should be of, is not of it, or is gone.
    pub(in crate::extension) fn not_of(&self, pack: &Pack) -> Option<&str> {
        let receipt = &pack.installed.as_ref().ok()?.receipt;
        let start = format!("{}/", receipt.code());
        let installed: BTreeMap<&str, &str> = receipt
            .files
            .iter()
            .filter_map(|(path, digest)| Some((path.strip_prefix(&start)?, digest.as_str())))
            .filter(|(name, _)| counts(name) && !name.contains('/'))
            .collect();
        let is_other = |name: &&str| {
            let found = self.digests.get(*name).map(ToString::to_string);
            found.as_deref() != installed.get(*name).copied()
        };
        let there = self.listing.iter().map(|(name, _)| name.as_str());
        // The receipt's names live as long as the pack; what is told is a name that one of both has.
        there.clone().find(is_other).or_else(|| {
            let gone = installed.keys().find(|name| !there.clone().any(|it| it == **name));
            gone.map(|_| "a file that is gone")
        })
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

/// Whether a file of this name counts.
fn counts(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".js") || name.ends_with(".json"))
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
        if !counts(&name) {
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
    let mut sources = Sources {
        folder: folder.to_owned(),
        listing: Vec::new(),
        scripts: Vec::new(),
        schemas: Vec::new(),
        digests: BTreeMap::new(),
    };
    let mut left = LARGEST_OF_ALL;
    for (name, fingerprint) in listing {
        let (text, digest) = match file(&folder.join(&name), &fingerprint, &mut left) {
            Ok((text, digest)) => (Ok(text), Some(digest)),
            Err(reason) => (Err(format!("{name}: {reason}")), None),
        };
        sources.listing.push((name.clone(), fingerprint));
        sources.digests.extend(digest.map(|digest| (name.clone(), digest)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::pack::{Installed, Receipt};
    use crate::extension::digest::Hasher;

    /// A pack of scripts is all of its files: one that is another, more or gone is not what somebody agreed to.
    #[test]
    fn what_a_pack_installed_is_told_from_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let digest = |text: &str| {
            let mut hasher = Hasher::default();
            hasher.update(text.as_bytes());
            hasher.finish().to_string()
        };
        let files = [("s/a.js", "a"), ("s/a.json", "{}"), ("s/notes.txt", "n"), ("README.md", "r")];
        let receipt = Receipt {
            name: "p".into(),
            version: "1.0.0".into(),
            publisher: "p".into(),
            description: "d".into(),
            digest: String::new(),
            archive: String::new(),
            signer: None,
            component: None,
            scripts: Some("s".into()),
            files: files.map(|(name, text)| (name.to_owned(), digest(text))).into(),
        };
        let pack = Pack {
            name: "p".into(),
            version: "1.0.0".into(),
            place: PathBuf::new(),
            home: PathBuf::new(),
            installed: Ok(Installed { receipt: receipt.into(), code: dir.path().to_owned(), doubt: None }),
        };
        let other = || read(dir.path()).unwrap().not_of(&pack).map(str::to_owned);
        for (name, text) in [("a.js", "a"), ("a.json", "{}")] {
            write(name, text);
        }
        assert_eq!(other(), None);
        // Nobody reads what does not count.
        write("notes.md", "x");
        assert_eq!(other(), None);
        write("a.json", "{ }");
        assert_eq!(other().as_deref(), Some("a.json"));
        write("a.json", "{}");
        write("b.js", "b");
        assert_eq!(other().as_deref(), Some("b.js"));
        fs::remove_file(dir.path().join("b.js")).unwrap();
        fs::remove_file(dir.path().join("a.json")).unwrap();
        assert_eq!(other().as_deref(), Some("a file that is gone"));
    }
}
