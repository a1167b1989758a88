//! What each extension asks for, and what the configuration says to that: for `waga check`, before anything of it is loaded.

use super::description::Description;
use super::grants::{self, asks_for_command, is_call, reason, uncalled};
use super::imports::{Standing, command_of, standing};
use super::reflect::FREEZE_HOOKS;
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
    // One line grants all the commands that it lacks.
    let lacks: Vec<_> =
        (description.imports.iter()).filter(|import| asks_for_command(extension, import)).collect();
    let line = uncalled(extension, &lacks);
    let line = line.as_deref().and_then(|text| Some(text.split_once("; ")?.1));
    let ask = |import: &String| {
        let standing = standing(import);
        let key = match &standing {
            Standing::Granted(line) => line.split_once(" = ").map(|(key, _)| key.to_owned()),
            Standing::Free | Standing::Forbidden(_) | Standing::Unknown => files(extension, import),
        };
        let answer = match (reason(extension, import), standing) {
            _ if lacks.contains(&import) => {
                Answer::Refused(format!("which is not granted; {}", line.unwrap_or_default()))
            }
            (Some(reason), _) => {
                let said = reason.strip_prefix(&format!("imports {import}, "));
                Answer::Refused(said.unwrap_or(&reason).to_owned())
            }
            (None, Standing::Free) if key.is_none() => Answer::Free,
            (None, _) => Answer::Granted(granting(extension, import)),
        };
        Ask { import: import.clone(), key, answer }
    };
    let has = |import: &&String| grants::has(extension, import);
    let asks = description.imports.iter().filter(has).map(ask);
    // What the engine of scripts imports besides says nothing of the scripts.
    let is_told = |ask: &Ask| extension.code.scripts().is_none() || !matches!(ask.answer, Answer::Free);
    asks.filter(is_told).chain(hooks(extension, description)).collect()
}

/// What it exports to be told of freezing and thawing: without the key it runs all the same, and is told nothing.
fn hooks(extension: &Extension, description: &Description) -> Option<Ask> {
    let answer = match extension.freeze_hooks {
        true => Answer::Granted(vec![extension.origin.clone()]),
        false => Answer::Idle(format!("add to {}: freeze-hooks = true", extension.origin)),
    };
    let ask = || Ask { import: format!("{FREEZE_HOOKS}@1.0.0"), key: Some("freeze-hooks".into()), answer };
    description.freeze_hooks.then(ask)
}

/// The keys by which it is granted files, if this is the import of files. Without any it may import that all the same, and finds none.
fn files(extension: &Extension, import: &str) -> Option<String> {
    let keys = [("read", &extension.read), ("write", &extension.write)];
    let keys: Vec<&str> = keys.iter().filter(|(_, paths)| !paths.is_empty()).map(|(key, _)| *key).collect();
    let is_files = import.starts_with("wasi:filesystem/types@0.2.");
    (is_files && !keys.is_empty()).then(|| keys.join(", "))
}

/// Where what grants it stands: the name of the command in the list; or the whole list; or, of other keys, the table.
fn granting(extension: &Extension, import: &str) -> Vec<crate::policy::Origin> {
    let command = command_of(import);
    let names = extension.commands.iter();
    let names = names.filter(|(name, _)| is_call(import) || command == Some(&**name));
    let origins: Vec<_> = names.map(|(_, origin)| origin.clone()).collect();
    if origins.is_empty() { vec![extension.origin.clone()] } else { origins }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::config::{Config, Places};
    use crate::extension::description::FORMAT;

    /// What an extension with these lines in its table is told of what it imports.
    fn asks(lines: &str, imports: &[&str]) -> Vec<(Option<String>, Answer)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, format!("[extension.x]\nmodule = '/x.wasm'\n{lines}")).unwrap();
        let cli = Cli { config: Some(path), ..Cli::default() };
        let extension = Config::load(&cli, &Places::system()).unwrap().config.extensions.list.remove(0);
        let imports = imports.iter().map(|&import| import.to_owned()).collect();
        let description =
            Description { format: FORMAT, commands: Vec::new(), imports, freeze_hooks: false, memory: 0 };
        of(&extension, &description).into_iter().map(|ask| (ask.key, ask.answer)).collect()
    }

    #[test]
    fn each_grant_is_told_by_its_key_and_its_place() {
        let imports = [
            "waga:extension/exec@1.0.0",
            "wasi:filesystem/types@0.2.3",
            "wasi:filesystem/preopens@0.2.3",
            "waga:guest/guest-get-time@1.0.0",
            "acme:own/thing@1.0.0",
        ];
        let lines = "exec = [{ program = '/bin/true' }]\nread = ['/etc/hostname']\ncommands = ['guest-get-load', 'guest-get-time']";
        let told = asks(lines, &imports);
        let granted = |key: &str, answer: &Answer| match answer {
            Answer::Granted(origins) => origins.iter().map(|it| (key.to_owned(), it.position())).collect(),
            _ => Vec::new(),
        };
        let granted: Vec<_> = told
            .iter()
            .flat_map(|(key, answer)| granted(key.as_deref().unwrap_or_default(), answer))
            .map(|(key, (line, _))| (key, line.unwrap()))
            .collect();
        let expected = [("exec", 1), ("read", 1), ("commands", 5)];
        assert_eq!(granted, expected.map(|(key, line)| (key.to_owned(), line)));
        assert_eq!(told[2], (None, Answer::Free));
        assert_eq!(told[4], (None, Answer::Refused("which this agent does not have".into())));
        let told = asks("commands = ['guest-get-load']", &imports);
        let line = "which is not granted; change in ";
        assert!(
            matches!(&told[3].1, Answer::Refused(text) if text.starts_with(line) && text.ends_with("commands = [\"guest-get-load\", \"guest-get-time\"]")),
            "{told:?}"
        );
        assert!(
            matches!(&told[0], (Some(key), Answer::Refused(line)) if key == "exec" && line.contains("exec = ["))
        );
        assert_eq!(told[1], (None, Answer::Free));
    }
}
