//! C projects: bindings from the WIT, then clang with the system's libc for WebAssembly, or zig, which brings its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use wit_bindgen_c::Opts;

use super::kept::{Key, Place};
use super::libc::{self, HEADERS, LIBRARIES};
use super::program::{ask, find, run};
use super::{Built, Project, say, source};
use crate::wit_text;

const INSTALL: &str = "run `apt install --no-install-recommends clang-19 lld-19 wasi-libc \
    libclang-rt-19-dev-wasm32`, or `pip install ziglang`";
/// What is asked of either compiler.
const FLAGS: [&str; 5] = ["-mexec-model=reactor", "-Os", "-s", "-Wall", "-Wextra"];

/// A way to build.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    /// clang and its linker.
    Clang(PathBuf, PathBuf),
    /// zig: a program and its first words.
    Zig(PathBuf, &'static [&'static str]),
}

/// Builds the project of these files.
pub(super) fn make(project: &Project<'_>, sources: &[PathBuf]) -> Result<Built> {
    let route = route()?;
    say(&match &route {
        Route::Clang(clang, _) => format!("C: {} with the libc in {HEADERS}", clang.display()),
        Route::Zig(zig, words) => {
            let words: String = words.iter().map(|word| format!(" {word}")).collect();
            format!("C: {}{words}, which builds its libc once (half a minute)", zig.display())
        }
    });
    let place = Place::new(project, "c");
    let folder = place.folder();
    let bindings = bindings(project, folder)?;
    // Its header is what editors want to know of.
    say(&format!("C: the bindings are in {}", folder.display()));

    let (bytes, was_kept) = place.get(key(project, &route)?, || {
        let output = folder.join("module.wasm");
        let mut command = compiler(&route);
        command
            .args(FLAGS)
            .arg("-I")
            .arg(folder)
            .arg(format!("-ffile-prefix-map={}=.", project.folder.display()))
            .arg("-o")
            .arg(&output)
            .args(sources)
            .args(&bindings.files);
        let printed = run(&mut command)?;
        eprint!("{}", String::from_utf8_lossy(&printed));
        fs::read(&output).with_context(|| format!("cannot read {}", output.display()))
    })?;
    if was_kept {
        say("C: unchanged, taken from the cache");
    }
    Ok(Built::Module(bindings.world, bytes))
}

/// All that goes in: the compiler, the libc, the WIT, and each file that the sources may include. What is beside the project's folder is
/// not looked at, so a source that reaches there is compiled each time.
fn key(project: &Project<'_>, route: &Route) -> Result<Key> {
    let mut key = Key::new();
    match route {
        Route::Clang(clang, linker) => {
            key.add_program(clang);
            key.add_program(linker);
            key.add_program(&Path::new(LIBRARIES).join("libc.a"));
        }
        Route::Zig(program, words) => {
            key.add_program(program);
            key.add(ask(Command::new(program).args(*words).arg("version")).unwrap_or_default());
        }
    }
    FLAGS.iter().for_each(|flag| key.add(flag));
    key.add(project.options.world.as_deref().unwrap_or_default());
    key.add(project.text.as_deref().unwrap_or_default());
    let files = source::below(&project.folder, &["c", "h", "inc"])?;
    key.add_files(&project.folder, &files)?;
    let reaches_out =
        |file: &PathBuf| fs::read(project.folder.join(file)).is_ok_and(|text| includes_beyond(&text));
    if files.iter().any(reaches_out) {
        key.add(format!("{:?}", SystemTime::now()));
    }
    Ok(key)
}

fn includes_beyond(text: &[u8]) -> bool {
    let is_one =
        |line: &str| line.trim_start().starts_with('#') && line.contains("include") && line.contains("../");
    String::from_utf8_lossy(text).lines().any(is_one)
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

struct Bindings {
    world: String,
    /// What is compiled and linked beside the project's own files.
    files: Vec<PathBuf>,
}

fn bindings(project: &Project<'_>, folder: &Path) -> Result<Bindings> {
    let (mut resolve, package) = wit_text::read(&project.wit)?;
    let world = project.select_world(&resolve, package)?;
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
