//! `waga-ext inspect`: what a component or a pack has and what it asks for, without running it.

mod bill;
mod report;
pub(crate) mod world;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use report::Report;
use waga_pack::Pack;
use wasmparser::Parser;

use crate::compile::confine_reader;
use crate::pack::{self, show};

/// The largest file that is read. The agent takes 32 MiB unless told otherwise.
const LARGEST: u64 = 256 << 20;

/// Shows what a component or a pack has and asks for, and its sizes.
///
/// Nothing of it is run, and no signature verified (`waga-ext verify` does).
/// Docs are shown if it carries its WIT, as components of `waga-ext build` do;
/// without it the types are those that it really has.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The component, or a pack, whose name ends in .waga.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Inspects; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let name = options.file.display().to_string();
    if pack::is_named(&options.file) {
        let bytes = pack::bytes(&options.file)?;
        confine_reader().context("cannot confine what reads it")?;
        return packed(&Pack::read(&bytes).context(name)?, options.json);
    }
    let bytes = read(&options.file)?;
    // It may be anybody's: from here on nothing can be done but to look at it and to print.
    confine_reader().context("cannot confine what reads it")?;
    told(&name, &bytes, |report| match options.json {
        true => Ok(format!("{}\n", serde_json::to_string_pretty(&report)?)),
        false => Ok(report.text()),
    })
}

/// A pack, and its component, if it has one.
fn packed(pack: &Pack, json: bool) -> Result<String> {
    let name = pack.manifest().component.clone().unwrap_or_default();
    let component = |tell: fn(&Report<'_>) -> Result<serde_json::Value>| {
        pack.component().map(|bytes| told(&name, bytes, tell)).transpose()
    };
    if json {
        let component = component(|report| Ok(serde_json::to_value(report)?))?;
        return Ok(format!("{}\n", serde_json::to_string_pretty(&show::json(pack, component))?));
    }
    let signed = match pack.signed_by() {
        Some(id) => format!("key {id}, as it says itself"),
        None => "nobody".to_owned(),
    };
    let text = component(|report| Ok(report.text().into()))?;
    let text = text.and_then(|text| Some(format!("\n{}", text.as_str()?))).unwrap_or_default();
    Ok(show::text(pack, &signed) + &text)
}

/// What is to be told of a component.
fn told<T>(name: &str, bytes: &[u8], tell: impl FnOnce(&Report<'_>) -> Result<T>) -> Result<T> {
    let world = world::read(bytes).with_context(|| format!("cannot read {name}"))?;
    let bill = bill::of(bytes).with_context(|| format!("cannot read {name}"))?;
    tell(&Report::new(name, &world, &bill))
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
    ensure!(Parser::is_component(&bytes), "{name} is no WebAssembly component, and no pack (NAME.waga)");
    Ok(bytes)
}
