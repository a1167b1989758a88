//! Which commands each extension provides, and how one is laid over the other.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use waga_builtins::{ExtensionCommand, ExtensionMode};

use super::Extensions;
use crate::config::command_name::is_protected;
use crate::extension::handle::Handle;
use crate::extension::unit::{Unit, outcome};
use crate::policy::Origin;

/// Most extensions that may wrap one command: each call of it runs all of them at once.
const WRAPS: usize = 8;

impl Extensions {
    /// What each provides, in the order in which one is laid over the other: what is added, what takes the place of something, what runs
    /// around it. `is_taken`: by the agent itself. Those that cannot be called now are among them, where it is known that they would be; and
    /// so are those that may not be laid over a command as well (see [`Handle::is_surplus`]), for they may have been to restrict it.
    ///
    /// A name that stands in `add` may be one that the agent got later: its operator relies on the extension's, which stays.
    pub fn provided(self: &Arc<Self>, is_taken: impl Fn(&str) -> bool) -> Vec<Handle> {
        let mut handles: Vec<Handle> = Vec::new();
        let mut outcomes: Vec<Vec<ExtensionCommand>> = vec![Vec::new(); self.units.len()];
        let mut owners: HashMap<(ExtensionMode, Arc<str>), Vec<Arc<str>>> = HashMap::new();
        for mode in [ExtensionMode::Add, ExtensionMode::Override, ExtensionMode::Wrap] {
            for (unit, outcomes) in self.units.iter().zip(&mut outcomes) {
                // What is switched off is laid over nothing; what it adds is told to be off.
                let is_off = !unit.config.enabled;
                let names = match mode {
                    _ if is_off && mode != ExtensionMode::Add => Vec::new(),
                    ExtensionMode::Add => unit.additions(),
                    ExtensionMode::Override => laid(unit, &unit.config.overrides),
                    ExtensionMode::Wrap => laid(unit, &unit.config.wraps),
                };
                for (name, lack) in names {
                    let others = owners.get(&(mode, name.clone())).map(|it| &it[..]).unwrap_or_default();
                    let is_there =
                        is_taken(&name) || owners.contains_key(&(ExtensionMode::Add, name.clone()));
                    let clash = match mode {
                        _ if is_protected(&name) => {
                            Some("only the agent may have a command of this name".to_owned())
                        }
                        ExtensionMode::Add if is_taken(&name) && unit.config.add.is_none() => Some(
                            "the agent has a command of this name; override or wrap would say what this is to it"
                                .to_owned(),
                        ),
                        ExtensionMode::Add => others
                            .first()
                            .map(|other| format!("extension {other} has a command of this name")),
                        _ if !is_there => Some("there is no such command to be laid over".to_owned()),
                        ExtensionMode::Override => {
                            others.first().map(|other| format!("extension {other} overrides it"))
                        }
                        ExtensionMode::Wrap => (others.len() >= WRAPS)
                            .then(|| format!("{WRAPS} extensions wrap it, and that is the most")),
                    };
                    let is_mine = clash.is_none();
                    let is_surplus =
                        !is_mine && mode != ExtensionMode::Add && is_there && !is_protected(&name);
                    let reason = clash.or(lack);
                    let told = reason.clone().or_else(|| unit.phase().reason().map(str::to_owned));
                    outcomes.push(outcome(&name, mode, told));
                    if is_mine {
                        owners.entry((mode, name.clone())).or_default().push(unit.name().clone());
                    }
                    if is_mine || is_surplus {
                        let handle = Handle::new(self.clone(), unit.clone(), name, mode, reason);
                        handles.push(if is_surplus { handle.surplus() } else { handle });
                    }
                }
            }
        }
        for (unit, outcomes) in self.units.iter().zip(outcomes) {
            *unit.provided.lock().unwrap_or_else(PoisonError::into_inner) = outcomes;
        }
        handles
    }
}

/// The commands of a list that an extension lays over others, and why not.
fn laid(unit: &Unit, names: &[(Arc<str>, Origin)]) -> Vec<(Arc<str>, Option<String>)> {
    names.iter().map(|(name, _)| (name.clone(), unit.lack(name))).collect()
}
