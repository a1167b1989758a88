//! The components of `examples/`, and those that are the tests' own, built by `waga-ext` as the READMEs say.

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
    build_project(waga_ext, &Path::new("examples").join(name), folder)
}

/// Builds the project in this folder of the checkout, as [`build`] does an example; the component bears the folder's name.
///
/// # Errors
/// As [`build`].
pub fn build_project(waga_ext: &Path, project: &Path, folder: &Path) -> Result<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = project.file_name().context("a project without a name")?;
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
    ensure!(output.status.success(), "{} build {}: {said}", waga_ext.display(), project.display());
    Ok(file)
}
