//! The components of `examples/`, built by `waga-ext` as their READMEs say.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds the example of this name into a folder; the component's file.
///
/// What is built on the way stays in `target/examples`: the standard library of a machine that has none for WebAssembly takes a minute.
///
/// # Errors
/// `waga-ext` is not there or fails; what it said.
pub fn build(waga_ext: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = folder.join(format!("{name}.wasm"));
    let output = Command::new(waga_ext)
        .arg("build")
        .arg(checkout.join("examples").join(name))
        .arg("-o")
        .arg(&file)
        .arg("--cache")
        .arg(checkout.join("target/examples"))
        .output()
        .with_context(|| format!("start {}", waga_ext.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} build examples/{name}: {said}", waga_ext.display());
    Ok(file)
}
