//! What each extension asks for, and what the configuration says to that: for `waga check`, before anything of it is loaded.

use super::description::Description;
use super::grants::{is_call, reason};
use super::imports::{Standing, command_of, standing};
use super::set::Extensions;
use crate::check::{Answer, Ask};
use crate::config::Extension;

impl Extensions {
    /// Of each extension, as far as it is known.
    pub(crate) fn asks(&self) -> Vec<Vec<Ask>> {
        let asks = |unit: &std::sync::Arc<super::unit::Unit>| {
            let phase = unit.phase();
            phase.known().map(|known| of(&unit.config, &known.description)).unwrap_or_default()
        };
        self.units.iter().map(asks).collect()
    }
}

fn of(extension: &Extension, description: &Description) -> Vec<Ask> {
    let ask = |import: &String| {
        let standing = standing(import);
        let key = match &standing {
            Standing::Granted(line) => line.split_once(" = ").map(|(key, _)| key.to_owned()),
            Standing::Free | Standing::Forbidden(_) | Standing::Unknown => None,
        };
        let answer = match (reason(extension, import), standing) {
            (Some(reason), _) => {
                let said = reason.strip_prefix(&format!("imports {import}, "));
                Answer::Refused(said.unwrap_or(&reason).to_owned())
            }
            (None, Standing::Free) => Answer::Free,
            (None, _) => Answer::Granted(granting(extension, import)),
        };
        Ask { import: import.clone(), key, answer }
    };
    description.imports.iter().map(ask).collect()
}

/// Where what grants it stands: the name of the command in the list; or the whole list; or, of other keys, the table.
fn granting(extension: &Extension, import: &str) -> Vec<crate::policy::Origin> {
    let command = command_of(import);
    let names = extension.commands.iter();
    let names = names.filter(|(name, _)| is_call(import) || command == Some(&**name));
    let origins: Vec<_> = names.map(|(_, origin)| origin.clone()).collect();
    if origins.is_empty() { vec![extension.origin.clone()] } else { origins }
}
