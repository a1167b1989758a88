//! `waga-ext inspect`: what a component has and what it asks for, without running it.

mod bill;
mod report;
pub(crate) mod world;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use wasmparser::Parser;

use crate::compile::confine_reader;

/// The largest file that is read. The agent takes 32 MiB unless told otherwise.
const LARGEST: u64 = 256 << 20;

/// Shows a component's commands, what it asks for, and its sizes.
///
/// Nothing of it is run. Docs are shown if it carries its WIT, as components
/// of `waga-ext build` do; without it the types are those that it really has.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The component.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Inspects; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let bytes = read(&options.file)?;
    let name = options.file.display().to_string();
    // It may be anybody's: from here on nothing can be done but to look at it and to print.
    confine_reader().context("cannot confine what reads it")?;
    let world = world::read(&bytes).with_context(|| format!("cannot read {name}"))?;
    let bill = bill::of(&bytes).with_context(|| format!("cannot read {name}"))?;
    let report = report::Report::new(&name, &world, &bill);
    if options.json { Ok(format!("{}\n", serde_json::to_string_pretty(&report)?)) } else { Ok(report.text()) }
}

/// Reads a component from a file.
///
/// # Errors
/// It cannot be read, or is something else: what, and where a component is to be had.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    ensure!(bytes.len() as u64 <= LARGEST, "{name} has more than {} MiB", LARGEST >> 20);
    if Parser::is_core_wasm(&bytes) {
        bail!("{name} is a core module: `waga-ext build` makes a component of a project");
    }
    if wasmtime::Engine::detect_precompiled(&bytes).is_some() {
        bail!("{name} was compiled already: what is inspected is the component that it was made of");
    }
    ensure!(Parser::is_component(&bytes), "{name} is no WebAssembly component");
    Ok(bytes)
}
