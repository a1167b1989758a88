//! `waga-ext upgrade` and `rollback`: another version takes the place of the one that is installed.

use std::fs;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;

use super::install::is_sound;
use super::{Incoming, RELOAD, Store, Where, agreed, nothing_done, say, table, trial, trust};
use crate::pack::{check, read, show};

/// Goes back to the version of a pack that was installed before.
///
/// With the table that it had in agent.d then.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Back {
    /// The pack's name.
    name: String,
    #[command(flatten)]
    place: Where,
}

/// Upgrades; what to print.
pub(crate) fn run(options: &Incoming) -> Result<String> {
    let path = options.pack.display().to_string();
    let (pack, archive) = read(&options.pack)?;
    let new = pack.manifest().clone();
    let name = new.name.clone();
    let mut store = Store::change(&options.place, &name)?;
    let installed =
        store.find(&name).map_err(|error| anyhow!("{error}: waga-ext install {path} installs it"))?;
    let version = installed.version.to_owned();
    store.clear(&name)?;
    let damaged =
        || format!("{name} {version} is not whole: waga-ext install with its own file mends that first");
    let old = store.manifest(&name, &version).with_context(damaged)?;
    ensure!(
        new.semver() > old.semver(),
        "{name} {version} is installed, and {} is not newer{}",
        new.version,
        match store.previous(&name, &version) {
            Some((previous, _)) => format!(": waga-ext rollback {name} goes back to {previous}"),
            None => String::new(),
        }
    );
    let before = trust::receipt(&store.version(&name, &version)).with_context(damaged)?;
    let judged = trust::judge(&pack, &archive, &store.config.extensions, Some(&before))
        .with_context(|| path.clone())?;
    is_sound(&pack).with_context(|| path.clone())?;
    let (table, current) = (store.table(&name), store.text(&name)?);
    let text = table::merge(&current, &old, &new)?;

    let withheld = table::withheld(&text, &new)?;
    let changes = show::changes(&old, &new);
    eprint!("{}", show::text(&pack, &judged.signed));
    eprintln!("\nIn the place of {name} {version}:");
    eprint!("{}", if changes.is_empty() { "nothing of what it asks for changes\n" } else { &changes });
    eprint!("{}", show::withheld(&withheld));
    judged.doubt.iter().for_each(|doubt| say(&format!("beware: {doubt}")));
    if !agreed(options.yes, "Upgrade it?")? {
        return nothing_done();
    }
    store.stage(&pack, &judged.receipt)?;
    let tried = store.proposed(&table, Some(text.clone())).and_then(|config| {
        let extension = config.extensions.list.iter().find(|it| *it.name == *name);
        extension.map_or(Ok(()), |extension| check::config(&pack, &extension.config))?;
        trial::run(&config, &new)
    });
    if let Err(error) = tried {
        store.clear(&name)?;
        return Err(error.context(format!("{name} stays at {version}")));
    }
    store.save(&name, &version, &current)?;
    store.commit(&name, Some(&current), Some(&text))?;
    store.clear(&name)?;
    Ok(format!("{name} {} is installed, in the place of {version}.\n{RELOAD}", new.version))
}

/// Goes back; what to print.
pub(crate) fn back(options: &Back) -> Result<String> {
    let name = options.name.clone();
    let mut store = Store::change(&options.place, &name)?;
    let version = store.find(&name)?.version.to_owned();
    store.clear(&name)?;
    let previous = store.previous(&name, &version);
    let (previous, saved) =
        previous.with_context(|| format!("there is no version of {name} before {version} to go back to"))?;
    let manifest = store.manifest(&name, &previous)?;
    let text = fs::read_to_string(&saved).with_context(|| format!("cannot read {}", saved.display()))?;
    let (table, current) = (store.table(&name), store.text(&name)?);
    store
        .proposed(&table, Some(text.clone()))
        .and_then(|config| trial::run(&config, &manifest))
        .with_context(|| format!("{name} stays at {version}"))?;
    store.save(&name, &version, &current)?;
    store.commit(&name, Some(&current), Some(&text))?;
    store.clear(&name)?;
    Ok(format!("{name} is back at {previous}, in the place of {version}.\n{RELOAD}"))
}
