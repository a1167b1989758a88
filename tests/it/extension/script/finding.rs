//! How scripts are found: at the start without the engine, at a reload as they are then.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{agent, file};
use crate::extension::{disabled, settled, told};

fn has_engine(agent: &waga_tests::agent::Agent) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let mut names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.any(|name| name.starts_with("extensions"))
}

fn reload(agent: &waga_tests::agent::Agent, times: usize) {
    let text = fs::read_to_string(agent.dir().join("agent.toml")).unwrap();
    crate::daemon::reload(agent, &text);
    agent.until("a reload", |agent| agent.log().matches(": reloaded").count() >= times);
}

#[test]
fn the_engine_is_not_run_at_the_start() {
    let files = [("a.js", "exports[\"guest-test-a\"] = () => 1;"), ("b.js", "exports[")];
    let Some(agent) = agent(&files, "") else { return };
    // The first start has to find out.
    assert!(has_engine(&agent));
    assert!(agent.dir().join("cache/x.scripts.json").is_file());
    let agent = agent.restart(Signal::SIGTERM);
    let mut client = agent.client();
    let told = told(&mut client, "x");
    assert_eq!((&told["state"], &told["commands"][0]["name"]), (&json!("ready"), &json!("guest-test-a")));
    assert!(told["faults"][0].as_str().unwrap().starts_with("b.js:1: SyntaxError"), "{told}");
    assert!(!has_engine(&agent));
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), 1);
    assert!(has_engine(&agent));

    // A file that changed meanwhile is found out about, beside the requests.
    fs::write(file(agent.dir(), "b.js"), "exports[\"guest-test-b\"] = () => 2;").unwrap();
    let agent = agent.restart(Signal::SIGTERM);
    let told = settled(&agent, "x");
    assert_eq!((told["faults"].as_array(), told["commands"].as_array().unwrap().len()), (None, 2), "{told}");
    assert_eq!(agent.client().run("guest-test-b", json!({})).unwrap(), 2);
}

#[test]
fn a_reload_finds_what_is_there_then() {
    let Some(agent) = agent(&[("a.js", "exports[\"guest-test-a\"] = () => 1;")], "") else { return };
    let mut client = agent.client();
    let put = |name: &str, text: &str| fs::write(file(agent.dir(), name), text).unwrap();
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), 1);
    // What is written is in force when the operator says so, and not in the middle of it.
    put("a.js", "exports[\"guest-test-a\"] = () => 11;");
    put("b.js", "exports[\"guest-test-b\"] = () => 2;");
    put("b.json", r#"{"additionalProperties": false}"#);
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), 1);
    reload(&agent, 1);
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), 11);
    assert_eq!(client.run("guest-test-b", json!({})).unwrap(), 2);
    let refused = client.refused("guest-test-b", json!({"x": 1})).unwrap().1;
    assert_eq!(refused, "Parameter 'x' is unexpected");
    // Only the schema changes.
    put("b.json", r#"{"additionalProperties": {"type": "string"}}"#);
    reload(&agent, 2);
    let refused = client.refused("guest-test-b", json!({"x": 1})).unwrap().1;
    assert_eq!(refused, "Invalid parameter type for 'x', expected: string");
    assert_eq!(told(&mut client, "x")["calls"], 4);
    // Gone, and the folder with them.
    fs::remove_file(file(agent.dir(), "b.js")).unwrap();
    reload(&agent, 3);
    assert!(client.refused("guest-test-b", json!({})).unwrap().1.contains("has not been found"));
    assert_eq!(told(&mut client, "x")["faults"][0], "b.json: no script here defines a command of this name");
    fs::rename(agent.dir().join("scripts"), agent.dir().join("away")).unwrap();
    reload(&agent, 4);
    let gone = told(&mut client, "x");
    assert_eq!(gone["state"], "missing", "{gone}");
    assert!(gone["reason"].as_str().unwrap().ends_with("scripts: there is no such folder"), "{gone}");
}

/// Nothing is compiled to find that out.
#[test]
fn a_folder_that_is_not_there_costs_no_engine() {
    let Some(_) = super::engine() else { return };
    let setup = super::declared(&[], "");
    fs::remove_dir(setup.dir().join("scripts")).unwrap();
    let agent = setup.start();
    let told = settled(&agent, "x");
    assert_eq!(told["state"], "missing", "{told}");
    assert!(told["reason"].as_str().unwrap().ends_with("scripts: there is no such folder"), "{told}");
    let cache = fs::read_dir(agent.dir().join("cache")).into_iter().flatten();
    assert_eq!(cache.count(), 0);
}

/// The first line of a file may look at `config`: what it made of that is nothing to go by once that is another one.
#[test]
fn another_configuration_is_found_out_about() {
    let text = r#"
if (typeof config.word !== "string") throw "no word in config";
exports[`guest-test-${config.word}`] = () => config.word;
"#;
    let Some(agent) = agent(&[("a.js", text)], "config = { word = 'a' }") else { return };
    let write = |agent: &waga_tests::agent::Agent, new: &str| {
        let text = fs::read_to_string(agent.dir().join("agent.toml")).unwrap();
        let at = text.find("config = ").unwrap();
        fs::write(agent.dir().join("agent.toml"), format!("{}config = {new}\n", &text[..at])).unwrap();
    };
    let mut client = agent.client();
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), "a");
    write(&agent, "{ word = 7 }");
    reload(&agent, 1);
    let off = disabled(&mut client, "guest-test-a");
    assert_eq!(off, "extension x: a.js: no word in config");
    write(&agent, "{ word = 'b' }");
    reload(&agent, 2);
    assert_eq!(client.run("guest-test-b", json!({})).unwrap(), "b");
    assert!(client.refused("guest-test-a", json!({})).unwrap().1.contains("has not been found"));
    // Nor by what was noted of it.
    write(&agent, "{ word = 'c' }");
    let agent = agent.restart(Signal::SIGTERM);
    settled(&agent, "x");
    assert_eq!(agent.client().run("guest-test-c", json!({})).unwrap(), "c");
}

#[test]
fn only_what_root_alone_may_write_is_run() {
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let files =
        [("a.js", "exports[\"guest-test-a\"] = () => 1;"), ("b.js", "exports[\"guest-test-b\"] = () => 1;")];
    let Some(agent) = agent(&files, "") else { return };
    let mut client = agent.client();
    open(&file(agent.dir(), "b.js"), 0o666);
    reload(&agent, 1);
    assert_eq!(client.run("guest-test-a", json!({})).unwrap(), 1);
    let off = disabled(&mut client, "guest-test-b");
    assert!(off.starts_with("extension x: b.js: ") && off.contains("666"), "{off}");
    open(&agent.dir().join("scripts"), 0o777);
    reload(&agent, 2);
    let told = told(&mut client, "x");
    assert_eq!(told["state"], "refused", "{told}");
    assert!(told["reason"].as_str().unwrap().contains("777"), "{told}");
}
