//! The packs of `extensions/` through the real daemon, each declared as its own `pack.toml` says it is to be, and against the real thing.

mod exec_guard;
mod fs_usage;
mod installed;
mod nvidia_smi;
mod pages;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};
use toml::Table;
use waga_tests::agent::{Agent, Setup};

use super::{examples, settled, setup, told};
use crate::docs::root;

/// All of them.
const PACKS: [&str; 6] = ["memory-usage", "net-filter", "fs-usage", "exec-guard", "nvidia-smi", "pg-quiesce"];

/// One of them as a component, built once. `None` where there is nothing to build it with.
fn built(name: &str) -> Option<&'static [u8]> {
    static BUILT: [OnceLock<Option<Vec<u8>>>; PACKS.len()] = [const { OnceLock::new() }; PACKS.len()];
    let at = PACKS.iter().position(|known| *known == name).unwrap();
    BUILT[at].get_or_init(|| examples::example(name)).as_deref()
}

/// Its `pack.toml`.
fn manifest(name: &str) -> Table {
    let file = root().join("extensions").join(name).join("pack.toml");
    fs::read_to_string(&file).unwrap().parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What `pack.toml` makes of its table in agent.toml.
fn table(name: &str) -> Table {
    let manifest = manifest(name);
    let mut table = Table::new();
    let mut add = |key: &str, value: &toml::Value| match (table.get_mut(key), value) {
        (Some(toml::Value::Array(all)), toml::Value::Array(more)) => all.extend(more.iter().cloned()),
        (None, value) => drop(table.insert(key.into(), value.clone())),
        (Some(_), _) => panic!("{name}: {key} stands twice"),
    };
    for command in manifest.get("command").and_then(toml::Value::as_array).into_iter().flatten() {
        add(command["mode"].as_str().unwrap(), &toml::Value::Array(vec![command["name"].clone()]));
    }
    for permission in manifest.get("permission").and_then(toml::Value::as_array).into_iter().flatten() {
        let granted = permission.as_table().unwrap().iter().filter(|(key, _)| *key != "reason");
        granted.for_each(|(key, value)| add(key, value));
    }
    for key in ["limits", "config"] {
        manifest.get(key).into_iter().for_each(|value| add(key, value));
    }
    table
}

/// A setup that has these extensions: packs under their own names with these tables, and other components.
fn with(packs: &[(&str, Table)], others: &[(&str, &[u8], &str)]) -> Option<Setup> {
    let mut all = Vec::new();
    for (name, component, lines) in others {
        all.push((*name, *component, (*lines).to_owned()));
    }
    for (name, table) in packs {
        let mut table = table.clone();
        // Debug builds and busy machines take their time; the limits are the default configuration's, not what is tested.
        let limits = table.entry("limits").or_insert(Table::new().into()).as_table_mut().unwrap();
        limits.insert("cpu".into(), "10s".into());
        limits.insert("time".into(), "20s".into());
        // A table of tables would be one of its own, and end the one of the extension.
        let lines = table.iter().map(|(key, value)| format!("{key} = {}\n", inline(value)));
        all.push((*name, built(name)?, lines.collect()));
    }
    let all: Vec<(&str, &[u8], &str)> =
        all.iter().map(|(name, bytes, lines)| (*name, *bytes, &**lines)).collect();
    setup(&all)
}

/// A value on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let members = table.iter().map(|(key, value)| format!("{key} = {}", inline(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        toml::Value::Array(all) => format!("[{}]", all.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn started(setup: Setup, names: &[&str]) -> Agent {
    let agent = setup.start();
    names.iter().for_each(|name| {
        let told = settled(&agent, name);
        assert_eq!(told["state"], "ready", "{told}");
    });
    agent
}

/// `config` of an extension.
fn config(json: Value) -> toml::Value {
    toml::Value::try_from(json).unwrap()
}

/// A program that does this.
fn script(file: &Path, text: &str) {
    fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_pack_says_what_it_is() {
    let mut found = 0;
    for entry in fs::read_dir(root().join("extensions")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        if !folder.join("pack.toml").is_file() {
            continue;
        }
        assert!(PACKS.contains(&name), "nobody tests {name}");
        found += 1;
        let manifest = manifest(name);
        let text = |key: &str| manifest[key].as_str().unwrap_or_else(|| panic!("{name}: {key}"));
        let cargo: Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        let package = &cargo["package"];
        assert_eq!((text("name"), text("version")), (name, package["version"].as_str().unwrap()));
        assert_eq!(
            (package["name"].as_str(), package["license"].as_str()),
            (Some(name), Some(text("licence")))
        );
        assert!(cargo.contains_key("workspace"), "{name}");
        for key in ["publisher", "description", "agent"] {
            assert!(!text(key).is_empty(), "{name}: {key}");
        }
        let permissions = manifest.get("permission").and_then(toml::Value::as_array);
        for permission in permissions.into_iter().flatten() {
            let permission = permission.as_table().unwrap();
            assert!(permission.len() == 2 && permission["reason"].is_str(), "{name}: {permission}");
        }
        let page = fs::read_to_string(folder.join("README.md")).unwrap();
        let index = fs::read_to_string(root().join("extensions/README.md")).unwrap();
        assert!(index.contains(&format!("]({name})")), "{name} is not in the index");
        for command in manifest.get("command").and_then(toml::Value::as_array).into_iter().flatten() {
            assert!(page.contains(command["name"].as_str().unwrap()), "{name}: {command}");
        }
        let Some(schema) = manifest.get("config-schema") else {
            assert!(!manifest.contains_key("config"), "{name}: a configuration without a schema");
            continue;
        };
        let schema = fs::read_to_string(folder.join(schema.as_str().unwrap())).unwrap();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let default = serde_json::to_value(&manifest["config"]).unwrap();
        jsonschema::validate(&schema, &default).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!jsonschema::is_valid(&schema, &json!({"no-such-key": 1})), "{name}");
        for key in schema["properties"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{key}`")), "{name}: the page does not explain {key}");
        }
    }
    assert_eq!(found, PACKS.len());
}

/// All at once, as their `pack.toml` has them: nothing is missing among the permissions, and each command is there in its mode.
#[test]
fn what_packs_ask_for_is_what_they_need() {
    let tables = PACKS.map(|name| (name, table(name)));
    let Some(setup) = with(&tables, &[]) else { return };
    let agent = started(setup, &PACKS);
    let mut client = agent.client();
    for name in PACKS {
        let told = told(&mut client, name);
        for command in manifest(name).get("command").and_then(toml::Value::as_array).into_iter().flatten() {
            let commands = told["commands"].as_array().unwrap();
            let found = commands.iter().find(|it| it["name"] == command["name"].as_str().unwrap()).unwrap();
            assert_eq!(
                (&found["mode"], &found["enabled"]),
                (&json!(command["mode"].as_str().unwrap()), &json!(true))
            );
        }
    }
    // As it is installed the filter hides nothing and the guard allows nothing.
    let plain = crate::waga().unwrap().client().run("guest-network-get-interfaces", json!({})).unwrap();
    let names = |value: &Value| -> Vec<Value> {
        value.as_array().unwrap().iter().map(|it| it["name"].clone()).collect()
    };
    assert_eq!(names(&client.run("guest-network-get-interfaces", json!({})).unwrap()), names(&plain));
    let (class, desc) = client.refused("guest-exec", json!({"path": "/bin/true"})).unwrap();
    assert_eq!((&*class, &*desc), ("GenericError", "exec-guard does not allow '/bin/true'"));
    let memory = client.run("guest-get-memory-usage", json!({})).unwrap();
    assert!((1..=100).contains(&memory["used-percent"].as_u64().unwrap()), "{memory}");
}
