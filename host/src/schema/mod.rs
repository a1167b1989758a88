//! What commands take and give, as JSON Schema: of the agent's own from the schema that the program carries, of extensions' from what is
//! known of their components. `waga-get-schema` tells it, and offline the verb `waga schema`.

mod offline;
mod qapi;

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use waga_builtins::{CommandSchema, Json};

use crate::registry::{Registry, Slot};
pub(crate) use offline::run;

/// An entry of the schema that the program carries.
#[derive(Deserialize)]
struct Entry {
    docs: Option<String>,
    arguments: Value,
    result: Value,
}

/// Of one command, or of all in the order of the registry. Nothing if there is no such command.
pub(crate) fn of(registry: &Registry, command: Option<&str>) -> Vec<CommandSchema> {
    // Of each no more is read than where it ends, until it is wanted.
    let own: HashMap<&str, &RawValue> = serde_json::from_str(waga_wit::SCHEMA).unwrap_or_default();
    let wanted = registry.slots().iter().filter(|slot| command.is_none_or(|command| *slot.name == *command));
    wanted.filter_map(|slot| foreign(slot).or_else(|| builtin(slot, own.get(&*slot.name)?))).collect()
}

/// Of a command that an extension adds.
#[cfg(feature = "extensions")]
fn foreign(slot: &Slot) -> Option<CommandSchema> {
    Some(slot.adds()?.schema())
}

/// Nobody but the agent has commands.
#[cfg(not(feature = "extensions"))]
fn foreign(_: &Slot) -> Option<CommandSchema> {
    None
}

/// Of one of the agent's own. Whatever is laid over it keeps to the same.
fn builtin(slot: &Slot, entry: &RawValue) -> Option<CommandSchema> {
    let entry: Entry = serde_json::from_str(entry.get()).ok()?;
    Some(CommandSchema {
        name: slot.name.clone(),
        docs: entry.docs,
        arguments: Json::of(&entry.arguments),
        result: Json::of(&entry.result),
        extension: None,
        note: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_schema_in_the_order_of_the_registry_and_no_other_has() {
        let registry = Registry::builtins();
        let all = of(&registry, None);
        let names: Vec<_> = all.iter().map(|schema| &schema.name).collect();
        assert_eq!(names, registry.slots().iter().map(|slot| &slot.name).collect::<Vec<_>>());
        assert!(all.iter().all(|schema| schema.docs.is_some() && schema.note.is_none()));
        let one = of(&registry, Some("guest-sync"));
        assert_eq!(one.len(), 1);
        assert!(one[0].arguments.text().starts_with(r#"{"type": "object", "properties": {"id": "#));
        assert!(of(&registry, Some("guest-acme-x")).is_empty());
    }
}
