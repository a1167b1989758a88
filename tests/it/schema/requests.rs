//! Every command is sent what its schema takes and what it refuses, and every reply is judged.

use std::fs;

use serde_json::{Map, Value, json};
use waga_tests::agent::Agent;
use waga_tests::client::Client;

use super::samples::Arguments;
use super::{builtin, reply_validator, schemas};
use crate::daemon::configured;
use crate::waga;

/// Commands that change the machine, which is the one that the tests run on. They get only what they must refuse before they do anything.
const CHANGES: [(&str, &str); 10] = [
    ("guest-shutdown", "ends it"),
    ("guest-suspend-disk", "puts it to sleep"),
    ("guest-suspend-ram", "puts it to sleep"),
    ("guest-suspend-hybrid", "puts it to sleep"),
    ("guest-set-time", "sets its clock, if nothing is said by the hardware's"),
    ("guest-fsfreeze-freeze", "stops every write"),
    ("guest-fsfreeze-freeze-list", "stops every write if nothing is said"),
    ("guest-fsfreeze-thaw", "thaws what others may have frozen"),
    ("guest-fstrim", "discards blocks of its disks"),
    ("guest-set-user-password", "asks the system to set a password, whoever is named"),
];

/// Commands that can fail with what is in order, and what they say then. All others must succeed.
const MAY_FAIL: [(&str, &str); 6] = [
    // What it was started with is harmless: there is no such processor and no such user, and nobody started that program.
    ("guest-set-vcpus", "Could not open"),
    ("guest-ssh-get-authorized-keys", "failed to lookup user"),
    ("guest-ssh-add-authorized-keys", "failed to lookup user"),
    ("guest-ssh-remove-authorized-keys", "failed to lookup user"),
    ("guest-exec-status", "PID "),
    // Not every kernel has them.
    ("guest-get-memory-block-info", "open("),
];

/// An agent with what is off by default, too.
pub(super) fn all_on() -> Option<Agent> {
    configured("[policy]\nenable = ['waga-reload']\n", |setup| setup)
}

pub(super) fn changes(command: &str) -> bool {
    CHANGES.iter().any(|(name, _)| *name == command)
}

/// One line that answers one request.
fn answer(client: &mut Client, command: &str, arguments: &str) -> Value {
    client.send(format!(r#"{{"execute": "{command}", "arguments": {arguments}}}"#)).unwrap();
    let line = client.line().unwrap().unwrap_or_else(|| panic!("{command} {arguments}: the agent left"));
    let text = match line.split_first() {
        Some((0xff, text)) if builtin(command).delimited => text,
        _ => &line,
    };
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{command} {arguments}: {error}"))
}

/// What an argument of a command that is really run is given: every kind of value that the schema takes, or, where one of them could do
/// harm or would do nothing, these.
fn values(client: &mut Client, command: &str, name: &str, arguments: &Arguments) -> Vec<Value> {
    match (command, name) {
        ("guest-exec", "path") => vec![json!("true")],
        ("guest-exec", "env") => vec![json!(["A=b"]), json!([])],
        ("guest-exec", "input-data") | ("guest-file-write", "buf-b64") => vec![json!("aGVsbG8="), json!("")],
        ("guest-file-open", "path") => vec![json!("f")],
        ("guest-file-open", "mode") => vec![json!("w+"), json!("rb"), json!("ab+")],
        ("guest-file-write", "count") => vec![json!(0)],
        ("guest-file-read", "count") => vec![json!(1), json!(0), json!(48 << 20)],
        ("guest-file-seek", "offset") => vec![json!(1), json!(0)],
        // A file each, for one of these commands closes it.
        (_, "handle") => vec![client.run("guest-file-open", json!({"path": "f", "mode": "w+"})).unwrap()],
        ("guest-set-vcpus", "vcpus") => {
            vec![json!([]), json!([{"logical-id": u32::MAX, "online": true, "can-offline": true}])]
        }
        ("guest-set-memory-blocks", "mem-blks") => {
            vec![json!([]), json!([{"phys-index": u64::MAX, "online": true, "can-offline": true}])]
        }
        (_, "username") => vec![json!("no-such-user-of-a-test")],
        (_, "keys") => vec![json!(["ssh-ed25519 AAAA test"]), json!([])],
        ("waga-get-schema", "command") => vec![json!("guest-ping"), json!("waga-get-stats")],
        _ => arguments.samples(name),
    }
}

/// The arguments, each with its first value.
fn filled(client: &mut Client, command: &str, arguments: &Arguments, all: bool) -> Map<String, Value> {
    let names = arguments.names().into_iter().filter(|(_, required)| all || *required);
    names.map(|(name, _)| (name.clone(), values(client, command, &name, arguments).remove(0))).collect()
}

#[test]
fn every_command_takes_what_its_schema_takes() {
    let Some(agent) = all_on() else { return };
    fs::write(agent.dir().join("f"), "hello").unwrap();
    let mut client = agent.client();
    for (command, schema) in schemas().iter().filter(|(name, _)| !changes(name)) {
        let judge = reply_validator(schema);
        let arguments = Arguments::of(schema);
        let mut requests = vec![
            filled(&mut client, command, &arguments, false),
            filled(&mut client, command, &arguments, true),
        ];
        for (name, _) in arguments.names() {
            for value in values(&mut client, command, &name, &arguments) {
                let mut request = filled(&mut client, command, &arguments, true);
                request.insert(name.clone(), value);
                requests.push(request);
            }
        }
        let words = MAY_FAIL.iter().find(|(name, _)| name == command);
        for request in requests {
            let request = Value::from(request);
            assert!(arguments.judge().is_valid(&request), "{command} {request} is not by the schema");
            let reply = answer(&mut client, command, &request.to_string());
            let judged = judge.validate(&reply);
            judged
                .unwrap_or_else(|error| panic!("{command} {request}: {error} at {}", error.instance_path()));
            if let Some(desc) = reply["error"]["desc"].as_str() {
                let known = words.is_some_and(|(_, words)| desc.starts_with(words));
                assert!(known, "{command} {request}: {reply}");
            }
        }
    }
}

#[test]
fn every_command_refuses_what_its_schema_refuses() {
    let Some(agent) = all_on() else { return };
    let mut client = agent.client();
    for (command, schema) in &schemas() {
        let judge = reply_validator(schema);
        let arguments = Arguments::of(schema);
        let changes = changes(command);
        let fill = |client: &mut Client, all| {
            if !changes {
                return filled(client, command, &arguments, all);
            }
            if all { arguments.full() } else { arguments.minimal() }
        };
        // What is sent, and words of the refusal.
        let mut requests = Vec::new();
        for all in [false, true] {
            let mut request = fill(&mut client, all);
            request.insert("no-such-argument".into(), json!(1));
            requests.push((Value::from(request).to_string(), "'no-such-argument' is unexpected".to_owned()));
        }
        for (name, required) in arguments.names() {
            let whole = fill(&mut client, true);
            let with = |value: Value| {
                let mut request = whole.clone();
                request.insert(name.clone(), value);
                Value::from(request).to_string()
            };
            for wrong in arguments.wrong(&name) {
                // Absent it would do the most harm, so it is not tried whether null is taken for that.
                if !(changes && wrong.is_null()) {
                    requests.push((with(wrong), String::new()));
                }
            }
            // No argument of any command is an object, so this one is wrong for all of them, and the agent says what it wants.
            let ty = arguments.type_of(&name);
            requests.push((with(json!({})), format!("Invalid parameter type for '{name}', expected: {ty}")));
            for beyond in arguments.beyond(&name) {
                requests.push((with(json!("BEYOND")).replace(r#""BEYOND""#, &beyond), String::new()));
            }
            if required {
                let mut request = whole.clone();
                request.remove(&name);
                requests.push((Value::from(request).to_string(), format!("'{name}' is missing")));
            }
        }
        for (request, words) in requests {
            let reply = answer(&mut client, command, &request);
            assert!(judge.is_valid(&reply), "{command} {request}: {reply}");
            let desc = reply["error"]["desc"].as_str();
            assert!(desc.is_some_and(|desc| desc.contains(&words)), "{command} {request}: {reply}");
        }
    }
}

/// Its words cannot be tried, but it lists them when it is given another one.
#[test]
fn the_modes_of_a_shutdown_are_those_of_the_schema() {
    let Some(agent) = waga() else { return };
    let arguments = Arguments::of(&schemas()["guest-shutdown"]);
    let (_, desc) = agent.client().refused("guest-shutdown", json!({"mode": "no such word"})).unwrap();
    let mut words: Vec<_> = desc.rsplit(' ').next().unwrap().split('|').collect();
    words.sort_unstable();
    let mut samples = arguments.samples("mode");
    samples.sort_by_key(Value::to_string);
    assert_eq!(Value::from(words), Value::from(samples), "{desc}");
}

/// Nobody is spared by a name that is no command's.
#[test]
fn exceptions_are_of_commands() {
    for (command, _) in CHANGES.iter().chain(&MAY_FAIL) {
        assert!(schemas().contains_key(*command), "{command}");
    }
}
