//! Scripts: a folder of JavaScript files that define commands. What is known of each is found out by running it once, and noted; a call runs
//! the one file that defines its command.

mod alone;
mod comment;
mod folder;
mod rule;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::description::{Command, Kind};
use super::digest::{Digest, Hasher};
use super::module::Fingerprint;
use crate::config::command_name::is_command;
pub use alone::Alone;
pub(super) use folder::{Sources, look, read};
pub(super) use rule::Rule;

/// Most names that a file may export, and most bytes of what it says of itself when it is run for them.
const EXPORTS: usize = 256;
const LONGEST_FAULT: usize = 1 << 10;

/// The format of what is noted of a folder; another one is made anew.
const FORMAT: u32 = 3;

/// Exports that are no commands: they are told of freezing and thawing.
const HOOKS: [&str; 2] = ["freeze", "thaw"];

/// The engine, and where it is looked for after the daemon's own folder.
const ENGINE: &str = "script.wasm";
const FOLDERS: [&str; 2] = ["/usr/local/lib/waga", "/usr/lib/waga"];

/// What is known of a folder of scripts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scripts {
    format: u32,
    folder: PathBuf,
    /// The component that ran them.
    engine: Digest,
    /// What they saw of the extension's configuration: what they export may depend on it, and whether they can be used.
    config: Digest,
    /// Every file that counts, as the system has it.
    listing: Vec<(String, Fingerprint)>,
    files: Vec<File>,
    commands: Vec<Defined>,
    /// What of it is not used, with the file and the reason.
    faults: Vec<String>,
    /// Whether all that was found out of the files holds as long as they are the same.
    #[serde(skip, default = "noted")]
    is_certain: bool,
    /// What arguments have to be, of each command whose author says so; read when the first is called.
    #[serde(skip)]
    rules: OnceLock<HashMap<String, Rule>>,
}

/// One file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    /// Of its text; absent if it cannot be read.
    digest: Option<Digest>,
    /// What it exports, or did when it was last run to its end.
    exports: Vec<String>,
    /// Why it is not used.
    fault: Option<String>,
    #[serde(skip)]
    text: Option<Arc<str>>,
}

impl File {
    fn has_hooks(&self) -> bool {
        self.exports.iter().any(|name| HOOKS.contains(&name.as_str()))
    }
}

/// A command, and which of the files has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defined {
    command: Command,
    file: usize,
}

/// The file that a call runs.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its name, without the folder.
    pub name: Arc<str>,
    /// All of it.
    pub text: Arc<str>,
}

/// The component that runs scripts: beside this program, or in the library folder beside its own, else where packages put it; where it would
/// be if it is nowhere.
pub fn engine() -> PathBuf {
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent);
    let beside = own.map(Path::to_owned);
    let library = own.and_then(Path::parent).map(|prefix| prefix.join("lib/waga"));
    let folders = beside.into_iter().chain(library).chain(FOLDERS.map(PathBuf::from));
    let files = folders.map(|folder| folder.join(ENGINE));
    let [.., last] = FOLDERS;
    files.into_iter().find(|file| file.exists()).unwrap_or_else(|| Path::new(last).join(ENGINE))
}

/// That there is no engine, and where it would be.
pub fn no_engine(module: &Path) -> String {
    let [local, system] = FOLDERS;
    format!(
        "needs the engine of scripts, and {ENGINE} is not installed: it goes beside the agent's program or into {local} or {system} (looked for {})",
        module.display()
    )
}

/// Checks a value, as compact JSON, against a schema, by the part of JSON Schema that arguments of scripts are checked by.
///
/// # Errors
/// What of the value is not as the schema has it, or what of the schema is not checked here.
pub fn check(schema: &Value, value: &str) -> Result<(), String> {
    Rule::of(schema)?.check(value.as_bytes()).map_err(|fault| fault.to_string())
}

impl Scripts {
    /// What is known of these files, once each that needs it was run: `exports` has of each, in order, what it exports, or why it is not used.
    /// Of one that is not, the commands that it had before stay known.
    pub(super) fn of(
        sources: Sources,
        engine: Digest,
        config: &str,
        exports: Vec<Result<Vec<String>, String>>,
        before: Option<&Self>,
    ) -> Self {
        let Sources { folder, listing, scripts, mut schemas, digests: _ } = sources;
        let mut known = Self {
            format: FORMAT,
            folder,
            engine,
            config: digest(config),
            listing,
            files: Vec::new(),
            commands: Vec::new(),
            faults: Vec::new(),
            is_certain: true,
            rules: OnceLock::new(),
        };
        for (source, exports) in scripts.into_iter().zip(exports) {
            let (name, text) = (source.name, source.text.as_ref().ok().cloned());
            let digest = source.digest;
            known.is_certain &= text.is_none() || digest.is_some();
            let exports = exports.and_then(|exports| match exports.len() {
                ..=EXPORTS => Ok(exports),
                has => Err(format!("{name}: exports {has} names, and {EXPORTS} are the most")),
            });
            let file = match exports {
                Ok(exports) => File { name, digest, exports, fault: None, text },
                Err(mut fault) => {
                    fault.truncate(fault.floor_char_boundary(LONGEST_FAULT));
                    known.faults.push(fault.clone());
                    let old = before.and_then(|it| it.files.iter().find(|file| file.name == name));
                    let exports = old.map(|file| file.exports.clone()).unwrap_or_default();
                    File { name, digest, exports, fault: Some(fault), text: None }
                }
            };
            known.define(file, &mut schemas);
        }
        for (name, _) in schemas {
            known.faults.push(format!("{name}: no script here defines a command of this name"));
        }
        known
    }

    /// Adds a file and its commands. What the author says of their arguments is taken out of `schemas`, else out of the file itself.
    fn define(&mut self, file: File, schemas: &mut Vec<(String, Result<Value, String>)>) {
        let place = self.files.len();
        let stem = file.name.strip_suffix(".js").unwrap_or(&file.name);
        let comments = file.text.as_deref().map(comment::read).unwrap_or_default();
        for name in &file.exports {
            if HOOKS.contains(&name.as_str()) {
                continue;
            }
            if !is_command(name) {
                let name = name.escape_debug();
                let fault = format!("{}: exports '{name}', which cannot be a command's name", file.name);
                self.faults.push(fault);
                continue;
            }
            if let Some(other) = self.commands.iter().find(|it| it.command.name == *name) {
                let other = &self.files[other.file].name;
                self.faults.push(format!("{}: {name} is defined by {other} already", file.name));
                continue;
            }
            let beside = schemas.iter().position(|(schema, _)| {
                let of = schema.strip_suffix(".json").unwrap_or(schema);
                of == name || (of == stem && file.exports.len() == 1)
            });
            let beside = beside.map(|at| schemas.remove(at));
            let said_in = beside.as_ref().map_or(&file.name, |(name, _)| name).clone();
            let said = match beside {
                Some((_, Ok(schema))) => Ok(Some(documented(schema))),
                Some((_, Err(reason))) => Err(reason),
                None => match comments.iter().find(|comment| comment.command == *name) {
                    Some(comment) => {
                        comment.schema().map(Some).map_err(|reason| format!("{}:{reason}", file.name))
                    }
                    None => Ok(None),
                },
            };
            let said = said.and_then(|said| match &said {
                Some(schema) => Rule::of(&schema["arguments"])
                    .map(|_| said.as_ref().map(Into::into))
                    .map_err(|reason| format!("{said_in}: the arguments of {name}: {reason}")),
                None => Ok(None),
            });
            let (kind, schema) = match (&file.fault, said) {
                (Some(fault), _) => (Kind::Refused(fault.clone()), None),
                (None, Ok(schema)) => (Kind::Handler, schema),
                (None, Err(reason)) => {
                    self.faults.push(reason.clone());
                    (Kind::Refused(reason), None)
                }
            };
            let command = Command { name: name.clone(), kind, schema };
            self.commands.push(Defined { command, file: place });
        }
        self.files.push(file);
    }

    /// Whether it is what is known of this folder, as this engine ran it.
    pub(super) fn is_of(&self, folder: &Path, engine: Digest) -> bool {
        self.format == FORMAT && self.folder == folder && self.engine == engine
    }

    /// Whether the files saw this configuration when they were run.
    pub(super) fn saw(&self, config: &str) -> bool {
        self.config == digest(config)
    }

    /// Whether all that was found out of the files holds as long as they are the same.
    pub(super) fn is_certain(&self) -> bool {
        self.is_certain
    }

    /// Whether nothing else would be found out now. May wait for a disk.
    pub(super) fn is_still(&self) -> bool {
        self.is_certain && folder::is_still(&self.folder, &self.listing)
    }

    /// What the file with this text exports, or why it is not used, as it was found before.
    pub(super) fn found(&self, name: &str, digest: Digest) -> Option<Result<Vec<String>, String>> {
        let file = self.files.iter().find(|file| file.name == name && file.digest == Some(digest))?;
        Some(match &file.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(file.exports.clone()),
        })
    }

    /// Its commands, for the extension's description.
    pub(super) fn commands(&self) -> impl Iterator<Item = Command> {
        self.commands.iter().map(|it| it.command.clone())
    }

    /// What of it is not used, with the file and the reason.
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The file that has a command; its text is there once all were read.
    pub(super) fn script(&self, command: &str) -> Option<Script> {
        let defined = self.commands.iter().find(|it| it.command.name == command)?;
        let file = self.files.get(defined.file)?;
        Some(Script { name: file.name.as_str().into(), text: file.text.clone()? })
    }

    /// Whether any of the files is told of freezing and thawing.
    pub(super) fn has_hooks(&self) -> bool {
        self.files.iter().any(File::has_hooks)
    }

    /// Each file that is told of freezing and thawing, by name, and what is run; else why it cannot be. Among them are those of which nobody
    /// knows, for a fault in them, whether they were to be told.
    pub(super) fn hooked(&self) -> impl Iterator<Item = (PathBuf, Result<Script, String>)> {
        let may = |file: &&File| file.has_hooks() || (file.fault.is_some() && file.exports.is_empty());
        let hook = |file: &File| {
            let script = match (&file.fault, &file.text) {
                (Some(fault), _) => Err(fault.clone()),
                (None, Some(text)) => Ok(Script { name: file.name.as_str().into(), text: text.clone() }),
                (None, None) => Err(format!("{} was not read", file.name)),
            };
            (self.folder.join(&file.name), script)
        };
        self.files.iter().filter(may).map(hook)
    }

    /// What the arguments of a command have to be, if its author says so.
    pub(super) fn rule(&self, command: &str) -> Option<&Rule> {
        let rules = self.rules.get_or_init(|| {
            let rule = |it: &Defined| {
                let schema: Value = serde_json::from_str(it.command.schema.as_ref()?.text()).ok()?;
                Some((it.command.name.clone(), Rule::of(&schema["arguments"]).ok()?))
            };
            self.commands.iter().filter_map(rule).collect()
        });
        rules.get(command)
    }
}

/// What the comments of a file say of arguments, as schemas.
#[cfg(any(test, feature = "oracle"))]
pub(super) fn said(text: &str) -> Vec<Result<Value, String>> {
    comment::read(text).iter().map(|comment| Ok(comment.schema()?["arguments"].take())).collect()
}

fn digest(text: &str) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(text.as_bytes());
    hasher.finish()
}

/// Only what is certain is noted.
fn noted() -> bool {
    true
}

/// A schema of arguments, as the rest of the agent has what is known of a command.
fn documented(arguments: Value) -> Value {
    let docs = ["description", "title"].iter().find_map(|key| arguments[key].as_str().map(str::to_owned));
    json!({"docs": docs, "arguments": arguments, "result": {}})
}

#[cfg(test)]
mod tests;
