//! An import is a request: which a component makes, and whether the operator granted it. Looked at before anything of it is loaded.

use super::description::Description;
use super::imports::{Standing, command_of, is_exec, standing};
use super::names::is_interface;
use crate::config::Extension;

/// Most commands of one component: each is listed by guest-info, and looked up by the thread that serves channels.
const COMMANDS: usize = 256;

/// Why an extension is not let run, with the line that would change that; `None`: it asks for nothing that it has not.
pub(super) fn refusal(extension: &Extension, description: &Description) -> Option<String> {
    let (commands, others): (Vec<_>, Vec<_>) =
        description.imports.iter().partition(|import| asks_for_command(extension, import));
    let reasons = others.into_iter().filter_map(|import| reason(extension, description, import));
    let named: Vec<_> = commands.into_iter().map(String::as_str).collect();
    let uncalled = (!named.is_empty()).then(|| {
        let are = if named.len() == 1 { "is" } else { "are" };
        format!("imports {}, which {are} not granted; {}", named.join(", "), line(extension, description))
    });
    let reasons: Vec<_> = reasons.chain(uncalled).collect();
    if !reasons.is_empty() {
        return Some(reasons.join("; "));
    }
    let (has, most) = (description.memory, extension.limits.memory);
    (has > most).then(|| {
        format!(
            "a memory of {has} bytes is there from the start, which is more than limits.memory lets it have"
        )
    })
}

/// Why a component is not let run that has more commands than the agent is to keep in mind.
pub(super) fn too_many(description: &Description) -> Option<String> {
    let has = description.commands.len();
    (has > COMMANDS)
        .then(|| format!("its component has {has} commands, and {COMMANDS} are the most that one may have"))
}

/// Why an extension may not have what it imports; `None`: it may.
pub(super) fn reason(extension: &Extension, description: &Description, import: &str) -> Option<String> {
    if asks_for_command(extension, import) {
        return Some(format!("imports {import}, which is not granted; {}", line(extension, description)));
    }
    let table = &extension.origin;
    match standing(import) {
        Standing::Free => None,
        Standing::Granted(_) if command_of(import).is_some() => None,
        Standing::Granted(_) if is_call(import) && !extension.commands.is_empty() => None,
        Standing::Forbidden(reason) => Some(format!("imports {import}, and {reason}")),
        Standing::Granted(_) if is_exec(import) && !extension.exec.is_empty() => None,
        Standing::Unknown => Some(format!("imports {import}, which this agent does not have")),
        Standing::Granted(line) => {
            Some(format!("imports {import}, which is not granted; add to {table}: {line}"))
        }
    }
}

/// Whether an import is a command that could be granted and was not.
fn asks_for_command(extension: &Extension, import: &str) -> bool {
    let may_call = |command: &str| extension.commands.iter().any(|(name, _)| **name == *command);
    command_of(import).is_some_and(|command| !may_call(command))
        && matches!(standing(import), Standing::Granted(_))
}

/// What would grant all such commands: they stand in one key, and so in one line, beside those that it has already.
fn line(extension: &Extension, description: &Description) -> String {
    let has = extension.commands.iter().map(|(name, _)| &**name);
    let asked = description.imports.iter().filter(|import| asks_for_command(extension, import));
    let all = has.chain(asked.filter_map(|import| command_of(import)));
    let all: Vec<_> = all.map(|name| format!("\"{name}\"")).collect();
    let put = if extension.commands.is_empty() { "add to" } else { "change in" };
    format!("{put} {}: commands = [{}]", extension.origin, all.join(", "))
}

/// Whether it is the import by which commands are called in JSON.
pub(super) fn is_call(import: &str) -> bool {
    is_interface(import, "waga:extension/call", "1")
}
