//! The components of `examples/` and `tests/components/`, built by `waga-ext` as the READMEs of the former say.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds the project in this folder of the checkout into another folder; the component's file, which bears the project's name.
///
/// What is built on the way stays in `target/examples`: the standard library of a machine that has none for WebAssembly takes a minute.
///
/// # Errors
/// `waga-ext` is not there or fails; what it said.
pub fn build(waga_ext: &Path, project: &str, folder: &Path) -> Result<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = Path::new(project).file_name().context("a project has a name")?;
    let file = folder.join(name).with_extension("wasm");
    let output = Command::new(waga_ext)
        .arg("build")
        .arg(checkout.join(project))
        .arg("-o")
        .arg(&file)
        .arg("--cache")
        .arg(checkout.join("target/examples"))
        .output()
        .with_context(|| format!("start {}", waga_ext.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} build {project}: {said}", waga_ext.display());
    Ok(file)
}
