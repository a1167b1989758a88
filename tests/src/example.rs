//! The components of `extensions/`, `examples/` and `tests/components/`, built by `waga-ext` as the READMEs of the former say.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where `tests/install-packages` puts what builds components of JavaScript and Python, each with its tool's name and what its files end in.
const TOOLS: [(&str, &str, &str); 2] = [
    ("target/tools/javascript/node_modules/.bin", "componentize-qjs", "js"),
    ("target/tools/python/bin", "componentize-py", "py"),
];

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// PATH, and behind it the tools.
pub fn path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = TOOLS.map(|(folder, ..)| checkout().join(folder));
    let path = std::env::join_paths(std::env::split_paths(&path).chain(tools));
    path.expect("a checkout's folder has no ':' in its name, or cargo would not build it")
}

/// Where builds are kept: the standard library of a machine that has none for WebAssembly takes a minute, Python half of one.
pub fn cache() -> PathBuf {
    checkout().join("target/examples/cache")
}

/// The folder in the checkout of a pack or an example.
pub fn project(name: &str) -> String {
    let pack = format!("extensions/{name}");
    if checkout().join(&pack).is_dir() { pack } else { format!("examples/{name}") }
}

/// The tool that the project in this folder of the checkout is built with, if it is missing; those of Rust and C are not looked for.
pub fn missing(project: &str) -> Option<String> {
    let files: Vec<PathBuf> =
        fs::read_dir(checkout().join(project)).ok()?.flatten().map(|entry| entry.path()).collect();
    let (_, tool, _) = TOOLS.iter().find(|(.., end)| {
        files.iter().any(|file| file.extension().is_some_and(|extension| extension == *end))
    })?;
    let is_there = std::env::split_paths(&path()).any(|folder| folder.join(tool).is_file());
    (!is_there).then(|| format!("{tool} (tests/install-packages)"))
}

/// Builds the project in this folder of the checkout into another folder; the component's file, which bears the project's name.
///
/// # Errors
/// `waga-ext` is not there or fails; what it said.
pub fn build(waga_ext: &Path, project: &str, folder: &Path) -> Result<PathBuf> {
    let name = Path::new(project).file_name().context("a project has a name")?;
    let file = folder.join(name).with_extension("wasm");
    let output = Command::new(waga_ext)
        .arg("build")
        .arg(checkout().join(project))
        .arg("-o")
        .arg(&file)
        .arg("--cache")
        .arg(cache())
        .env("PATH", path())
        .output()
        .with_context(|| format!("start {}", waga_ext.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} build {project}: {said}", waga_ext.display());
    Ok(file)
}
