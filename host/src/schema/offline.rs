//! `waga schema`: what commands take and give, without an agent: its own, and those of the configuration's extensions of which the cache
//! knows something.

use std::process::ExitCode;

use serde_json::{Map, Value};
use waga_builtins::CommandSchema;

use super::qapi;
use crate::cli::{Cli, Format};
use crate::config::{Config, Places};
use crate::nearest::nearest;
use crate::registry::Registry;

/// Prints the schema of one command, or of all; fails if there is no such command, or a fault in the configuration.
pub(crate) fn run(cli: &Cli, format: Format, command: Option<&str>) -> ExitCode {
    let mut config = match Config::load(cli, &Places::system()) {
        Ok(resolved) => resolved.config,
        Err(error) => return crate::fail(&error.to_string()),
    };
    config.find_packs();
    let registry = Registry::of_config(&config);
    let schemas = super::of(&registry, command);
    if let Some(command) = command.filter(|_| schemas.is_empty()) {
        let known = registry.slots().iter().map(|slot| &*slot.name);
        let hint = nearest(command, known).map(|name| format!("; did you mean '{name}'?"));
        let hint = hint.unwrap_or_else(|| unknown(&registry).unwrap_or_default());
        return crate::fail(&format!("no command is called '{command}'{hint}"));
    }
    if let Some(unknown) = unknown(&registry).filter(|_| command.is_none()) {
        crate::log::say(unknown.trim_start_matches("; "));
    }
    crate::print(&match format {
        Format::JsonSchema => format!("{:#}", json(schemas)),
        Format::Qapi => {
            let replies =
                |schema: &CommandSchema| registry.find(&schema.name).is_none_or(|slot| slot.flags.replies);
            let with_replies = |schema| {
                let replies = replies(&schema);
                (schema, replies)
            };
            let schemas: Vec<_> = schemas.into_iter().map(with_replies).collect();
            qapi::text(&schemas).trim_end().to_owned()
        }
    })
}

/// An object of the commands by their names.
fn json(schemas: Vec<CommandSchema>) -> Value {
    let entry = |schema: CommandSchema| {
        let mut members = Map::new();
        let read = |text: &str| serde_json::from_str(text).unwrap_or_default();
        members.extend(schema.docs.map(|docs| ("docs".to_owned(), docs.into())));
        members.insert("arguments".to_owned(), read(schema.arguments.text()));
        members.insert("result".to_owned(), read(schema.result.text()));
        members.extend(schema.extension.map(|name| ("extension".to_owned(), (*name).into())));
        members.extend(schema.note.map(|note| ("note".to_owned(), note.into())));
        (schema.name.to_string(), Value::Object(members))
    };
    schemas.into_iter().map(entry).collect::<Map<_, _>>().into()
}

/// Which extensions nothing is known of yet.
fn unknown(registry: &Registry) -> Option<String> {
    use waga_builtins::ExtensionState::Starting;
    let extensions = registry.extensions();
    let names: Vec<&str> = (extensions.iter())
        .filter(|extension| extension.state == Starting)
        .map(|extension| &*extension.name)
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "; nothing is known yet of the extension {}: the agent compiles it when it starts",
            names.join(", ")
        )
    })
}
