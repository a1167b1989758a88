//! `waga-ext install`: a pack comes in.

use anyhow::{Context, Result, bail, ensure};
use waga_pack::Pack;

use super::{Incoming, RELOAD, Store, agreed, nothing_done, say, table, trial, trust};
use crate::pack::{check, read, show};

/// Installs; what to print.
pub(crate) fn run(options: &Incoming) -> Result<String> {
    let path = options.pack.display().to_string();
    let (pack, archive) = read(&options.pack)?;
    let manifest = pack.manifest().clone();
    let (name, version) = (&manifest.name, &manifest.version);
    let mut store = Store::change(&options.place, name)?;
    if let Some(there) = store.all().into_iter().find(|it| it.name == name) {
        match there.version == version {
            true => return again(&store, &pack, &archive, &path),
            false => bail!(
                "{name} {} is installed: waga-ext upgrade {path} puts {version} in its place",
                there.version
            ),
        }
    }
    // What is left of one that was removed by hand, or of somebody who was interrupted.
    store.clear(name)?;
    let table = store.table(name);
    ensure!(
        table.symlink_metadata().is_err(),
        "{} is there, and does not declare [extension.{name}] with pack = \"{name}\": it is not this program's to write over",
        table.display()
    );
    let judged =
        trust::judge(&pack, &archive, &store.config.extensions, None).with_context(|| path.clone())?;
    is_sound(&pack).with_context(|| path.clone())?;
    let text = table::text(&manifest);
    store.proposed(&table, Some(text.clone()))?;

    eprint!("{}", show::text(&pack, &judged.signed));
    eprintln!("{:<12}{}", "writes", table.display());
    judged.doubt.iter().for_each(|doubt| say(&format!("beware: {doubt}")));
    if !agreed(options.yes, "Install it?")? {
        return nothing_done();
    }
    store.stage(&pack, &judged.receipt)?;
    // Only now its files are where the table says.
    let tried = store.proposed(&table, Some(text.clone())).and_then(|config| trial::run(&config, &manifest));
    if let Err(error) = tried {
        store.clear(name)?;
        return Err(error.context(format!("{path} is not installed")));
    }
    store.commit(name, None, Some(&text))?;
    Ok(format!("{name} {version} is installed.\n{RELOAD}"))
}

/// The very pack that is installed: what of its files was damaged is whole again, and its table stays.
fn again(store: &Store, pack: &Pack, archive: &[u8], path: &str) -> Result<String> {
    let (name, version) = (&pack.manifest().name, &pack.manifest().version);
    let place = store.version(name, version);
    // Nobody is asked, so it has to be the same pack by the same signer: whoever cannot tell that any more removes it first.
    let before = trust::receipt(&place).with_context(|| {
        format!("{name} {version} is installed, and nobody can tell whose: waga-ext remove {name}")
    })?;
    ensure!(
        before.digest == pack.digest(),
        "another pack is installed as {name} {version}: a version is one pack for ever; waga-ext remove {name}, if this is the right one"
    );
    let judged = trust::judge(pack, archive, &store.config.extensions, Some(&before))
        .with_context(|| path.to_owned())?;
    store.stage(pack, &judged.receipt)?;
    Ok(format!("{name} {version} is installed already; its files are as they were then.\n{RELOAD}"))
}

/// Whether a pack is one for this agent, and what it says.
///
/// # Errors
/// What speaks against it.
pub(super) fn is_sound(pack: &Pack) -> Result<()> {
    let (manifest, agent) = (pack.manifest(), env!("CARGO_PKG_VERSION"));
    ensure!(
        manifest.runs_on(agent),
        "it is for waga {}, and this is {agent}",
        manifest.agent.as_deref().unwrap_or_default()
    );
    check::whole(pack).map(|_| ())
}
