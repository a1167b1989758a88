//! Rust crates: which of the compilers on this machine can build for WebAssembly, and the build.
//!
//! The usual target has no system: what a component wants from its surroundings stands in its WIT, and nowhere else. A crate that wants
//! files, time or random numbers as the standard library has them says so in its manifest, and is built for WASI.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::program::{ask, find, is_program, run};
use super::{Built, Project, libc, say};

/// Without a system, and with WASI.
const BARE: &str = "wasm32-unknown-unknown";
const WASI: &str = "wasm32-wasip1";
/// Where distributions put theirs; a rustup before it in PATH does not matter.
const SYSTEM: &str = "/usr/bin";
const INSTALL: &str = "or on Debian 12 `apt install rustc-web cargo-web rust-web-src lld-19`, \
    or on Debian 13 `apt install cargo libstd-rust-dev-wasm32 lld`";

/// A way to build.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    rustc: PathBuf,
    cargo: PathBuf,
    /// Whether the standard library has to be built, too.
    builds_std: bool,
    /// The linker, if the compiler came without one.
    linker: Option<PathBuf>,
    target: &'static str,
}

/// Builds the crate.
pub(super) fn make(project: &Project<'_>) -> Result<Built> {
    let manifest = project.folder.join("Cargo.toml");
    let target = if wants_wasi(&manifest)? { WASI } else { BARE };
    let route = route(target)?;
    let rustc = route.rustc.display();
    let with =
        route.linker.as_ref().map_or_else(String::new, |linker| format!(", with {}", linker.display()));
    say(&match route.builds_std {
        false => format!("Rust: {rustc} has the standard library for {target}{with}"),
        true => {
            format!("Rust: {rustc} builds the standard library for {target}, once (a minute or two){with}")
        }
    });
    let messages = run(&mut command(&route, project)?)?;
    let built = artifact(&messages, &manifest).with_context(|| {
        format!("{} builds no module: it needs `[lib]` with `crate-type = [\"cdylib\"]`", manifest.display())
    })?;
    let bytes =
        std::fs::read(&built.file).with_context(|| format!("cannot read {}", built.file.display()))?;
    Ok(Built::Module(built.name, bytes))
}

/// Whether the crate's manifest has `[package.metadata.waga-ext]` with `wasi = true`.
fn wants_wasi(manifest: &Path) -> Result<bool> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        manifest_path: PathBuf,
        #[serde(default)]
        metadata: Option<Tables>,
    }
    #[derive(Deserialize)]
    struct Tables {
        #[serde(rename = "waga-ext")]
        ours: Option<Ours>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ours {
        #[serde(default)]
        wasi: bool,
    }
    let Some(cargo) =
        find("cargo").or_else(|| Some(Path::new(SYSTEM).join("cargo")).filter(|it| is_program(it)))
    else {
        bail!("no Rust compiler here can build for {BARE}: run `rustup target add {BARE}`, {INSTALL}");
    };
    let mut command = clean(&cargo);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(manifest);
    let printed = run(&mut command)?;
    let metadata: Metadata = serde_json::from_slice(&printed).with_context(|| {
        format!("cannot understand [package.metadata.waga-ext] of {}", manifest.display())
    })?;
    let package = metadata.packages.into_iter().find(|package| package.manifest_path == *manifest);
    Ok(package.and_then(|package| package.metadata?.ours).is_some_and(|ours| ours.wasi))
}

/// The first of the ways that this machine has: a compiler with the target's library, else one with the library's source.
fn route(target: &'static str) -> Result<Route> {
    let system = || Some((Path::new(SYSTEM).join("rustc"), Path::new(SYSTEM).join("cargo")));
    let in_path = || Some((find("rustc")?, find("cargo")?));
    let pairs: Vec<(PathBuf, PathBuf)> = [in_path(), system()]
        .into_iter()
        .flatten()
        .filter(|(rustc, cargo)| is_program(rustc) && is_program(cargo))
        .collect();
    let ready = pairs.iter().find(|(rustc, _)| has_library(rustc, target)).map(|pair| (pair, false));
    let route = ready.or_else(|| pairs.iter().find(|(rustc, _)| has_source(rustc)).map(|pair| (pair, true)));
    let Some(((rustc, cargo), builds_std)) = route else {
        bail!("no Rust compiler here can build for {target}: run `rustup target add {target}`, {INSTALL}");
    };
    let linker = match has_linker(rustc) {
        true => None,
        false => Some(linker().with_context(|| {
            format!("{} has no linker for WebAssembly: run `apt install lld`", rustc.display())
        })?),
    };
    Ok(Route { rustc: rustc.clone(), cargo: cargo.clone(), builds_std, linker, target })
}

fn has_library(rustc: &Path, target: &str) -> bool {
    // The folder is named even if there is none.
    ask(clean(rustc).args(["--print", "target-libdir", "--target", target]))
        .and_then(|folder| std::fs::read_dir(folder).ok())
        .is_some_and(|mut entries| {
            entries.any(|entry| {
                let name = entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
                name.is_ok_and(|name| name.starts_with("libstd-") && name.ends_with(".rlib"))
            })
        })
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    ask(clean(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

fn has_source(rustc: &Path) -> bool {
    sysroot(rustc).is_some_and(|root| root.join("lib/rustlib/src/rust/library/Cargo.lock").exists())
}

/// Where a rustup's compiler looks for its linker; Debian's come without one.
fn own_linker(rustc: &Path) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(sysroot(rustc)?.join("lib/rustlib")).ok()?;
    hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|file| is_program(file))
}

fn has_linker(rustc: &Path) -> bool {
    own_linker(rustc).is_some() || find("rust-lld").is_some()
}

/// For a compiler without one: LLVM's, else another compiler's.
fn linker() -> Option<PathBuf> {
    let names = std::iter::once("wasm-ld".to_owned()).chain((14..=22).rev().map(|n| format!("wasm-ld-{n}")));
    names.into_iter().find_map(|name| find(&name)).or_else(|| own_linker(&find("rustc")?))
}

/// A program of the toolchain, without what a cargo above us says to its children.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if is_of_another_build(&name) || (program.starts_with(SYSTEM) && name == "RUSTUP_TOOLCHAIN") {
            command.env_remove(name);
        }
    }
    command
}

fn is_of_another_build(name: &OsString) -> bool {
    let Some(name) = name.to_str() else { return false };
    let whole = [
        "RUSTC",
        "CARGO",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "RUSTC_BOOTSTRAP",
    ];
    whole.contains(&name)
        || ["CARGO_PKG_", "CARGO_MANIFEST", "CARGO_PROFILE_"].iter().any(|start| name.starts_with(start))
}

fn command(route: &Route, project: &Project<'_>) -> Result<Command> {
    let mut command = clean(&route.cargo);
    let (target, mut flags) = (route.target, remaps(&route.rustc));
    let variable = |name: &str| format!("CARGO_TARGET_{}_{name}", target.to_uppercase().replace('-', "_"));
    command
        .args(["build", "--release", "--target", target, "--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(project.folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(project.cache.join("rust"))
        // Where the crate's own `.cargo/config.toml` counts.
        .current_dir(&project.folder)
        .env("RUSTC", &route.rustc);
    if project.options.offline {
        command.arg("--offline");
    }
    if let Some(linker) = &route.linker {
        command.env(variable("LINKER"), linker);
    }
    if route.builds_std {
        command.args(["-Z", "build-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
        if target == WASI {
            // The library's source comes without a libc.
            flags.push(libc::flags()?);
        }
    }
    command.env(variable("RUSTFLAGS"), flags);
    Ok(command)
}

/// Places of panics hold paths of this machine, which nobody else should see, or the same source would give other bytes elsewhere.
fn remaps(rustc: &Path) -> OsString {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let library = sysroot(rustc).map(|root| root.join("lib/rustlib/src/rust"));
    let mut flags = OsString::new();
    for (from, to) in [(cargo_home, "/cargo"), (library, "/rust")] {
        // The variable is split at blanks.
        let Some(from) = from.filter(|from| !from.to_string_lossy().contains(' ')) else { continue };
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push(format!("={to} "));
    }
    flags
}

/// What cargo built of the crate itself.
#[derive(Debug, PartialEq, Eq)]
struct Artifact {
    name: String,
    file: PathBuf,
}

fn artifact(messages: &[u8], manifest: &Path) -> Option<Artifact> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        manifest_path: Option<PathBuf>,
        target: Option<Target>,
        filenames: Option<Vec<PathBuf>>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let lines = messages.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok()).find_map(|message| {
        let target = message.target?;
        let ours = message.reason == "compiler-artifact"
            && message.manifest_path.as_deref() == Some(manifest)
            && target.kind.iter().any(|kind| kind == "cdylib");
        let file = message.filenames?.into_iter().find(|file| file.extension().is_some_and(|e| e == "wasm"));
        ours.then_some(Artifact { name: target.name.replace('_', "-"), file: file? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_own_module_is_found_among_messages() {
        let messages = br#"{"reason":"compiler-artifact","manifest_path":"/d/Cargo.toml","target":{"name":"dep","kind":["cdylib"]},"filenames":["/t/dep.wasm"]}
{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","target":{"name":"build-script-build","kind":["custom-build"]},"filenames":["/t/b"]}
no message
{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","target":{"name":"disk_usage","kind":["cdylib","rlib"]},"filenames":["/t/libdisk_usage.rlib","/t/disk_usage.wasm"]}
{"reason":"build-finished","success":true}"#;
        let found = artifact(messages, Path::new("/p/Cargo.toml"));
        assert_eq!(found, Some(Artifact { name: "disk-usage".into(), file: "/t/disk_usage.wasm".into() }));
        assert_eq!(artifact(messages, Path::new("/q/Cargo.toml")), None);
    }

    #[test]
    fn nothing_of_the_build_that_started_us_reaches_the_crates() {
        for name in
            ["RUSTFLAGS", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_PROFILE_RELEASE_LTO", "RUSTC"]
        {
            assert!(is_of_another_build(&name.into()), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_HOME"] {
            assert!(!is_of_another_build(&name.into()), "{name}");
        }
    }
}
