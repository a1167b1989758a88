//! What an agent would make of a pack, found out before the pack is in force.

use anyhow::{Result, bail};
use waga::config::Config;
use waga_builtins::ExtensionState;
use waga_pack::Manifest;

/// Has the configuration compiled and looked at as an agent does that starts with it: the pack can be called, and provides what it says.
///
/// # Errors
/// What the agent would say against it.
pub(crate) fn run(config: &Config, manifest: &Manifest) -> Result<()> {
    let mut config = config.clone();
    config.make_absolute();
    let prepared = waga::prepare(&config);
    let Some(found) = prepared.extensions.iter().find(|it| *it.name == *manifest.name) else {
        bail!("the agent would not know of it")
    };
    match (found.state, &found.reason) {
        (ExtensionState::Ready | ExtensionState::Disabled, _) => {}
        (_, reason) => bail!(
            "the agent would not run it: {}",
            reason.as_deref().unwrap_or("for a reason that it does not tell")
        ),
    }
    if let Some(fault) = found.faults.first() {
        bail!("the agent would not run all of it: {fault}");
    }
    for command in found.commands.iter().filter(|_| found.state == ExtensionState::Ready) {
        if let Some(reason) = &command.reason {
            bail!("the agent would not let it {} {}: {reason}", command_verb(command.mode), command.name);
        }
    }
    Ok(())
}

fn command_verb(mode: waga_builtins::ExtensionMode) -> &'static str {
    match mode {
        waga_builtins::ExtensionMode::Add => "add",
        waga_builtins::ExtensionMode::Override => "override",
        waga_builtins::ExtensionMode::Wrap => "wrap",
    }
}
