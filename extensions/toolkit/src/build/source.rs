//! What a folder is a project of: the language of the files in it, and which of these comes first.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Project;
use super::script::Language;

/// What is to be built.
#[derive(Debug)]
pub(super) enum Source {
    /// A crate.
    Rust,
    /// These C files.
    C(Vec<PathBuf>),
    /// This file, and what it imports.
    Script(Language, PathBuf),
}

/// Looks what is in the project's folder.
pub(super) fn find(project: &Project<'_>) -> Result<Source> {
    let (folder, shown) = (&project.folder, project.folder.display());
    if folder.join("Cargo.toml").is_file() {
        return Ok(Source::Rust);
    }
    let mut found: Vec<(&str, Vec<PathBuf>)> = Vec::new();
    for (language, extensions) in [
        ("C", &["c"][..]),
        ("JavaScript", Language::JavaScript.extensions()),
        ("Python", Language::Python.extensions()),
    ] {
        let files = files(folder, extensions)?;
        if !files.is_empty() {
            found.push((language, files));
        }
    }
    if found.is_empty() {
        bail!(
            "{shown} is no project: there is neither a Cargo.toml nor a folder wit/ with C, JavaScript or Python files beside it"
        );
    }
    if let [(one, first), (other, second), ..] = &found[..] {
        bail!(
            "{shown} has files of {one} ({}) and of {other} ({}): a component is written in one language, so keep each in a folder of its own",
            name(&first[0]),
            name(&second[0])
        );
    }
    let (language, files) = found.remove(0);
    if !project.wit.exists() {
        bail!(
            "{shown} has {}, and no {}: describe there what its commands take and give, or say --wit FOLDER",
            name(&files[0]),
            project.wit.display()
        );
    }
    match language {
        "C" => Ok(Source::C(files)),
        "Python" => first(project, files, Language::Python),
        _ => first(project, files, Language::JavaScript),
    }
}

/// The file that exports the commands: the only one, or the one that bears the world's name.
fn first(project: &Project<'_>, mut files: Vec<PathBuf>, language: Language) -> Result<Source> {
    if files.len() > 1 {
        let world = project.world()?;
        let stem = language.module(&world);
        let Some(place) = files.iter().position(|file| file.file_stem().is_some_and(|it| it == &*stem))
        else {
            let names: Vec<String> = files.iter().map(|file| name(file)).collect();
            bail!(
                "{} has {}: name the one that exports the commands as the world, {stem}.{}",
                project.folder.display(),
                names.join(", "),
                language.extensions()[0]
            );
        };
        files.swap(0, place);
    }
    let file = files.swap_remove(0);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if language.module(&stem) != stem {
        bail!(
            "{} is no name that Python can import: rename it to {}.py",
            file.display(),
            language.module(&stem)
        );
    }
    Ok(Source::Script(language, file))
}

/// The files of a folder with one of these extensions, in order.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if has_extension(&path, extensions) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|it| extensions.iter().any(|extension| it == *extension))
}

/// All files below a folder with one of these extensions, relative to it and in order: what a build may read.
///
/// Not below what is hidden, nor what package managers and interpreters put beside sources.
pub(super) fn below(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    const OTHERS: [&str; 3] = ["node_modules", "__pycache__", "target"];
    fn look(folder: &Path, inner: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
        let context = || format!("cannot read {}", folder.join(inner).display());
        for entry in fs::read_dir(folder.join(inner)).with_context(context)? {
            let entry = entry.with_context(context)?;
            let (name, path) = (entry.file_name(), inner.join(entry.file_name()));
            let name = name.to_string_lossy();
            if entry.file_type().with_context(context)?.is_dir() {
                if !name.starts_with('.') && !OTHERS.contains(&&*name) {
                    look(folder, &path, extensions, found)?;
                }
            } else if has_extension(&path, extensions) && folder.join(&path).is_file() {
                found.push(path);
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    look(folder, Path::new(""), extensions, &mut found)?;
    found.sort();
    Ok(found)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
