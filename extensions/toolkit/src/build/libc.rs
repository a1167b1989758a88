//! The system's libc for WebAssembly, as Debian's packages have it: for C, and for Rust whose standard library is built here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::program::{ask, find};

/// Of clang; the newest that is complete is taken.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=22;

pub(super) const HEADERS: &str = "/usr/include/wasm32-wasi";
pub(super) const LIBRARIES: &str = "/usr/lib/wasm32-wasi";

pub(super) fn is_there() -> bool {
    Path::new(HEADERS).is_dir() && Path::new(LIBRARIES).is_dir()
}

/// Each clang here that has its library of arithmetic which the machine does not have: the program, the end of its name, the library.
pub(super) fn clangs() -> impl Iterator<Item = (PathBuf, String, PathBuf)> {
    let versions = VERSIONS.rev().map(|version| format!("-{version}")).chain([String::new()]);
    versions.filter_map(|version| {
        let clang = find(&format!("clang{version}"))?;
        let library = ask(Command::new(&clang).args(["--target=wasm32-wasi", "-print-libgcc-file-name"]))?;
        let library = PathBuf::from(library);
        library.exists().then_some((clang, version, library))
    })
}

/// What links Rust to it.
pub(super) fn flags() -> Result<OsString> {
    let (true, Some((_, _, arithmetic))) = (is_there(), clangs().next()) else {
        bail!(
            "the libc that Rust for WASI is linked with is missing: run `apt install --no-install-recommends \
             clang-19 wasi-libc libclang-rt-19-dev-wasm32`, or `rustup target add wasm32-wasip1`"
        );
    };
    let mut flags = OsString::from(format!(
        "-Clink-self-contained=no -Lnative={LIBRARIES} -Clink-arg={LIBRARIES}/crt1-reactor.o -Clink-arg="
    ));
    flags.push(arithmetic);
    Ok(flags)
}
