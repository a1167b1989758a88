//! Rules of the house that a machine can see: headers, modules that nobody declares, the sample configuration, what may be linked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn every_file_says_what_it_is_for() -> Result<()> {
    let mut files = Vec::new();
    for folder in ["builtins", "host", "tests", "examples", "extensions"] {
        rust_files(&root().join(folder), &mut files)?;
    }
    ensure!(files.len() > 50, "only {} files found", files.len());
    for file in files {
        let text = fs::read_to_string(&file)?;
        ensure!(
            text.starts_with("//!") || text.starts_with("#![no_main]\n//!"),
            "{} does not open with //!",
            file.display()
        );
    }
    Ok(())
}

/// A test module that no `mod` names is never run.
#[test]
fn every_test_module_is_declared() -> Result<()> {
    for binary in ["it", "vm"] {
        declares_its_modules(&root().join("tests").join(binary), "main")?;
    }
    Ok(())
}

/// The file of this name in a folder has a `mod` for each other file and folder in it, and so below these.
fn declares_its_modules(folder: &Path, declares: &str) -> Result<()> {
    let file = folder.join(declares).with_extension("rs");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        ensure!(
            name == declares || text.contains(&format!("mod {name};")),
            "{}: no `mod {name};`",
            file.display()
        );
        if path.is_dir() {
            declares_its_modules(&path, "mod")?;
        }
    }
    Ok(())
}

#[test]
fn no_second_runtime_and_no_compiler_in_the_daemon() -> Result<()> {
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    for package in ["tokio", "async-std", "cranelift-codegen", "wasmtime-wasi"] {
        ensure!(!lock.contains(&format!("name = \"{package}\"\n")), "{package} is in Cargo.lock");
    }
    ensure!(lock.contains("name = \"smol\"\n"));
    Ok(())
}
