//! Scripts: folders of JavaScript files that the engine in `extensions/script` runs, through the real daemon.

mod errors;
mod finding;
mod lent;
mod types;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use waga_tests::agent::{Agent, Setup, left_out};

use super::{compiler, settled};

/// The engine; it has to be beside the daemon. `None` where that is not to be had.
pub(super) fn engine() -> Option<PathBuf> {
    let engine = compiler()?.with_file_name("script.wasm");
    if !engine.is_file() {
        left_out("script.wasm (make toolkit)");
        return None;
    }
    Some(engine)
}

/// An agent that is to have an extension `x` of these files, with these lines in its table.
pub(crate) fn setup(files: &[(&str, &str)], lines: &str) -> Option<Setup> {
    engine()?;
    let setup = declared(files, lines);
    fill(&super::cache(setup.dir()));
    Some(setup)
}

fn declared(files: &[(&str, &str)], lines: &str) -> Setup {
    let setup = super::setup(&[]).expect("there is a compiler");
    declare(&setup, "x", "scripts", files, lines);
    setup
}

/// An extension of scripts, its folder and what else stands in its table.
pub(super) struct Folder<'a> {
    pub(super) name: &'a str,
    pub(super) files: &'a [(String, String)],
    pub(super) lines: &'a str,
}

/// An agent that is to have these, each in a folder of its name.
pub(super) fn folders(folders: &[Folder<'_>]) -> Option<Setup> {
    engine()?;
    let setup = super::setup(&[]).expect("there is a compiler");
    for Folder { name, files, lines } in folders {
        let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
        declare(&setup, name, name, &files, lines);
    }
    fill(&super::cache(setup.dir()));
    Some(setup)
}

fn declare(setup: &Setup, name: &str, folder: &str, files: &[(&str, &str)], lines: &str) {
    let folder = setup.dir().join(folder);
    fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    let path = setup.dir().join("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}[extension.{name}]\nscripts = '{}'\n{lines}\n", folder.display()))
        .unwrap();
}

/// As [`setup`], running, with all files known.
pub(crate) fn agent(files: &[(&str, &str)], lines: &str) -> Option<Agent> {
    let agent = setup(files, lines)?.start();
    let told = settled(&agent, "x");
    assert_eq!(told["state"], "ready", "{told}");
    Some(agent)
}

/// What is compiled of the engine is the same for all: one agent has it compiled, and each begins with a copy of what that kept.
pub(super) fn fill(cache: &Path) {
    static COMPILED: OnceLock<TempDir> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| {
        let agent = declared(&[("a.js", "")], "").start();
        settled(&agent, "x");
        let kept = tempfile::tempdir().unwrap();
        copy(&super::cache(agent.dir()), kept.path());
        kept
    });
    fs::DirBuilder::new().mode(0o700).create(cache).unwrap();
    copy(compiled.path(), cache);
}

/// All but what is noted of an extension.
fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if !name.starts_with("x.") {
            fs::copy(file.path(), to.join(name)).unwrap();
        }
    }
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join("scripts").join(name)
}
