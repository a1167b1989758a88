//! Where the programs under test are when the agent is to trust what is beside it: it takes its compiler from no folder that others may
//! write to, or below one, and a checkout may well be in such a place.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::geteuid;

/// What is built into one folder and looked for beside one another.
const PROGRAMS: [&str; 3] = ["agent-under-test", "waga-ext", "script.wasm"];

/// A program that was built, where it is, if the agent trusts what is beside it there; else a copy of it, beside copies of that.
///
/// # Panics
/// They cannot be copied.
pub fn trusted(built: &Path) -> PathBuf {
    static COPIES: OnceLock<PathBuf> = OnceLock::new();
    let real = built.canonicalize().unwrap();
    if real.ancestors().skip(1).all(|folder| is_safe(&folder.metadata().unwrap())) {
        return built.to_owned();
    }
    let folder = COPIES.get_or_init(|| copies(real.parent().unwrap()).unwrap());
    folder.join(built.file_name().unwrap())
}

fn is_safe(folder: &Metadata) -> bool {
    let is_open = folder.mode() & 0o022 != 0 && folder.mode() & 0o1000 == 0;
    !is_open && [0, geteuid().as_raw()].contains(&folder.uid())
}

/// Of each that is there, made anew where it was built anew: one folder for all runs, or each would leave one behind.
fn copies(from: &Path) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("waga-tests-of-{}", geteuid()));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for name in PROGRAMS {
        let (built, copy) = (from.join(name), folder.join(name));
        let Ok(is) = built.metadata() else { continue };
        let same = |it: Metadata| (it.len(), it.modified().ok()) == (is.len(), is.modified().ok());
        if !copy.metadata().is_ok_and(same) {
            let new = folder.join(format!("{name}.{}", std::process::id()));
            fs::copy(&built, &new)?;
            File::open(&new)?.set_modified(is.modified()?)?;
            fs::rename(&new, &copy)?;
        }
    }
    Ok(folder)
}
