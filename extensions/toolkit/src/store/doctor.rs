//! `waga-ext doctor`: whether what is installed is what was signed, and would run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use waga::config::pack::{Keys, RECEIPT};
use waga_builtins::ExtensionState;
use waga_pack::{Pack, SIGNATURE, SUMS};

use super::{Installed, Store, Where, trust};
use crate::pack::check;

/// Looks whether what is installed is what was signed, and would run.
///
/// Every file is hashed and every signature verified anew, the keys and the
/// list of what is revoked are read, and the agent's own check is done. The
/// exit code is 1 if there is anything to be mended.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Where,
}

/// Looks; what to print, which is an error if something is wrong.
pub(crate) fn run(options: &Options) -> Result<String> {
    let store = Store::open(&options.place)?;
    let mut faults = Vec::new();
    let mut text = String::new();
    let keys = Keys::read(&store.config.extensions.trusted_keys);
    faults.extend(keys.faults().map(str::to_owned));
    let mut config = store.config.clone();
    config.make_absolute();
    let prepared = waga::prepare(&config);
    for it in store.all() {
        let (name, version) = (it.name, it.version);
        let found = prepared.extensions.iter().find(|info| *info.name == *name);
        let fault = match (whole(&store, &keys, &it), found) {
            (Err(error), _) => Some(format!("{error:#}")),
            (Ok(()), None) => Some("the agent does not know of it".to_owned()),
            (Ok(()), Some(found)) => match found.state {
                ExtensionState::Disabled => None,
                ExtensionState::Ready => {
                    let lack = found.commands.iter().find_map(|it| Some((&it.name, it.reason.as_ref()?)));
                    lack.map(|(command, reason)| format!("{command}: {reason}"))
                }
                _ => Some(format!("cannot be called: {}", found.reason.as_deref().unwrap_or_default())),
            },
        };
        match fault {
            Some(fault) => faults.push(format!("{name} {version}: {fault}")),
            None if it.extension.enabled => text += &format!("{name} {version}: is whole, and would run\n"),
            None => text += &format!("{name} {version}: is whole, and switched off\n"),
        }
    }
    text += &left_behind(&store);
    for warning in &prepared.warnings {
        text += &format!("{warning}\n");
    }
    if faults.is_empty() {
        return Ok(if text.is_empty() { "no pack is installed\n".to_owned() } else { text });
    }
    print!("{text}");
    faults.dedup();
    bail!("{}", faults.join("\nwaga-ext: "))
}

/// Whether a pack in the store is the one that was signed, with all its files and nothing else.
fn whole(store: &Store, keys: &Keys, it: &Installed<'_>) -> Result<()> {
    let folder = store.version(it.name, it.version);
    let mut files = BTreeMap::new();
    gather(&folder, &folder, &mut files)?;
    let sums = files.remove(SUMS).with_context(|| format!("{SUMS} is missing"))?;
    let signature = files.remove(SIGNATURE);
    files.remove(RECEIPT);
    let mut pack = Pack::new(files)?;
    if pack.sums().as_bytes() != sums {
        let was = String::from_utf8_lossy(&sums).into_owned();
        let changed = pack.digests().find(|(name, digest)| !was.contains(&format!("{digest}  {name}\n")));
        bail!(
            "{} is not as it was installed: waga-ext install with its file mends that",
            changed.map_or("a file that is gone", |(name, _)| name)
        );
    }
    let receipt = trust::receipt(&folder)?;
    let digests: BTreeMap<String, String> =
        pack.digests().map(|(name, digest)| (name.to_owned(), digest)).collect();
    if (&receipt.digest, &receipt.files) != (&pack.digest(), &digests) {
        bail!("its {RECEIPT} is of another pack");
    }
    if let Some(signature) = signature {
        pack.attach(&signature)?;
    }
    if let Some(signer) = &receipt.signer {
        pack.verify(&signer.key)?;
    }
    keys.judge(&receipt, store.config.extensions.trust).map_err(anyhow::Error::msg)?;
    check::config(&pack, &it.extension.config)
}

/// The files of a folder, by their paths within it.
fn gather(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            gather(root, &path, files)?;
            continue;
        }
        let name = path
            .strip_prefix(root)
            .ok()
            .and_then(Path::to_str)
            .context("a file has a name that is no text")?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name.to_owned(), bytes);
    }
    Ok(())
}

/// What somebody who was interrupted left.
fn left_behind(store: &Store) -> String {
    let entries = fs::read_dir(store.packs()).into_iter().flatten().flatten();
    let mut text = String::new();
    for entry in entries.filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let left = match name.starts_with('.') {
            true => vec![entry.path()],
            false => store.surplus(&name),
        };
        for path in left {
            text += &format!("{} is of no pack that is installed: it may be removed\n", path.display());
        }
    }
    text
}
