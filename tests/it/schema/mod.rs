//! The contract holds: what the WIT says, what `schema.json` says and what the agent's commands do are one.

mod component;
mod recorded;
mod replies;
mod requests;
mod samples;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use waga_builtins::{Builtin, FAMILIES};

/// The schemas of all commands, by name.
fn schemas() -> Map<String, Value> {
    serde_json::from_str(waga_wit::SCHEMA).unwrap()
}

fn builtins() -> impl Iterator<Item = &'static Builtin> {
    FAMILIES.iter().copied().flatten()
}

fn builtin(name: &str) -> &'static Builtin {
    builtins().find(|builtin| builtin.name == name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// What judges by a schema.
fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// What judges the replies to a command: its result, or an error.
fn reply_validator(schema: &Value) -> Validator {
    // The result's own definitions have to stand at the root.
    let mut result = schema["result"].clone();
    let defs = result.as_object_mut().and_then(|result| result.remove("$defs"));
    validator(&json!({
        "oneOf": [
            {"properties": {"return": result}, "required": ["return"], "additionalProperties": false},
            {
                "properties": {
                    "error": {
                        "type": "object",
                        "properties": {
                            "class": {"enum": ["GenericError", "CommandNotFound"]},
                            "desc": {"type": "string", "minLength": 1},
                        },
                        "required": ["class", "desc"],
                        "additionalProperties": false,
                    },
                },
                "required": ["error"],
                "additionalProperties": false,
            },
        ],
        "$defs": defs.unwrap_or_else(|| json!({})),
    }))
}

/// `UPDATE_EXPECT=1` makes it anew.
#[test]
fn schema_json_is_made_of_the_wit() -> Result<()> {
    // The daemon carries it: indented by one space a level and not by two it is 20 KB less.
    let text: String = serde_json::to_string_pretty(&waga_wit::schema::guest())?
        .lines()
        .flat_map(|line| [&line[(line.len() - line.trim_start().len()) / 2..], "\n"])
        .collect();
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/schema.json"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(file, &text)?;
    }
    ensure!(
        fs::read_to_string(file)? == text,
        "wit/schema.json is not made of this WIT: run again with UPDATE_EXPECT=1"
    );
    Ok(())
}

#[test]
fn every_command_has_an_interface_and_every_interface_a_command() {
    let schemas = schemas();
    let described: BTreeSet<_> = schemas.keys().map(String::as_str).collect();
    let provided: BTreeSet<_> = builtins().map(|builtin| builtin.name).collect();
    assert_eq!(provided, described);
}

#[test]
fn arguments_are_those_of_the_commands_in_their_order() {
    for (name, schema) in schemas() {
        let described: Vec<_> = match schema["arguments"]["properties"].as_object() {
            Some(properties) => properties.keys().map(String::as_str).collect(),
            None => Vec::new(),
        };
        assert_eq!(described, (builtin(&name).arguments)(), "{name}");
    }
}

#[test]
fn schemas_are_by_the_standard() {
    for (name, schema) in schemas() {
        for part in ["arguments", "result"] {
            let judged = jsonschema::meta::validate(&schema[part]);
            judged.unwrap_or_else(|error| panic!("{name}, {part}: {error}"));
        }
    }
    // The judge is one.
    assert!(jsonschema::meta::validate(&json!({"type": "integral"})).is_err());
}
