//! JavaScript and Python projects: languages whose engines come into the component, by `componentize-qjs` and `componentize-py`.
//!
//! What these engines import of WASI stays as it is, for the agent serves it: without it there is no clock and no word about an exception
//! that nobody caught. They are built in a copy, so that nothing is left beside the sources.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};

use super::kept::{Key, Place};
use super::program::{ask, find, is_program, run};
use super::{Built, Project, say, source};

/// The versions that are tried with the agent.
const QJS: &str = "componentize-qjs@0.4.5";
const PY: &str = "componentize-py==0.25.1";

/// A language that brings its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// QuickJS.
    JavaScript,
    /// CPython.
    Python,
}

impl Language {
    /// What its files end in; what the first one is called comes first.
    pub(super) fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::JavaScript => &["js", "mjs"],
            Self::Python => &["py"],
        }
    }

    /// The name of a file without its end, of a thing called `name`: Python imports it, so it is an identifier.
    pub(super) fn module(self, name: &str) -> String {
        match self {
            Self::JavaScript => name.to_owned(),
            Self::Python => name.replace('-', "_"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
        }
    }

    /// What builds it, and where that is below a project that has it to itself.
    fn tool(self) -> (&'static str, &'static str) {
        match self {
            Self::JavaScript => ("componentize-qjs", "node_modules/.bin"),
            Self::Python => ("componentize-py", ".venv/bin"),
        }
    }

    /// The commands that put the tool where it is found.
    fn install(self, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Self::JavaScript => {
                let first = if find("npm").is_some() { "" } else { "apt install nodejs npm && " };
                format!("`{first}npm install --no-save --prefix {folder} {QJS}`")
            }
            Self::Python => {
                let venv = find("python3").is_some_and(|python| {
                    ask(Command::new(python).args(["-c", "import ensurepip, venv; print(1)"])).is_some()
                });
                let first = if venv { "" } else { "apt install python3-venv && " };
                format!("`{first}python3 -m venv {folder}/.venv && {folder}/.venv/bin/pip install {PY}`")
            }
        }
    }

    /// The tool's words, in the folder with the copy, but for the WIT's place. `--sync` chooses the one of its engines
    /// that waits for nothing, which takes no more of the component model than the agent has. A smaller one has half the speed.
    fn words(self, world: &str, first: &Path) -> Vec<OsString> {
        let stem = first.file_stem().unwrap_or_default().to_owned();
        let file = first.file_name().unwrap_or_default().to_owned();
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        match self {
            Self::JavaScript => {
                [words(&["--sync", "--output", OUTPUT, "--world", world, "--js"]), vec![file]].concat()
            }
            Self::Python => {
                [words(&["--world", world, "componentize", "--output", OUTPUT]), vec![stem]].concat()
            }
        }
    }

    /// The option of the tool that says where the WIT is.
    fn wit(self) -> &'static str {
        match self {
            Self::JavaScript => "--wit",
            Self::Python => "--wit-path",
        }
    }
}

/// What the tools write, in the folder with the copy.
const OUTPUT: &str = "built.wasm";

/// Builds the project whose first file this is.
pub(super) fn make(project: &Project<'_>, language: Language, first: &Path) -> Result<Built> {
    let (tool, venv) = (tool(project, language)?, venv(project));
    let world = project.world()?;
    let files = source::below(&project.folder, language.extensions())?;
    let words = language.words(&world, first);

    let mut key = Key::new();
    key.add_program(&tool);
    words.iter().for_each(|word| key.add(word.as_encoded_bytes()));
    key.add(project.text.as_deref().unwrap_or_default());
    key.add_files(&project.folder, &files)?;
    if language == Language::Python {
        packages(venv.as_deref()).iter().for_each(|package| key.add(package));
    }

    let place = Place::new(project, language.tool().0);
    let (bytes, was_kept) = place.get(key, || {
        say(&format!("{}: {}", language.name(), tool.display()));
        let copy = place.folder().join("copy");
        let built = copy_files(&project.folder, &files, &copy).and_then(|()| {
            let mut command = Command::new(&tool);
            command.arg(language.wit()).arg(&project.wit).args(&words).current_dir(&copy);
            // What is wrong is wrong in the project: where in itself the tool noticed helps nobody.
            command.env("RUST_BACKTRACE", "0");
            if let Some(venv) = &venv {
                command.env("VIRTUAL_ENV", venv);
            }
            run(&mut command)?;
            let output = copy.join(OUTPUT);
            fs::read(&output).with_context(|| format!("cannot read {}", output.display()))
        });
        let _ = fs::remove_dir_all(&copy);
        built
    })?;
    if was_kept {
        say(&format!("{}: unchanged, taken from the cache", language.name()));
    }
    Ok(Built::Component(world, bytes))
}

/// The tool: what the project or a folder around it has installed, else in PATH.
fn tool(project: &Project<'_>, language: Language) -> Result<PathBuf> {
    let (name, beside) = language.tool();
    let own = project.folder.ancestors().map(|folder| folder.join(beside).join(name));
    let tool = own.into_iter().find(|file| is_program(file) && is_ours(file)).or_else(|| find(name));
    let tool = tool.ok_or_else(|| {
        let install = language.install(&project.folder);
        anyhow!(
            "{name}, which builds components of {}, is neither in {beside} nor in PATH: run {install}",
            language.name()
        )
    })?;
    ensure!(
        language == Language::Python || find("node").is_some(),
        "{} is run by node, which is not in PATH: run `apt install nodejs`",
        tool.display()
    );
    Ok(tool)
}

/// Whether nobody else put it there: a folder around the project may be one that everybody writes to.
fn is_ours(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|data| data.uid() == 0 || data.uid() == rustix::process::geteuid().as_raw())
}

/// The folder of Python packages that the project, or a folder around it, has for itself; else the one that is in use.
fn venv(project: &Project<'_>) -> Option<PathBuf> {
    let own = project
        .folder
        .ancestors()
        .map(|folder| folder.join(".venv"))
        .find(|folder| folder.is_dir() && is_ours(folder));
    own.or_else(|| std::env::var_os("VIRTUAL_ENV").map(PathBuf::from))
}

/// The packages there, with their versions.
fn packages(venv: Option<&Path>) -> Vec<String> {
    let folders = venv.and_then(|venv| fs::read_dir(venv.join("lib")).ok()).into_iter().flatten().flatten();
    let entries = folders.filter_map(|folder| fs::read_dir(folder.path().join("site-packages")).ok());
    let names = entries.flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".dist-info")).collect();
    names.sort();
    names
}

fn copy_files(folder: &Path, files: &[PathBuf], copy: &Path) -> Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    }
    for file in files {
        let to = copy.join(file);
        let within = to.parent().unwrap_or(copy);
        fs::create_dir_all(within)
            .and_then(|()| fs::copy(folder.join(file), &to))
            .with_context(|| format!("cannot copy {} to {}", file.display(), copy.display()))?;
    }
    Ok(())
}
