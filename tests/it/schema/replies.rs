//! What this machine really answers, and that the judge would say no.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::requests::{all_on, changes};
use super::samples::Arguments;
use super::{schemas, validator};
use crate::waga;

/// How many elements of a list are looked at one by one.
const SOME: usize = 8;

/// Each place in a value, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate().take(SOME) {
                places(element, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                places(member, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// A result is by its schema, and is not with anything in it of another type: so the schema knows every member, and the judge looks at it.
pub(super) fn judge(command: &str, result: &Value) {
    let schema = &schemas()[command]["result"];
    let validator = validator(schema);
    let judged = validator.validate(result);
    judged.unwrap_or_else(|error| panic!("{command}: {error} at {} of {result}", error.instance_path()));
    let mut found = Vec::new();
    places(result, "", &mut found);
    for place in found {
        let mut changed = result.clone();
        let part = changed.pointer_mut(&place).unwrap();
        *part = if part.is_string() { json!(5) } else { json!("no such word") };
        assert!(!validator.is_valid(&changed), "{command}: nothing is said of {place} in {result}");
    }
}

#[test]
fn what_this_machine_tells_is_by_the_schema() {
    let Some(agent) = all_on() else { return };
    let mut client = agent.client();
    let mut told = Vec::new();
    for (command, schema) in &schemas() {
        if changes(command) || !Arguments::of(schema).names().is_empty() || command == "guest-ping" {
            continue;
        }
        match client.run(command, json!({})) {
            Ok(result) => {
                judge(command, &result);
                told.push(command.clone());
            }
            // A kernel that switches no memory.
            Err(error) => assert_eq!(command, "guest-get-memory-block-info", "{error:#}"),
        }
    }
    for command in ["guest-get-osinfo", "guest-get-fsinfo", "guest-get-disks", "guest-network-get-interfaces"]
    {
        assert!(told.iter().any(|told| told == command), "{command} is not among {told:?}");
    }
}

#[test]
fn what_becomes_of_a_program_is_by_the_schema() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    for script in ["echo out; echo err >&2", "exit 3", "kill -9 $$"] {
        let arguments = json!({"path": "sh", "arg": ["-c", script], "capture-output": "separated"});
        let started = client.run("guest-exec", arguments).unwrap();
        judge("guest-exec", &started);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let status = client.run("guest-exec-status", json!({"pid": started["pid"]})).unwrap();
            judge("guest-exec-status", &status);
            if status["exited"] == true {
                break;
            }
            assert!(Instant::now() < until, "{script}: still runs");
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_is_said_of_files_is_by_the_schema() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    let handle = client.run("guest-file-open", json!({"path": "f", "mode": "w+"})).unwrap();
    judge("guest-file-open", &handle);
    for (command, arguments) in [
        ("guest-file-write", json!({"handle": handle, "buf-b64": "aGVsbG8="})),
        ("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": "set"})),
        ("guest-file-read", json!({"handle": handle})),
    ] {
        judge(command, &client.run(command, arguments).unwrap());
    }
}

/// What must be there must be there.
#[test]
fn a_result_that_lacks_a_member_is_not_by_the_schema() {
    let Some(agent) = waga() else { return };
    let mut client = agent.client();
    for (command, pointer, member) in [
        ("guest-info", "", "version"),
        ("guest-info", "/supported_commands/0", "success-response"),
        ("guest-get-host-name", "", "host-name"),
        ("guest-get-load", "", "load15m"),
        ("guest-network-get-interfaces", "/0", "name"),
        ("guest-get-cpustats", "/0", "idle"),
        ("guest-get-cpustats", "/0", "type"),
        ("waga-get-freeze-report", "", "filesystems"),
    ] {
        let mut result = client.run(command, json!({})).unwrap();
        let validator = validator(&schemas()[command]["result"]);
        assert!(validator.is_valid(&result), "{command}");
        let object = result.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap();
        assert!(object.remove(member).is_some(), "{command}: {object:?} has no {member}");
        assert!(!validator.is_valid(&result), "{command} without {member}");
    }
}
