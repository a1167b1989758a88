//! C projects: bindings from the WIT, then clang with the system's libc for WebAssembly, or zig, which brings its own.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use wit_bindgen_c::Opts;

use super::libc::{self, HEADERS, LIBRARIES};
use super::program::{ask, find, run};
use super::{Module, Project, say};
use crate::wit_text;

const INSTALL: &str = "run `apt install --no-install-recommends clang-19 lld-19 wasi-libc \
    libclang-rt-19-dev-wasm32`, or `pip install ziglang`";
/// A way to build.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    /// clang and its linker.
    Clang(PathBuf, PathBuf),
    /// zig: a program and its first words.
    Zig(PathBuf, &'static [&'static str]),
}

/// The C files of a folder, in order; none if it has no `wit`.
pub(super) fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.join("wit").exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Builds the project of these files.
pub(super) fn make(project: &Project<'_>, sources: &[PathBuf]) -> Result<Module> {
    let route = route()?;
    say(&match &route {
        Route::Clang(clang, _) => format!("C: {} with the libc in {HEADERS}", clang.display()),
        Route::Zig(zig, words) => {
            let words: String = words.iter().map(|word| format!(" {word}")).collect();
            format!("C: {}{words}, which builds its libc once (half a minute)", zig.display())
        }
    });
    let folder = bindings_folder(project);
    let bindings = bindings(project, &folder)?;
    say(&format!("C: the bindings are in {}", folder.display()));

    let output = folder.join("module.wasm");
    let mut command = compiler(&route);
    command
        .args(["-mexec-model=reactor", "-Os", "-s", "-Wall", "-Wextra"])
        .arg("-I")
        .arg(&folder)
        .arg(format!("-ffile-prefix-map={}=.", project.folder.display()))
        .arg("-o")
        .arg(&output)
        .args(sources)
        .args(&bindings.files);
    let printed = run(&mut command)?;
    eprint!("{}", String::from_utf8_lossy(&printed));
    let bytes = fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    Ok(Module { name: bindings.world, bytes })
}

fn route() -> Result<Route> {
    let clang = libc::clangs()
        .find_map(|(clang, version, _)| Some(Route::Clang(clang, find(&format!("wasm-ld{version}"))?)));
    if let (true, Some(route)) = (libc::is_there(), clang) {
        return Ok(route);
    }
    let zig = find("zig").map(|zig| (zig, &[][..]));
    let in_python = || {
        let python = find("python3")?;
        let words: &[&str] = &["-m", "ziglang"];
        ask(Command::new(&python).args(words).arg("version")).map(|_| (python, words))
    };
    match zig.or_else(in_python) {
        Some((program, words)) => Ok(Route::Zig(program, words)),
        None => bail!("no C compiler here can build for WebAssembly: {INSTALL}"),
    }
}

fn compiler(route: &Route) -> Command {
    match route {
        Route::Clang(clang, linker) => {
            let mut command = Command::new(clang);
            command.args(["--target=wasm32-wasi", "--sysroot=/usr", "-I", HEADERS, "-L", LIBRARIES]);
            command.arg(format!("-fuse-ld={}", linker.display()));
            command
        }
        Route::Zig(program, words) => {
            let mut command = Command::new(program);
            command.args(*words).args(["cc", "-target", "wasm32-wasi"]);
            command
        }
    }
}

/// One for each project: its header is what editors want to know of.
fn bindings_folder(project: &Project<'_>) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    project.folder.hash(&mut hasher);
    let name = project.folder.file_name().unwrap_or_default().to_string_lossy();
    project.cache.join("c").join(format!("{name}-{:016x}", hasher.finish()))
}

struct Bindings {
    world: String,
    /// What is compiled and linked beside the project's own files.
    files: Vec<PathBuf>,
}

fn bindings(project: &Project<'_>, folder: &Path) -> Result<Bindings> {
    let (mut resolve, package) = wit_text::read(&project.wit)?;
    let world = resolve
        .select_world(&[package], project.options.world.as_deref())
        .with_context(|| format!("which world of {} is to be built?", project.wit.display()))?;
    let name = resolve.worlds[world].name.clone();
    let mut files = wit_bindgen_core::Files::default();
    Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)
        .with_context(|| format!("cannot make C bindings of world {name}"))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut compiled = Vec::new();
    for (name, bytes) in files.iter() {
        let file = folder.join(name);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        if !name.ends_with(".h") {
            compiled.push(file);
        }
    }
    Ok(Bindings { world: name, files: compiled })
}
