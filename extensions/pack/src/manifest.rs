//! `pack.toml`: what a pack is, what it asks for, and why.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use waga::config::command_name::{is_command, is_extension, is_protected};
use waga::config::pack::is_version;

use crate::{Fault, MANIFEST};

/// Most bytes of the text: more is none that somebody wrote, and costs more than it is worth to look at.
const LARGEST: usize = 64 << 10;
/// Most commands, and most permissions.
const MOST: usize = 256;
/// Most characters of what is shown on a line.
const LINE: usize = 200;

/// What a pack is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// Its name, which is that of the extension, too.
    pub name: String,
    /// Its version (semver).
    pub version: String,
    /// Who publishes it.
    pub publisher: String,
    /// Its licence, an SPDX expression.
    pub licence: String,
    /// What it is for, in a line.
    pub description: String,
    /// Where more is to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Which versions of waga it runs on, as `>=0.1.0`; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The file of its component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The folder of its scripts, where it has no component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scripts: Option<String>,
    /// The JSON Schema of its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<String>,
    /// The commands that it provides.
    #[serde(default, rename = "command", skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// What it asks for.
    #[serde(default, rename = "permission", skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permission>,
    /// The limits that it needs, as in the table of an extension.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub limits: Table,
    /// Its configuration, unless the operator says otherwise.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub config: Table,
}

/// A command that a pack provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Its name.
    pub name: String,
    /// What it does to one that is there.
    pub mode: Mode,
    /// What it does, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// How a command relates to one that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// There is none.
    Add,
    /// It takes its place.
    Override,
    /// It runs around it.
    Wrap,
}

impl Mode {
    /// The key of an extension's table.
    pub fn key(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Override => "override",
            Self::Wrap => "wrap",
        }
    }
}

/// Something that a pack asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Permission {
    /// Files and folders to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Files and folders to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Programs to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<Program>>,
    /// Commands to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<String>>,
    /// Variables of its environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// To run while filesystems are frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub while_frozen: Option<bool>,
    /// To be told before filesystems are frozen and after they were thawed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_hooks: Option<bool>,
    /// What for.
    pub reason: String,
}

/// A program, and with what arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its path.
    pub program: String,
    /// A pattern for each argument.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

/// One thing of a permission, as the key of an extension's table says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The key.
    pub key: &'static str,
    /// What stands there, for people: a path, a program with its arguments, a name.
    pub what: String,
}

impl Permission {
    /// What it asks for, each by itself.
    pub fn asks(&self) -> Vec<Ask> {
        let Self { read, write, exec, commands, env, while_frozen, freeze_hooks, reason: _ } = self;
        let ask = |key, what: String| Ask { key, what };
        let list = |key, list: &Option<Vec<String>>| -> Vec<Ask> {
            list.iter().flatten().map(|what| ask(key, what.clone())).collect()
        };
        let mut asks = [list("read", read), list("write", write), list("commands", commands)].concat();
        asks.extend(exec.iter().flatten().map(|program| ask("exec", program.to_string())));
        asks.extend(env.iter().flatten().map(|(name, value)| ask("env", format!("{name}={value}"))));
        asks.extend((*while_frozen == Some(true)).then(|| ask("while-frozen", String::new())));
        asks.extend((*freeze_hooks == Some(true)).then(|| ask("freeze-hooks", String::new())));
        asks
    }

    /// How many keys it has.
    fn keys(&self) -> usize {
        let Self { read, write, exec, commands, env, while_frozen, freeze_hooks, reason: _ } = self;
        let there = [
            read.is_some(),
            write.is_some(),
            exec.is_some(),
            commands.is_some(),
            env.is_some(),
            while_frozen.is_some(),
            freeze_hooks.is_some(),
        ];
        there.into_iter().filter(|there| *there).count()
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.env.iter().chain([&self.program]).chain(&self.args);
        let words: Vec<_> = words.map(|word| quoted(word)).collect();
        f.write_str(&words.join(" "))
    }
}

/// A word as it would be typed.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:,@%*?".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

impl Manifest {
    /// The manifest of a text.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > LARGEST {
            return Err(Fault::new(format!("{MANIFEST} has more than {LARGEST} bytes")));
        }
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map(|line| format!("{line}: ")).unwrap_or_default();
            Fault::new(format!("{MANIFEST}:{line}{}", error.message().trim().replace('\n', ", ")))
        })?;
        manifest.itself().map_err(|text| Fault::new(format!("{MANIFEST}: {text}")))?;
        Ok(manifest)
    }

    /// What can be said without looking at the other files.
    fn itself(&self) -> Result<(), String> {
        if !is_extension(&self.name) {
            return Err(format!(
                "name '{}' is none for a pack: write small letters, digits and '-', a letter first",
                self.name.escape_debug()
            ));
        }
        if !is_version(&self.version) || Version::parse(&self.version).is_err() {
            return Err(format!("version '{}' is none, as 1.2.0 is one", self.version.escape_debug()));
        }
        if let Some(agent) = &self.agent
            && let Err(error) = VersionReq::parse(agent)
        {
            return Err(format!("agent '{}': {error}; write \">=0.1.0\" for example", agent.escape_debug()));
        }
        let lines = [
            ("publisher", Some(&self.publisher)),
            ("licence", Some(&self.licence)),
            ("description", Some(&self.description)),
            ("homepage", self.homepage.as_ref()),
        ];
        let reasons = self.permissions.iter().map(|permission| ("reason", Some(&permission.reason)));
        let lines = lines.into_iter().chain(reasons);
        for (key, text) in lines.filter_map(|(key, text)| Some((key, text?))) {
            is_line(key, text)?;
            if text.trim().is_empty() {
                return Err(format!("{key} says nothing"));
            }
        }
        if self.commands.len().max(self.permissions.len()) > MOST {
            return Err(format!("has more than {MOST} commands or permissions"));
        }
        for command in &self.commands {
            let Command { name, description, .. } = command;
            if !is_command(name) || is_protected(name) {
                return Err(format!(
                    "'{}' is no command that an extension may provide: guest-VENDOR-NAME, and none of sync, ping, info, fsfreeze",
                    name.escape_debug()
                ));
            }
            is_line("description", description)?;
            if self.commands.iter().filter(|other| other.name == *name).count() > 1 {
                return Err(format!("command '{name}' stands twice"));
            }
        }
        for permission in &self.permissions {
            match permission.keys() {
                1 => {}
                0 => return Err(format!("a permission asks for nothing: {}", permission.reason)),
                _ => return Err("a permission asks for several things: give each its reason".to_owned()),
            }
        }
        let mut asks: Vec<_> = self.permissions.iter().flat_map(Permission::asks).collect();
        let all = asks.len();
        asks.sort();
        asks.dedup();
        if asks.len() < all {
            return Err("two permissions ask for the same thing".to_owned());
        }
        let shown = asks.iter().map(|ask| &ask.what);
        shown.into_iter().try_for_each(|what| is_line("a permission", what))?;
        match (&self.component, &self.scripts) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (Some(_), Some(_)) => Err("has both 'component' and 'scripts'".to_owned()),
            (None, None) => Err("needs the key 'component', a file, or 'scripts', a folder".to_owned()),
        }
    }

    /// Whether what it names is there.
    pub(crate) fn check(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<(), Fault> {
        let fault = |text: String| Err(Fault::new(text));
        if let Some(component) = &self.component {
            match files.get(component) {
                None => return fault(format!("there is no '{}', the component", component.escape_debug())),
                // The version of components, not that of core modules.
                Some(bytes) if !bytes.starts_with(b"\0asm\x0d\0\x01\0") => {
                    return fault(format!("'{component}' is no WebAssembly component"));
                }
                Some(_) => {}
            }
        }
        if let Some(folder) = &self.scripts {
            let start = format!("{folder}/");
            let is_script = |path: &String| {
                path.strip_prefix(&start).is_some_and(|name| !name.contains('/') && name.ends_with(".js"))
            };
            if !files.keys().any(is_script) {
                return fault(format!("there is no script in '{}'", folder.escape_debug()));
            }
        }
        if let Some(schema) = self.config_schema.as_ref().filter(|schema| !files.contains_key(*schema)) {
            return fault(format!(
                "there is no '{}', the schema of the configuration",
                schema.escape_debug()
            ));
        }
        match files.contains_key("README.md") {
            true => Ok(()),
            false => fault("there is no README.md: whoever installs it wants to read what it is".to_owned()),
        }
    }

    /// Its version, to be compared.
    pub fn semver(&self) -> Version {
        // It was one when it was read.
        Version::parse(&self.version).unwrap_or_else(|_| Version::new(0, 0, 0))
    }

    /// Whether it runs on this version of waga.
    pub fn runs_on(&self, agent: &str) -> bool {
        let wanted = self.agent.as_deref().and_then(|agent| VersionReq::parse(agent).ok());
        let agent = Version::parse(agent);
        wanted.is_none_or(|wanted| agent.is_ok_and(|agent| wanted.matches(&agent)))
    }

    /// The table of the extension that grants all that it asks for.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.insert("pack".into(), self.name.clone().into());
        table.insert("version".into(), self.version.clone().into());
        for mode in [Mode::Add, Mode::Override, Mode::Wrap] {
            let names = self.commands.iter().filter(|command| command.mode == mode);
            let names: Vec<Value> = names.map(|command| command.name.clone().into()).collect();
            // An extension without `add` adds all that it has: a pack says what that is.
            if !names.is_empty() || mode == Mode::Add {
                table.insert(mode.key().into(), names.into());
            }
        }
        for permission in &self.permissions {
            let mut asked = Table::try_from(permission).unwrap_or_default();
            asked.remove("reason");
            for (key, value) in asked {
                match (table.get_mut(&key), value) {
                    (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
                    (Some(Value::Table(table)), Value::Table(more)) => table.extend(more),
                    (_, value) => drop(table.insert(key, value)),
                }
            }
        }
        for (key, value) in [("config", &self.config), ("limits", &self.limits)] {
            if !value.is_empty() {
                table.insert(key.into(), value.clone().into());
            }
        }
        table
    }
}

/// Whether a text can be shown on a line of a terminal.
fn is_line(key: &str, text: &str) -> Result<(), String> {
    if text.chars().count() > LINE {
        return Err(format!("{key} has more than {LINE} characters"));
    }
    match text.chars().find(|letter| letter.is_control() || is_invisible(*letter)) {
        Some(letter) => {
            Err(format!("{key} has a character that cannot be shown: {}", letter.escape_unicode()))
        }
        None => Ok(()),
    }
}

/// What turns the direction of writing, or is not to be seen: a line could say something else than it seems to.
pub(crate) fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
