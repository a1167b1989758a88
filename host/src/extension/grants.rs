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
    let reasons = others.into_iter().filter_map(|import| reason(extension, import));
    let reasons: Vec<_> = reasons.chain(uncalled(extension, &commands)).collect();
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

/// Why an extension may not have what it imports, but for commands (see [`uncalled`]); `None`: it may.
pub(super) fn reason(extension: &Extension, import: &str) -> Option<String> {
    let table = &extension.origin;
    match standing(import) {
        Standing::Free => None,
        Standing::Granted(_) if command_of(import).is_some() => None,
        Standing::Granted(_) if is_call(import) && !extension.commands.is_empty() => None,
        Standing::Forbidden(reason) => Some(format!("imports {import}, and {reason}")),
        Standing::Granted(_) if is_exec(import) && !extension.exec.is_empty() => None,
        Standing::Granted(_) if !has(extension, import) => None,
        Standing::Unknown => Some(format!("imports {import}, which this agent does not have")),
        Standing::Granted(line) => {
            Some(format!("imports {import}, which is not granted; add to {table}: {line}"))
        }
    }
}

/// Whether an extension has something of what it imports: the engine of scripts imports what any of them may want, and each that asks for what
/// was not granted is told so then.
pub(super) fn has(extension: &Extension, import: &str) -> bool {
    match extension.code.scripts() {
        None => true,
        Some(_) if is_call(import) => !extension.commands.is_empty(),
        Some(_) if is_exec(import) => !extension.exec.is_empty(),
        Some(_) => true,
    }
}

/// Whether an import is a command that could be granted and was not.
pub(super) fn asks_for_command(extension: &Extension, import: &str) -> bool {
    let may_call = |command: &str| extension.commands.iter().any(|(name, _)| **name == *command);
    command_of(import).is_some_and(|command| !may_call(command))
        && matches!(standing(import), Standing::Granted(_))
}

/// The same of such commands: they stand in one key, and so the line has all of them, beside those that it has already.
pub(super) fn uncalled(extension: &Extension, imports: &[&String]) -> Option<String> {
    let (table, has) = (&extension.origin, &extension.commands);
    let all =
        has.iter().map(|(name, _)| &**name).chain(imports.iter().filter_map(|import| command_of(import)));
    let line: Vec<_> = all.map(|name| format!("\"{name}\"")).collect();
    let named: Vec<_> = imports.iter().map(|import| import.as_str()).collect();
    let are = if named.len() == 1 { "is" } else { "are" };
    let put = if has.is_empty() { "add to" } else { "change in" };
    (!named.is_empty()).then(|| {
        let (named, line) = (named.join(", "), line.join(", "));
        format!("imports {named}, which {are} not granted; {put} {table}: commands = [{line}]")
    })
}

/// What an extension was granted beside files, as it is told: no value of a variable, which may be a secret.
pub(super) fn told(extension: &Extension) -> impl Iterator<Item = String> {
    let programs = extension.exec.iter().map(|granted| {
        let args: String = granted.args.iter().map(|pattern| format!(" {}", word(pattern))).collect();
        format!("exec {}{args}", word(&granted.program))
    });
    let commands = extension.commands.iter().map(|(name, _)| format!("call {name}"));
    let variables = extension.env.iter().map(|(name, _)| format!("env {name}"));
    let hooks = extension.freeze_hooks.then(|| "freeze-hooks".to_owned());
    programs.chain(commands).chain(variables).chain(hooks)
}

/// One of several words in a line: in quotes, as JSON has them, where it could be taken for another number of them.
fn word(text: &str) -> String {
    let is_plain = |c: char| !(c.is_whitespace() || c.is_control() || c == '"' || c == '\\');
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

/// Whether it is the import by which commands are called in JSON.
pub(super) fn is_call(import: &str) -> bool {
    is_interface(import, "waga:extension/call", "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_line_cannot_be_taken_for_others() {
        for (text, told) in [
            ("/usr/bin/systemctl", "/usr/bin/systemctl"),
            ("acme-*", "acme-*"),
            ("**", "**"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("\"a\"", "\"\\\"a\\\"\""),
            ("a\\b\n", "\"a\\\\b\\n\""),
        ] {
            assert_eq!(word(text), told);
        }
    }
}
