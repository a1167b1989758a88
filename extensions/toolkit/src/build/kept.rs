//! What a project was built to the last time, kept under a digest of all that went in: engines of scripts take their time.
//!
//! A folder for each project, which holds one result. What was built of projects that are gone goes, too.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::Project;

/// In a project's folder: which project it is.
const PROJECT: &str = "project";
/// The name of a result, after its key.
const BUILT: &str = "built";

/// What went into a build.
#[derive(Debug)]
pub(super) struct Key(Sha256);

impl Key {
    /// Nothing yet but this tool, which is part of every build.
    pub(super) fn new() -> Self {
        let mut key = Self(Sha256::new());
        key.add(env!("CARGO_PKG_VERSION"));
        key
    }

    /// One thing more. Where it ends is part of it.
    pub(super) fn add(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// These files: their names and what is in them.
    pub(super) fn add_files(&mut self, folder: &Path, files: &[PathBuf]) -> Result<()> {
        for file in files {
            self.add(file.as_os_str().as_encoded_bytes());
            let path = folder.join(file);
            self.add(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(())
    }

    /// A program that has no other identity: where it is, and since when. That of npm is known by its package.
    pub(super) fn add_program(&mut self, program: &Path) {
        let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
        self.add(program.as_os_str().as_encoded_bytes());
        if let Ok(data) = program.metadata() {
            self.add(format!("{} {:?}", data.len(), data.modified().ok()));
        }
        let package =
            program.ancestors().skip(1).take(2).find_map(|it| fs::read(it.join("package.json")).ok());
        self.add(package.unwrap_or_default());
    }

    fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Where one project is built.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    project: PathBuf,
}

impl Place {
    /// That of the project, in this language. It has the project's name for people, and a hash for projects of the same name.
    pub(super) fn new(project: &Project<'_>, language: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        project.folder.hash(&mut hasher);
        let name = project.folder.file_name().unwrap_or_default().to_string_lossy();
        let folder = project.cache.join(language).join(format!("{name}-{:016x}", hasher.finish()));
        Self { folder, project: project.folder.clone() }
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was built of the same, else what `build` makes now, which is kept instead. And whether it was kept.
    pub(super) fn get(&self, key: Key, build: impl FnOnce() -> Result<Vec<u8>>) -> Result<(Vec<u8>, bool)> {
        let file = self.folder.join(format!("{}.{BUILT}", key.finish()));
        if let Ok(bytes) = fs::read(&file) {
            return Ok((bytes, true));
        }
        let bytes = build()?;
        self.keep(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
        Ok((bytes, false))
    }

    fn keep(&self, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if entry.path().extension().is_some_and(|it| it == BUILT) {
                fs::remove_file(entry.path())?;
            }
        }
        fs::write(self.folder.join(PROJECT), self.project.as_os_str().as_encoded_bytes())?;
        // By rename: what was cut off by a full disk is not taken for a result.
        let beside = file.with_extension("new");
        fs::write(&beside, bytes)?;
        fs::rename(&beside, file)?;
        self.sweep();
        Ok(())
    }

    /// Removes what was built of projects that are no more. That it cannot is no reason to fail.
    fn sweep(&self) {
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt;
        let Some(Ok(folders)) = self.folder.parent().map(fs::read_dir) else { return };
        for folder in folders.flatten().map(|entry| entry.path()) {
            let project =
                fs::read(folder.join(PROJECT)).ok().map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
            if project.is_some_and(|project| !project.exists()) {
                let _ = fs::remove_dir_all(&folder);
            }
        }
    }
}
