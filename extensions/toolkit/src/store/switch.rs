//! `waga-ext enable`, `disable` and `remove`.

use anyhow::{Context, Result};
use clap::Args;

use super::{RELOAD, Store, Where, table, trial};

/// Which pack.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The pack's name.
    name: String,
    #[command(flatten)]
    place: Where,
}

/// Switches it on or off; what to print.
pub(crate) fn run(options: &Options, on: bool) -> Result<String> {
    let name = options.name.clone();
    let mut store = Store::change(&options.place, &name)?;
    let installed = store.find(&name)?;
    let (version, was_on) = (installed.version.to_owned(), installed.extension.enabled);
    if was_on == on {
        return Ok(format!("{name} {version} is switched {} already.\n", if on { "on" } else { "off" }));
    }
    let (path, current) = (store.table(&name), store.text(&name)?);
    let text = table::switch(&current, &name, on)?;
    let config = store.proposed(&path, Some(text.clone()))?;
    if on {
        trial::run(&config, &store.manifest(&name, &version)?)
            .with_context(|| format!("{name} stays switched off"))?;
    }
    store.commit(&name, Some(&current), Some(&text))?;
    Ok(format!("{name} {version} is switched {}.\n{RELOAD}", if on { "on" } else { "off" }))
}

/// Removes it; what to print.
pub(crate) fn remove(options: &Options) -> Result<String> {
    let name = options.name.clone();
    let mut store = Store::change(&options.place, &name)?;
    let left = store.packs().join(&name);
    let version = match store.find(&name) {
        Ok(installed) => installed.version.to_owned(),
        Err(_) if left.exists() && store.table(&name).symlink_metadata().is_err() => {
            store.clear(&name)?;
            return Ok(format!("{name} is not installed; what was left of it is removed.\n"));
        }
        Err(error) => return Err(error),
    };
    // Whoever else names it would be without it.
    store.proposed(&store.table(&name), None)?;
    let current = store.text(&name)?;
    store.commit(&name, Some(&current), None)?;
    store.clear(&name)?;
    let state = store.config.extensions.state.display().to_string();
    let mut text =
        format!("{name} {version} is removed. What it kept between calls stays in {state}.\n{RELOAD}");
    if store.packs().join(&name).exists() {
        text += "Another table names the pack, so its files stay: waga-ext list\n";
    }
    Ok(text)
}
