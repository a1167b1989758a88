//! Whether the scripts of a pack are what its manifest says: each is run once, as the agent does, for what it defines.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use waga::extension::Grant;
use waga::extension::scripts::{Alone, engine};
use waga_pack::Pack;

use crate::compile::Runtime;
use crate::sandbox::Loaded;

/// Checks those of a folder, from which the pack was made; what its author should know all the same. `config`: the pack's, as JSON.
///
/// # Errors
/// The first script that cannot be used, or a command that none of them defines.
pub(super) fn check(pack: &Pack, folder: &Path, config: &str) -> Result<Vec<String>> {
    let manifest = pack.manifest();
    let Some(scripts) = &manifest.scripts else { return Ok(Vec::new()) };
    if !engine().exists() {
        return Ok(vec![format!("nobody looked at its scripts: {} is not installed", engine().display())]);
    }
    let loaded = Loaded::of_scripts(Runtime::Pulley, "the engine of scripts")?;
    let sandbox = loaded.sandbox().map_err(|text| anyhow!("the engine of scripts {text}"))?;
    let start = format!("{scripts}/");
    let mut defined: Vec<String> = Vec::new();
    // What lies in folders below it no agent reads.
    let is_script = |name: &&str| name.ends_with(".js") && !name.contains('/');
    for name in pack.files().keys().filter_map(|path| path.strip_prefix(&start)).filter(is_script) {
        let grant = Grant { name: manifest.name.as_str().into(), config: config.into(), ..Grant::default() };
        let path = folder.join(scripts).join(name);
        let alone = smol::block_on(Alone::read(&path, &loaded.engine, Arc::clone(&sandbox), grant));
        let alone = alone.map_err(|text| anyhow!("{}", waga_pack::shown(&text)))?;
        if let Some(fault) = alone.faults().first() {
            return Err(anyhow!("{}", waga_pack::shown(fault)));
        }
        defined.extend(alone.commands().map(|command| command.name));
    }
    for command in &manifest.commands {
        ensure!(
            defined.contains(&command.name),
            "none of its scripts exports {}, which pack.toml names",
            command.name
        );
    }
    let unsaid = defined.iter().filter(|name| manifest.commands.iter().all(|command| command.name != **name));
    let remark = |name: &String| {
        format!("its scripts export {name}, which pack.toml does not name: nobody will be able to call it")
    };
    Ok(unsaid.map(remark).collect())
}
