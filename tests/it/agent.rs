//! guest-sync, guest-sync-delimited, guest-ping, guest-info; as upstream's own tests have them and beyond.

use serde_json::{Value, json};

use crate::table::Table;
use crate::{each, original, program};

#[test]
fn sync_gives_the_id_back() {
    each(|program| {
        let agent = program.agent();
        let mut client = agent.client();
        for id in [0, 1, (1 << 32) - 1, 1_700_000_000_123, i64::MAX, i64::MIN] {
            assert_eq!(client.run("guest-sync", json!({"id": id})).unwrap(), json!(id));
            client.sync(id).unwrap();
        }
    });
}

#[test]
fn ping_takes_nothing_and_gives_nothing() {
    Table::new()
        .all(&[
            (r#"{"execute":"guest-ping"}"#, r#"{"return": {}}"#),
            (r#"{"execute":"guest-ping","arguments":{}}"#, r#"{"return": {}}"#),
            (r#"{'execute':'guest-ping','id':1}"#, r#"{"return": {}, "id": 1}"#),
            (
                r#"{'execute':'guest-ping','arguments':{'foo':42}}"#,
                r#"{"error": {"class": "GenericError", "desc": "Parameter 'foo' is unexpected"}}"#,
            ),
            (
                r#"{"execute":"guest-info","arguments":{"x":1}}"#,
                r#"{"error": {"class": "GenericError", "desc": "Parameter 'x' is unexpected"}}"#,
            ),
        ])
        .check();
}

fn info(program: &waga_tests::agent::Program) -> Value {
    program.agent().client().run("guest-info", json!({})).unwrap()
}

fn names(info: &Value) -> Vec<&str> {
    info["supported_commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect()
}

#[test]
fn info_has_a_version_and_entries_of_three_keys() {
    each(|program| {
        let info = info(program);
        let keys: Vec<&String> = info.as_object().unwrap().keys().collect();
        assert_eq!((keys.len(), &info["version"].is_string()), (2, &true), "{keys:?}");
        for entry in info["supported_commands"].as_array().unwrap() {
            let mut keys: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["enabled", "name", "success-response"], "Ansible compares whole entries");
            let silent =
                ["guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"];
            assert_eq!(entry["success-response"], json!(!silent.contains(&entry["name"].as_str().unwrap())));
        }
        if program.is_waga() {
            assert_eq!(info["version"], "11.1.3");
        }
    });
}

#[test]
fn info_lists_commands_in_reverse_order_of_registration() {
    each(|program| {
        let info = info(program);
        let listed = String::from_utf8(program.run(["-b", "help"]).stdout).unwrap();
        let reversed: Vec<&str> = names(&info).into_iter().rev().collect();
        assert_eq!(reversed, listed.lines().collect::<Vec<_>>());
    });
}

#[test]
fn info_lists_what_the_original_does() {
    let Some(original) = original() else { return };
    let (ours, theirs) = (info(&program()), info(&original));
    let theirs = names(&theirs);
    // Not every command is built yet, and the original may be an older one than we match.
    let shared = |name: &&&str| names(&ours).contains(*name) && theirs.contains(*name);
    let order: Vec<&str> = names(&ours).iter().filter(shared).copied().collect();
    let expected: Vec<&str> = theirs.iter().filter(shared).copied().collect();
    let mut sorted = [order, expected];
    sorted.iter_mut().for_each(|names| names.sort_unstable());
    assert_eq!(sorted[0], sorted[1]);
    for name in [
        "guest-ping",
        "guest-get-time",
        "guest-info",
        "guest-network-get-interfaces",
        "guest-get-fsinfo",
        "guest-get-host-name",
        "guest-get-users",
        "guest-get-timezone",
        "guest-get-osinfo",
    ] {
        assert!(names(&ours).contains(&name), "KubeVirt needs {name}");
    }
}
