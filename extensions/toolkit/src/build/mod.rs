//! `waga-ext build`: from a project to a component, with the compilers that are on this machine.
//!
//! `source` looks what a folder is a project of; `rust`, `c` and `script` choose a toolchain (and never fetch one) and build; the rest is
//! the same for all.

mod c;
mod kept;
mod libc;
mod program;
mod rust;
mod script;
mod source;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use source::Source;
use wit_parser::{PackageId, Resolve, WorldId};

use crate::{component, wit_text};

/// Builds a component of Rust, C, JavaScript or Python.
///
/// A folder with a Cargo.toml is a Rust crate; one with a folder wit/ is a
/// project in the language of its files. Of several files in JavaScript or
/// Python the one that is named as the world exports the commands. A crate that
/// uses files or the time of the standard library has `wasi = true` in its
/// [package.metadata.waga-ext]. It is built by the tools that are installed; a
/// missing one is named with the command that installs it.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The project's folder.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Where the component goes [default: NAME.wasm, here].
    #[arg(short, long, value_name = "OUT.wasm")]
    output: Option<PathBuf>,
    /// The project's WIT [default: wit/ in its folder].
    #[arg(long, value_name = "FOLDER")]
    wit: Option<PathBuf>,
    /// The world to build, if the WIT has several (not Rust).
    #[arg(long)]
    world: Option<String>,
    /// Where builds are kept [default: ~/.cache/waga-ext].
    ///
    /// One folder for all projects; in $XDG_CACHE_HOME, if that is set.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Fetch nothing, not even crates.
    #[arg(long)]
    offline: bool,
}

/// A project, and what it is built with.
struct Project<'a> {
    /// Its folder, absolute.
    folder: PathBuf,
    /// The folder of its WIT.
    wit: PathBuf,
    /// The WIT's text, if there is one.
    text: Option<String>,
    /// Where to build.
    cache: PathBuf,
    options: &'a Options,
}

impl Project<'_> {
    /// The name of the world that is to be built.
    fn world(&self) -> Result<String> {
        let (resolve, package) = wit_text::read(&self.wit)?;
        let world = self.select_world(&resolve, package)?;
        Ok(resolve.worlds[world].name.clone())
    }

    fn select_world(&self, resolve: &Resolve, package: PackageId) -> Result<WorldId> {
        resolve
            .select_world(&[package], self.options.world.as_deref())
            .with_context(|| format!("which world of {} is to be built?", self.wit.display()))
    }
}

/// What a toolchain made: what to call it, and its bytes.
enum Built {
    /// A core module that carries the type of its world.
    Module(String, Vec<u8>),
    /// A component.
    Component(String, Vec<u8>),
}

impl Options {
    /// To build the component of a pack.
    pub(crate) fn of(path: &Path, cache: Option<PathBuf>, offline: bool) -> Self {
        Self { path: path.to_owned(), output: None, wit: None, world: None, cache, offline }
    }
}

/// A component that was built.
pub(crate) struct Component {
    /// What to call it.
    name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Builds; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let Component { name, bytes } = component(options)?;
    let output = options.output.clone().unwrap_or_else(|| format!("{name}.wasm").into());
    write(&output, &bytes)?;
    Ok(format!("{}: {} bytes\n", output.display(), bytes.len()))
}

/// Builds, and embeds the WIT.
///
/// # Errors
/// What the toolchain says, or that there is none.
pub(crate) fn component(options: &Options) -> Result<Component> {
    let folder = options.path.canonicalize();
    let folder = folder.with_context(|| format!("cannot find {}", options.path.display()))?;
    let wit = options.wit.clone().unwrap_or_else(|| folder.join("wit"));
    let cache = options.cache.clone().map_or_else(default_cache, Ok)?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let cache = cache.canonicalize().with_context(|| format!("cannot find {}", cache.display()))?;

    // Before anything is compiled for a minute.
    let text = match wit.exists() {
        true => {
            let (resolve, package) = wit_text::read(&wit)?;
            Some(wit_text::print(&resolve, package)?)
        }
        false => None,
    };
    // Toolchains run in folders of their own.
    let wit = wit.canonicalize().unwrap_or(wit);
    let project = Project { folder, wit, text, cache, options };
    let (name, mut bytes) = match make(&project)? {
        Built::Module(name, module) => (name, component::encode(&module)?),
        Built::Component(name, bytes) => (name, bytes),
    };
    match &project.text {
        Some(text) => wit_text::embed(&mut bytes, text),
        None => say(&format!(
            "there is no {}, so nobody will see docs; --wit FOLDER says where the WIT is",
            project.wit.display()
        )),
    }
    Ok(Component { name, bytes })
}

/// Builds it; one at a time in one cache, for projects may have the same name.
fn make(project: &Project<'_>) -> Result<Built> {
    let source = source::find(project)?;
    let lock = project.cache.join("lock");
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    if lock.try_lock().is_err() {
        say("another build is under way, waiting for it");
        lock.lock().context("cannot wait for another build")?;
    }
    match source {
        Source::Rust => rust::make(project),
        Source::C(files) => c::make(project, &files),
        Source::Script(language, first) => script::make(project, language, &first),
    }
}

fn default_cache() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    Ok(caches.context("there is no HOME to keep what is built in: say --cache FOLDER")?.join("waga-ext"))
}

/// Writes beside and renames: who watches the file, an agent perhaps, sees the old or the new one.
fn write(output: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = output.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, output))
        .with_context(|| format!("cannot write {}", output.display()))
}

/// A word about what goes on.
fn say(text: &str) {
    eprintln!("waga-ext: {text}");
}
