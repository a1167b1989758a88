//! `waga-ext list`: which packs are installed.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{Installed, Store, Where, say};

/// Lists the packs that are installed.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// Lists them; what to print.
pub(crate) fn run(options: &Options) -> Result<String> {
    let store = Store::open(&options.place)?;
    let all = store.all();
    store.config.doubts.iter().for_each(|doubt| say(doubt));
    if options.json {
        let all: Vec<Value> = all.iter().map(|it| json(&store, it)).collect();
        return Ok(format!("{}\n", serde_json::to_string_pretty(&all)?));
    }
    if all.is_empty() {
        return Ok("no pack is installed\n".to_owned());
    }
    let mut rows = vec![["NAME", "VERSION", "STATE", "SIGNED BY", "BEFORE"].map(str::to_owned)];
    for it in &all {
        let receipt =
            it.extension.code.pack().and_then(|pack| pack.installed.as_ref().ok()).map(|it| &it.receipt);
        let signer = receipt.and_then(|receipt| receipt.signer.as_ref());
        let state = match (it.extension.enabled, receipt) {
            (false, _) => "off",
            (true, Some(_)) => "on",
            (true, None) => "refused",
        };
        let before =
            store.previous(it.name, it.version).map_or_else(|| "-".to_owned(), |(version, _)| version);
        let signer = signer.map_or_else(|| "-".to_owned(), |signer| signer.name.clone());
        rows.push([it.name.to_owned(), it.version.to_owned(), state.to_owned(), signer, before]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default() + 2;
    let widths: Vec<usize> = (0..5).map(width).collect();
    let line = |row: &[String; 5]| {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.trim_end())
    };
    let mut text: String = rows.iter().map(line).collect();
    for reason in all.iter().filter_map(|it| it.extension.code.pack()?.installed.as_ref().err()) {
        text += &format!("{reason}\n");
    }
    Ok(text)
}

fn json(store: &Store, it: &Installed<'_>) -> Value {
    let pack = it.extension.code.pack().map(|pack| &pack.installed);
    let receipt = pack.and_then(|pack| pack.as_ref().ok()).map(|installed| &installed.receipt);
    json!({
        "name": it.name,
        "version": it.version,
        "enabled": it.extension.enabled,
        "refused": pack.and_then(|pack| pack.as_ref().err()),
        "publisher": receipt.map(|receipt| &receipt.publisher),
        "description": receipt.map(|receipt| &receipt.description),
        "digest": receipt.map(|receipt| &receipt.digest),
        "signer": receipt.and_then(|receipt| receipt.signer.as_ref()),
        "table": store.table(it.name),
        "previous": store.previous(it.name, it.version).map(|(version, _)| version),
    })
}
